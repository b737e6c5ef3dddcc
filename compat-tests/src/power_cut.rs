//! Death by loss of power: the broker is gone, and of what it had written and not synced only a
//! random part is left. The rounds and the audit are those of the crash proof.

use crate::Server;
use crate::crash::campaign::Death;
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
/// How much survives a cut: all or nothing too, since order is lost with a part only. In turn, so
/// that a short campaign meets them all; the moment of the cut is chance enough.
const SURVIVALS: [f64; 6] = [0.0, 0.5, 0.0, 0.95, 0.05, 1.0];
/// So long that most cuts meet a sync that is under way.
const SYNC_DURATION: Duration = Duration::from_millis(3);
/// How long a cut that is to lose something waits for an instant at which there is something to
/// lose.
const LOSS_WITHIN: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub struct PowerCut {
    stack: Stack,
    survivals: Cycle<IntoIter<f64, 6>>,
    /// Of all cuts.
    pub loss: Loss,
    /// Cuts that lost something.
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

    /// Cuts the power with a given share of survivors, and brings it back.
    pub fn cut(&mut self, server: &mut Server, survival: f64) -> Result<Loss> {
        let loss = self.stack.cut(survival, || server.signal_kill())?;
        server.kill()?;
        self.loss.lost += loss.lost;
        self.loss.survived += loss.survived;
        self.losing_cuts += u32::from(loss.lost > 0);
        Ok(loss)
    }
}

impl Death for PowerCut {
    fn strike(&mut self, server: &mut Server) -> Result<()> {
        let survival = self.survivals.next().expect("a cycle has no end");
        let deadline = Instant::now() + LOSS_WITHIN;
        while survival < 1.0 && !self.stack.disk().has_unsynced() && Instant::now() < deadline {
            thread::sleep(Duration::from_micros(200));
        }
        self.cut(server, survival).map(drop)
    }
}
