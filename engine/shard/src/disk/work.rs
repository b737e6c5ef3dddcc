//! What a commit asks of the disk, and what may go wrong with it.

use std::io;
use std::path::PathBuf;

use rustmq_engine_core::shard::{CommitNumber, DiskStep};

use super::slot_file::SlotFile;
use crate::slot_files::SlotFiles;

/// What a commit does, and the files that it does it to.
#[derive(Debug)]
pub(crate) struct DiskWork {
    pub number: CommitNumber,
    pub steps: Vec<DiskStep>,
    /// As they are when the commit starts: all that its steps name are among them.
    pub files: SlotFiles,
}

impl DiskWork {
    pub(super) fn written(&self) -> usize {
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

impl DiskError {
    pub(super) fn of_write(file: &SlotFile, offset: u64, length: usize, error: io::Error) -> Self {
        Self::Write { path: file.path.clone(), offset, length, error }
    }

    pub(super) fn of_sync(file: &SlotFile, error: io::Error) -> Self {
        Self::Sync { path: file.path.clone(), error }
    }
}
