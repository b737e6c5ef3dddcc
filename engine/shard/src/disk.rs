//! Executes the steps of a commit, in order, on the files of the slots that they name: on the shard's thread what is as a rule over sooner than another thread is woken, by
//! one of two drivers what is not. The first failure ends a commit and is reported; nothing is tried again.

mod blocking;
mod faults;
mod patience;
mod slot_file;
mod thread;
mod turns;
mod uring;
mod work;

use std::cell::Cell;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub use faults::DiskFaults;
pub(crate) use slot_file::SlotFile;
pub(crate) use turns::{CommitTurn, DiskTurns};
pub(crate) use work::{DiskError, DiskWork};

use patience::Patience;
use thread::ThreadDisk;
use uring::UringDisk;

/// One commit is in flight at a time.
pub(crate) struct Disk {
    driver: DiskDriver,
    patience: Cell<Patience>,
    faults: Option<Arc<DiskFaults>>,
}

/// Who makes the commits that the shard does not wait for.
enum DiskDriver {
    Uring(UringDisk),
    Thread(ThreadDisk),
}

impl Disk {
    /// Over the shard's own `io_uring`. The shard waits itself for small commits while they take less than `quick_commit`.
    pub(crate) fn over_uring(quick_commit: Duration, faults: Option<Arc<DiskFaults>>) -> Self {
        Self::new(DiskDriver::Uring(UringDisk::new(faults.clone())), quick_commit, faults)
    }

    /// The same with a thread, of that name, where there is no `io_uring`.
    pub(crate) fn over_thread(
        name: String,
        quick_commit: Duration,
        faults: Option<Arc<DiskFaults>>,
    ) -> io::Result<Self> {
        Ok(Self::new(DiskDriver::Thread(ThreadDisk::start(name, faults.clone())?), quick_commit, faults))
    }

    fn new(driver: DiskDriver, quick_commit: Duration, faults: Option<Arc<DiskFaults>>) -> Self {
        Self { driver, patience: Cell::new(Patience::new(quick_commit)), faults }
    }

    /// Whether the shard's thread had better execute this commit itself, by [`Self::execute_here`].
    pub(crate) fn is_waited_for(&self, work: &DiskWork) -> bool {
        self.patience.get().waits_for(work.written())
    }

    /// On the calling thread, which waits: for as long as the disk takes, however quick it was so far. Returns when every step is done, or at
    /// the first that failed.
    pub(crate) fn execute_here(&self, work: DiskWork) -> Result<(), DiskError> {
        let (bytes, started) = (work.written(), Instant::now());
        let result = blocking::execute(work, self.faults.as_deref());
        self.note(bytes, started);
        result
    }

    /// By the driver. Returns when every step is done, or at the first that failed.
    pub(crate) async fn execute(&self, work: DiskWork) -> Result<(), DiskError> {
        let (bytes, started) = (work.written(), Instant::now());
        let result = match &self.driver {
            DiskDriver::Uring(disk) => disk.execute(work).await,
            DiskDriver::Thread(disk) => disk.execute(work).await,
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
