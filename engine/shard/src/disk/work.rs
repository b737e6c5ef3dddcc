//! The work that a commit requests from the disk, and its errors.

use std::io;
use std::path::PathBuf;

use rustmq_engine_core::shard::failure::WalFailure;
use rustmq_engine_core::shard::{CommitNumber, DiskStep};

use super::slot_file::SlotFile;
use crate::slot_files::SlotFiles;

/// The steps of a commit, and the files that they work on.
#[derive(Debug)]
pub(crate) struct DiskWork {
    pub number: CommitNumber,
    pub steps: Vec<DiskStep>,
    /// The files at the start of the commit. They include every file that a step names.
    pub files: SlotFiles,
}

impl DiskWork {
    pub(super) fn written(&self) -> usize {
        self.steps.iter().map(DiskStep::written).sum()
    }
}

/// The operation that failed. From then on, the state of the log beyond the last sync is unknown.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DiskError {
    #[error("cannot write {length} bytes at {offset} of {path}: {error}", path = path.display())]
    Write { path: PathBuf, offset: u64, length: usize, error: io::Error },
    #[error("cannot sync {path}: {error}", path = path.display())]
    Sync { path: PathBuf, error: io::Error },
    #[error("the disk thread has ended")]
    Ended,
}

impl From<DiskError> for WalFailure {
    fn from(error: DiskError) -> Self {
        let kind = match &error {
            DiskError::Write { error, .. } | DiskError::Sync { error, .. } => error.kind(),
            DiskError::Ended => io::ErrorKind::Other,
        };
        Self::Disk { kind, detail: error.to_string() }
    }
}

impl DiskError {
    pub(super) fn of_write(file: &SlotFile, offset: u64, length: usize, error: io::Error) -> Self {
        Self::Write { path: file.path.clone(), offset, length, error }
    }

    pub(crate) fn of_sync(file: &SlotFile, error: io::Error) -> Self {
        Self::Sync { path: file.path.clone(), error }
    }
}
