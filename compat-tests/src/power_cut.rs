//! Crash by a power cut: the broker is gone, and only a random part of its unsynced writes remains.
//! The rounds and the audit are those of the crash proof.

use crate::Server;
use crate::crash::campaign::Crash;
use crate::disk::Faults;
use crate::disk::cache::Loss;
use crate::disk::stack::{FileSystem, Stack};
use anyhow::Result;
use std::array::IntoIter;
use std::iter::Cycle;
use std::thread;
use std::time::{Duration, Instant};

/// Room for a campaign's log and metadata.
const DISK_SIZE: u64 = 1 << 30;
/// The fractions of unsynced sectors that survive the cuts, in turn, so that even a short campaign
/// meets all of them. A partial survival reorders writes; the others do not.
const SURVIVALS: [f64; 6] = [0.0, 0.5, 0.0, 0.95, 0.05, 1.0];
/// So long that most cuts hit a sync in progress.
const SYNC_DURATION: Duration = Duration::from_millis(3);
/// How long a cut that must lose something waits for an instant with something to lose.
const LOSS_WITHIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct PowerCut {
    stack: Stack,
    survivals: Cycle<IntoIter<f64, 6>>,
    /// The sum over all cuts.
    pub loss: Loss,
    /// The number of cuts that lost something.
    pub losing_cuts: u32,
}

impl PowerCut {
    /// A disk with an empty file system, for one broker.
    pub fn prepare(kind: FileSystem, seed: u64) -> Result<PowerCut> {
        let stack = Stack::make(kind, DISK_SIZE, seed)?;
        stack.disk().set_faults(Faults { sync_duration: SYNC_DURATION, ..Faults::default() });
        Ok(PowerCut { stack, survivals: SURVIVALS.into_iter().cycle(), loss: Loss::default(), losing_cuts: 0 })
    }

    pub fn stack(&self) -> &Stack {
        &self.stack
    }

    /// Cuts the power with a given fraction of survivors, and restores it.
    pub fn cut(&mut self, server: &mut Server, survival: f64) -> Result<Loss> {
        let loss = self.stack.cut(survival, || server.signal_kill())?;
        server.kill()?;
        self.loss.lost += loss.lost;
        self.loss.survived += loss.survived;
        self.losing_cuts += u32::from(loss.lost > 0);
        Ok(loss)
    }
}

impl Crash for PowerCut {
    fn end_broker(&mut self, server: &mut Server) -> Result<()> {
        let survival = self.survivals.next().expect("a cycle has no end");
        let deadline = Instant::now() + LOSS_WITHIN;
        while survival < 1.0 && !self.stack.disk().has_unsynced() && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(200));
        }
        self.cut(server, survival).map(drop)
    }
}
