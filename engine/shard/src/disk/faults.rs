//! Failures and waits on order, so that tests can show what a failed write or sync leads to. Off unless a configuration carries one.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Condvar, Mutex};

/// Counts down to the write, and to the sync, that fails. Every later one fails as well, as a dead device does. Syncs can be held: then they
/// neither fail nor end.
#[derive(Debug)]
pub struct DiskFaults {
    writes_left: AtomicI64,
    syncs_left: AtomicI64,
    are_syncs_held: Mutex<bool>,
    released: Condvar,
}

impl Default for DiskFaults {
    fn default() -> Self {
        Self {
            writes_left: AtomicI64::new(i64::MAX),
            syncs_left: AtomicI64::new(i64::MAX),
            are_syncs_held: Mutex::new(false),
            released: Condvar::new(),
        }
    }
}

impl DiskFaults {
    /// Lets `count` more writes succeed.
    pub fn fail_writes_after(&self, count: i64) {
        self.writes_left.store(count, Ordering::SeqCst);
    }

    /// Lets `count` more syncs succeed.
    pub fn fail_syncs_after(&self, count: i64) {
        self.syncs_left.store(count, Ordering::SeqCst);
    }

    /// Lets every sync from now on wait for [`Self::release_syncs`], on the thread that makes it.
    pub fn hold_syncs(&self) {
        *self.are_syncs_held.lock() = true;
    }

    pub fn release_syncs(&self) {
        *self.are_syncs_held.lock() = false;
        self.released.notify_all();
    }

    pub(crate) fn before_write(&self) -> io::Result<()> {
        count_down(&self.writes_left)
    }

    pub(crate) fn before_sync(&self) -> io::Result<()> {
        self.released.wait_while(&mut self.are_syncs_held.lock(), |held| *held);
        count_down(&self.syncs_left)
    }
}

fn count_down(left: &AtomicI64) -> io::Result<()> {
    if left.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err(io::Error::other("failure on order")) }
}
