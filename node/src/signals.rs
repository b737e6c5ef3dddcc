//! The signals of the operating system that the process listens to. What they cause is decided
//! elsewhere.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the process listens to.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Asks for a reload. Without a file to read again it keeps its own meaning, that the terminal
    /// is gone.
    pub hangup: Option<Signal>,
}

impl Signals {
    pub fn listen(can_reload: bool) -> Result<Self> {
        let listen = |kind| signal(kind).context("listening for signals");
        Ok(Self {
            terminate: listen(SignalKind::terminate())?,
            interrupt: listen(SignalKind::interrupt())?,
            hangup: can_reload.then(|| listen(SignalKind::hangup())).transpose()?,
        })
    }

    /// Waits for a signal that ends the process.
    pub async fn end(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}
