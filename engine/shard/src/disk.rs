//! Executes the writes and syncs of a commit, in order, by one of two drivers. Decides nothing: the first failure ends a commit and is
//! reported; nothing is tried again.

mod faults;
mod thread;
mod uring;

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rustmq_engine_core::wal::SlotId;

pub use faults::DiskFaults;
pub(crate) use thread::ThreadDisk;
pub(crate) use uring::UringDisk;

use crate::dio::DirectIo;

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

pub(crate) enum Disk {
    Uring(UringDisk),
    Thread(ThreadDisk),
}

impl Disk {
    /// Returns when every step is done, or at the first that failed.
    pub(crate) async fn execute(&self, steps: Vec<Step>) -> Result<(), DiskError> {
        match self {
            Self::Uring(disk) => disk.execute(steps).await,
            Self::Thread(disk) => disk.execute(steps).await,
        }
    }
}

fn write_error(file: &SlotFile, offset: u64, length: usize, error: io::Error) -> DiskError {
    DiskError::Write { path: file.path.clone(), offset, length, error }
}

fn sync_error(file: &SlotFile, error: io::Error) -> DiskError {
    DiskError::Sync { path: file.path.clone(), error }
}
