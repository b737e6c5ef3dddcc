//! Injected failures and stalls, which let tests show the consequences of a failed write or sync.
//! Compiled with the feature `testing`, and off unless a configuration carries them.

use std::io;
use std::sync::atomic::{AtomicI64, Ordering};

use parking_lot::{Condvar, Mutex};
use tokio::sync::Notify;

/// Counts down to the write, and to the sync, that fails. Every later one fails as well, as on a
/// dead device. Syncs can be held: a held sync neither fails nor ends.
#[derive(Debug)]
pub struct DiskFaults {
    writes_left: AtomicI64,
    syncs_left: AtomicI64,
    are_syncs_held: Mutex<bool>,
    released: Condvar,
    /// Wakes tasks, which do not wait on a thread.
    released_to_tasks: Notify,
}

impl Default for DiskFaults {
    fn default() -> Self {
        Self {
            writes_left: AtomicI64::new(i64::MAX),
            syncs_left: AtomicI64::new(i64::MAX),
            are_syncs_held: Mutex::new(false),
            released: Condvar::new(),
            released_to_tasks: Notify::new(),
        }
    }
}

impl DiskFaults {
    /// Lets the next `count` writes succeed, and fails all later ones.
    pub fn fail_writes_after(&self, count: i64) {
        self.writes_left.store(count, Ordering::SeqCst);
    }

    /// Lets the next `count` syncs succeed, and fails all later ones.
    pub fn fail_syncs_after(&self, count: i64) {
        self.syncs_left.store(count, Ordering::SeqCst);
    }

    /// Holds every sync from now on until [`Self::release_syncs`], as a stalled disk does: a thread
    /// that syncs blocks, and a ring completes no sync.
    pub fn hold_syncs(&self) {
        *self.are_syncs_held.lock() = true;
    }

    pub fn release_syncs(&self) {
        *self.are_syncs_held.lock() = false;
        self.released.notify_all();
        self.released_to_tasks.notify_waiters();
    }

    pub(crate) fn before_write(&self) -> io::Result<()> {
        count_down(&self.writes_left)
    }

    pub(crate) fn before_sync(&self) -> io::Result<()> {
        self.released.wait_while(&mut self.are_syncs_held.lock(), |held| *held);
        count_down(&self.syncs_left)
    }

    /// Does the same as [`Self::before_sync`] for a sync that no thread waits for.
    pub(crate) async fn before_ring_sync(&self) -> io::Result<()> {
        loop {
            let released = self.released_to_tasks.notified();
            if !*self.are_syncs_held.lock() {
                return count_down(&self.syncs_left);
            }
            released.await;
        }
    }
}

fn count_down(left: &AtomicI64) -> io::Result<()> {
    if left.fetch_sub(1, Ordering::SeqCst) > 0 { Ok(()) } else { Err(io::Error::other("failure on order")) }
}
