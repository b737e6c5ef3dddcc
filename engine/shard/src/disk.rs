//! Executes the steps of a commit, in order, on the files of the slots that they name: on the shard's thread what is as a rule over sooner than another thread is woken, by
//! one of two drivers what is not. The first failure ends a commit and is reported; nothing is tried again. Up to two commits are in flight, each in a lane
//! of its own; how many, the shard's machine says.

mod blocking;
mod faults;
mod patience;
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

pub use faults::DiskFaults;
pub(crate) use slot_file::SlotFile;
pub(crate) use turns::{CommitTurn, DiskTurns};
pub(crate) use work::{DiskError, DiskWork};

use blocking::SyncThrough;
use patience::Patience;
use thread::ThreadDisk;
use uring::UringDisk;

/// What one of the commits in flight has to itself: its thread, and for each slot an open file that it syncs through. The kernel tells each open file once
/// of a write-back that has failed. Through a common one, the sync of one commit could hear of the failure that the other's is about, which would end well.
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
    patience: Cell<Patience>,
    faults: Option<Arc<DiskFaults>>,
}

/// Who makes the commits that the shard does not wait for.
enum DiskDriver {
    Uring(UringDisk),
    Threads([ThreadDisk; Lane::ALL.len()]),
}

impl Disk {
    /// Over the shard's own `io_uring`. The shard waits itself for small commits while they take less than `quick_commit`.
    pub(crate) fn over_uring(quick_commit: Duration, faults: Option<Arc<DiskFaults>>) -> Self {
        Self::new(DiskDriver::Uring(UringDisk::new(faults.clone())), quick_commit, faults)
    }

    /// The same with threads, of these names, where there is no `io_uring`.
    pub(crate) fn over_threads(
        names: [String; Lane::ALL.len()],
        quick_commit: Duration,
        faults: Option<Arc<DiskFaults>>,
    ) -> io::Result<Self> {
        let [first, second] = names;
        // The first lane's are those by which the shard makes commits itself: nothing else is in flight then.
        let first = ThreadDisk::start(first, SyncThrough::Slots, faults.clone())?;
        let second = ThreadDisk::start(second, SyncThrough::DriverFiles(HashMap::new()), faults.clone())?;
        Ok(Self::new(DiskDriver::Threads([first, second]), quick_commit, faults))
    }

    fn new(driver: DiskDriver, quick_commit: Duration, faults: Option<Arc<DiskFaults>>) -> Self {
        Self { driver, patience: Cell::new(Patience::new(quick_commit)), faults }
    }

    /// Whether the shard's thread had better execute this commit itself, by [`Self::execute_here`], if no other is in flight.
    pub(crate) fn is_waited_for(&self, work: &DiskWork) -> bool {
        self.patience.get().waits_for(work.written())
    }

    /// On the calling thread, which waits: for as long as the disk takes, however quick it was so far. Returns when every step is done, or at
    /// the first that failed.
    pub(crate) fn execute_here(&self, work: DiskWork) -> Result<(), DiskError> {
        let (bytes, started) = (work.written(), Instant::now());
        let result = blocking::execute(work, &mut SyncThrough::Slots, self.faults.as_deref());
        self.note(bytes, started);
        result
    }

    /// By the driver. Returns when every step is done, or at the first that failed.
    pub(crate) async fn execute(&self, lane: Lane, work: DiskWork) -> Result<(), DiskError> {
        let (bytes, started) = (work.written(), Instant::now());
        let result = match &self.driver {
            DiskDriver::Uring(disk) => disk.execute(lane, work).await,
            DiskDriver::Threads(disks) => disks[lane as usize].execute(work).await,
        };
        self.note(bytes, started);
        result
    }

    /// Lets the driver hand over to the kernel what a commit has asked of it, and learn what is done.
    pub(crate) async fn pass_on(&self) {
        if matches!(self.driver, DiskDriver::Uring(_)) {
            uring::pass_on().await;
        }
    }

    fn note(&self, bytes: usize, started: Instant) {
        let mut patience = self.patience.get();
        patience.note(bytes, started.elapsed());
        self.patience.set(patience);
    }
}
