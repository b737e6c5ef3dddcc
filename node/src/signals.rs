//! The signals that the process handles. [`crate::ending`] and [`crate::reload`] act on them.

use anyhow::{Context, Result};
use tokio::signal::unix::{Signal, SignalKind, signal};

/// The signals that the process handles.
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
    /// Requests a reload. `None` for a process without a configuration file: SIGHUP then ends it,
    /// as by default.
    pub hangup: Option<Signal>,
}

impl Signals {
    /// Handles the signals from now on.
    ///
    /// # Errors
    /// If the system refuses a handler.
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
