//! Executes the writes and syncs of a commit, in order: on the shard's thread what is as a rule over sooner than another thread is woken, by
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

use bytes::Bytes;
use parking_lot::Mutex;
use rustmq_engine_core::wal::SlotId;

pub use faults::DiskFaults;
pub(crate) use turns::{CommitTurn, DiskTurns};

use crate::dio::DirectIo;
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

/// One thing to do. Steps of a commit are done one after the other.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    /// Offset and length are whole blocks; the memory is aligned.
    Write {
        file: Arc<SlotFile>,
        offset: u64,
        bytes: Bytes,
    },
    Sync {
        file: Arc<SlotFile>,
    },
    /// Both in one. It makes nothing durable but what it writes.
    WriteSynced {
        file: Arc<SlotFile>,
        offset: u64,
        bytes: Bytes,
    },
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

impl Step {
    fn written(&self) -> usize {
        match self {
            Self::Write { bytes, .. } | Self::WriteSynced { bytes, .. } => bytes.len(),
            Self::Sync { .. } => 0,
        }
    }
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
    pub(crate) fn is_waited_for(&self, steps: &[Step]) -> bool {
        self.patience.get().waits_for(written(steps))
    }

    /// On the calling thread, which waits: for as long as the disk takes, however quick it was so far. Returns when every step is done, or at
    /// the first that failed.
    pub(crate) fn execute_here(&self, steps: Vec<Step>) -> Result<(), DiskError> {
        let (bytes, started) = (written(&steps), Instant::now());
        let result = blocking::execute(steps, self.faults.as_deref());
        self.note(bytes, started);
        result
    }

    /// By the driver. Returns when every step is done, or at the first that failed.
    pub(crate) async fn execute(&self, steps: Vec<Step>) -> Result<(), DiskError> {
        let (bytes, started) = (written(&steps), Instant::now());
        let result = match &self.driver {
            DiskDriver::Uring(disk) => disk.execute(steps).await,
            DiskDriver::Thread(disk) => disk.execute(steps).await,
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

fn written(steps: &[Step]) -> usize {
    steps.iter().map(Step::written).sum()
}

fn write_error(file: &SlotFile, offset: u64, length: usize, error: io::Error) -> DiskError {
    DiskError::Write { path: file.path.clone(), offset, length, error }
}

fn sync_error(file: &SlotFile, error: io::Error) -> DiskError {
    DiskError::Sync { path: file.path.clone(), error }
}
