//! A slot's file, open: what commits write to, and readers read from.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;
use rustmq_engine_core::wal::SlotId;

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
pub(super) struct DriverFiles {
    pub plain: File,
    /// Opened with O_DSYNC: a write is durable when it is done. An open file of its own, while `plain` is the slot's.
    pub synced: File,
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
    pub(super) fn take_driver_files(&self) -> Option<DriverFiles> {
        self.driver_files.lock().take()
    }
}
