//! Executes the steps of a commit, in order, on the files of the slots that they name: on the shard's thread what is as a rule over sooner than another thread is woken, by
//! one of two drivers what is not. The first failure ends a commit and is reported; nothing is tried again.

mod blocking;
mod faults;
mod patience;
mod thread;
mod turns;
mod uring;

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustmq_engine_core::shard::DiskStep;
use rustmq_engine_core::wal::SlotId;

pub use faults::DiskFaults;
pub(crate) use turns::{CommitTurn, DiskTurns};

use crate::dio::DirectIo;
use crate::slot_files::SlotFiles;
use patience::Patience;
use thread::ThreadDisk;
use uring::UringDisk;

/// An open slot file.
#[derive(Debug)]
pub(crate) struct SlotFile {
    pub slot: SlotId,
    pub path: PathBuf,
    pub file: File,
    /// For a driver that wants descriptors of its own. Opened with the first: a commit must not need one that the process may not get, since
    /// what it cannot write is lost.
    driver_files: Mutex<Option<DriverFiles>>,
}

/// What a driver may own of a slot.
#[derive(Debug)]
struct DriverFiles {
    plain: File,
    /// Opened with O_DSYNC: a write is durable when it is done.
    synced: File,
}

impl SlotFile {
    pub(crate) fn open(slot: SlotId, path: PathBuf, io: DirectIo) -> io::Result<Self> {
        let file = io.open(&path)?;
        let driver_files = DriverFiles { plain: file.try_clone()?, synced: io.open_synced(&path)? };
        Ok(Self { slot, path, file, driver_files: Mutex::new(Some(driver_files)) })
    }

    /// Whatever was written to the slot is on disk then.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        crate::dio::spoiled::check_sync(&self.file)?;
        self.file.sync_data()
    }

    /// The driver's descriptors; once.
    fn take_driver_files(&self) -> Option<DriverFiles> {
        self.driver_files.lock().take()
    }
}

/// What a commit does, and the files that it does it to.
#[derive(Debug)]
pub(crate) struct DiskWork {
    pub steps: Vec<DiskStep>,
    /// As they are when the commit starts: all that its steps name are among them.
    pub files: SlotFiles,
}

impl DiskWork {
    fn written(&self) -> usize {
        self.steps.iter().map(DiskStep::written).sum()
    }
}

/// What failed. The log beyond the last sync is in an unknown state from then on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("cannot write {length} bytes at {offset} of {path}: {error}", path = path.display())]
    Write { path: PathBuf, offset: u64, length: usize, error: io::Error },
    #[error("cannot sync {path}: {error}", path = path.display())]
    Sync { path: PathBuf, error: io::Error },
    #[error("the disk thread has ended")]
    Ended,
}

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

fn write_error(file: &SlotFile, offset: u64, length: usize, error: io::Error) -> DiskError {
    DiskError::Write { path: file.path.clone(), offset, length, error }
}

fn sync_error(file: &SlotFile, error: io::Error) -> DiskError {
    DiskError::Sync { path: file.path.clone(), error }
}
