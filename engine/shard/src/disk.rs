//! Executes the steps of a commit, in order, on the slot files that they name: small commits to a
//! quick disk on the shard's thread, because waking another thread would take longer, and the
//! others through one of two drivers. The first failure ends a commit and is reported; nothing is
//! tried again. Up to two commits are in flight, each in a lane of its own; the shard's machine
//! decides how many.

mod blocking;
#[cfg(any(test, feature = "testing"))]
mod faults;
mod inline_commits;
#[cfg(not(any(test, feature = "testing")))]
mod no_faults;
mod slot_file;
mod thread;
mod turns;
mod uring;
mod work;

use std::cell::Cell;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(any(test, feature = "testing"))]
pub use faults::DiskFaults;
#[cfg(not(any(test, feature = "testing")))]
pub(crate) use no_faults::DiskFaults;
pub(crate) use slot_file::SlotFile;
pub(crate) use turns::{CommitTurn, DiskTurns};
pub(crate) use work::{DiskError, DiskWork};

use blocking::SyncThrough;
use inline_commits::InlineCommits;
use thread::ThreadDisk;
use uring::UringDisk;

/// The resources that a commit in flight does not share with another one: a thread, and for each
/// slot an open file for syncs. The kernel reports a failed write-back once per open file. If two
/// commits shared one, the sync of one could consume the failure of the other, which would then
/// count as synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lane {
    First,
    Second,
}

impl Lane {
    pub(crate) const ALL: [Self; 2] = [Self::First, Self::Second];
}

pub(crate) struct Disk {
    driver: DiskDriver,
    inline_commits: Cell<InlineCommits>,
    faults: Option<Arc<DiskFaults>>,
}

/// Executes the commits that the shard does not execute itself.
enum DiskDriver {
    Uring(UringDisk),
    Threads([ThreadDisk; Lane::ALL.len()]),
}

impl Disk {
    /// Uses the shard's own `io_uring`. The shard executes small commits itself while they take
    /// less than `quick_commit` on average.
    pub(crate) fn over_uring(quick_commit: Duration, faults: Option<Arc<DiskFaults>>) -> Self {
        Self::new(DiskDriver::Uring(UringDisk::new(faults.clone())), quick_commit, faults)
    }

    /// Uses threads of these names, for systems without `io_uring`.
    pub(crate) fn over_threads(
        names: [String; Lane::ALL.len()],
        quick_commit: Duration,
        faults: Option<Arc<DiskFaults>>,
    ) -> io::Result<Self> {
        let [first, second] = names;
        // The first lane syncs through the slots' own files, as the shard does for its own commits:
        // no other commit is in flight then.
        let first = ThreadDisk::start(first, SyncThrough::Slots, faults.clone())?;
        let second = ThreadDisk::start(second, SyncThrough::DriverFiles(HashMap::new()), faults.clone())?;
        Ok(Self::new(DiskDriver::Threads([first, second]), quick_commit, faults))
    }

    fn new(driver: DiskDriver, quick_commit: Duration, faults: Option<Arc<DiskFaults>>) -> Self {
        Self { driver, inline_commits: Cell::new(InlineCommits::new(quick_commit)), faults }
    }

    /// Whether the shard's thread should execute this commit itself through [`Self::execute_here`],
    /// provided that no other is in flight.
    pub(crate) fn is_inline(&self, work: &DiskWork) -> bool {
        self.inline_commits.get().allows(work.written())
    }

    /// Executes the commit on the calling thread, which waits as long as the disk takes, however
    /// quick it was before. Returns when every step is done, or at the first failure.
    pub(crate) fn execute_here(&self, work: DiskWork) -> Result<(), DiskError> {
        let (bytes, started) = (work.written(), Instant::now());
        let result = blocking::execute(work, &mut SyncThrough::Slots, self.faults.as_deref());
        self.note(bytes, started);
        result
    }

    /// Executes the commit through the driver. Returns when every step is done, or at the first
    /// failure.
    pub(crate) async fn execute(&self, lane: Lane, work: DiskWork) -> Result<(), DiskError> {
        let (bytes, started) = (work.written(), Instant::now());
        let result = match &self.driver {
            DiskDriver::Uring(disk) => disk.execute(lane, work).await,
            DiskDriver::Threads(disks) => disks[lane as usize].execute(work).await,
        };
        self.note(bytes, started);
        result
    }

    /// Lets the driver submit the commits' operations to the kernel, and collect completions.
    pub(crate) async fn pass_on(&self) {
        if matches!(self.driver, DiskDriver::Uring(_)) {
            uring::pass_on().await;
        }
    }

    fn note(&self, bytes: usize, started: Instant) {
        let mut inline_commits = self.inline_commits.get();
        inline_commits.note(bytes, started.elapsed());
        self.inline_commits.set(inline_commits);
    }
}
