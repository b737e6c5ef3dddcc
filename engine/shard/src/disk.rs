//! Executes the writes and syncs of a commit, in order: on the shard's thread what is over sooner than another thread is woken, by one of
//! two drivers what is not. The first failure ends a commit and is reported; nothing is tried again.

mod blocking;
mod faults;
mod patience;
mod thread;
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

    /// Returns when every step is done, or at the first that failed.
    pub(crate) async fn execute(&self, steps: Vec<Step>) -> Result<(), DiskError> {
        let bytes = steps.iter().map(Step::written).sum();
        let mut patience = self.patience.get();
        let started = Instant::now();
        let result = if patience.waits_for(bytes) {
            blocking::execute(steps, self.faults.as_deref())
        } else {
            match &self.driver {
                DiskDriver::Uring(disk) => disk.execute(steps).await,
                DiskDriver::Thread(disk) => disk.execute(steps).await,
            }
        };
        patience.note(bytes, started.elapsed());
        self.patience.set(patience);
        result
    }
}

fn write_error(file: &SlotFile, offset: u64, length: usize, error: io::Error) -> DiskError {
    DiskError::Write { path: file.path.clone(), offset, length, error }
}

fn sync_error(file: &SlotFile, error: io::Error) -> DiskError {
    DiskError::Sync { path: file.path.clone(), error }
}
