//! The open file of a slot: commits write to it, and readers read from it.

use std::fs::File;
use std::io;
use std::path::PathBuf;

use parking_lot::Mutex;
use rustmq_engine_core::wal::SlotId;

use crate::direct_io::DirectIo;

#[derive(Debug)]
pub(crate) struct SlotFile {
    pub slot: SlotId,
    pub path: PathBuf,
    pub file: File,
    /// For a driver that needs descriptors of its own. They are opened together with `file`,
    /// because a commit that cannot get a descriptor cannot write, and loses its batches.
    driver_files: Mutex<Option<DriverFiles>>,
}

/// The descriptors of a slot that a driver may own.
#[derive(Debug)]
pub(super) struct DriverFiles {
    pub plain: File,
    /// Opened with O_DSYNC: a write is durable when it returns. An open file of its own, whereas
    /// `plain` shares that of the slot.
    pub synced: File,
}

impl SlotFile {
    pub(crate) fn open(slot: SlotId, path: PathBuf, io: DirectIo) -> io::Result<Self> {
        let file = io.open(&path)?;
        let driver_files = DriverFiles { plain: file.try_clone()?, synced: io.open_synced(&path)? };
        Ok(Self { slot, path, file, driver_files: Mutex::new(Some(driver_files)) })
    }

    /// Syncs everything that was written to the slot.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        crate::direct_io::spoiled::check_sync(&self.file)?;
        self.file.sync_data()
    }

    /// Takes the driver's descriptors; only the first call gets them.
    pub(super) fn take_driver_files(&self) -> Option<DriverFiles> {
        self.driver_files.lock().take()
    }
}
