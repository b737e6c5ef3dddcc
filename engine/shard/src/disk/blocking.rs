//! Writes and syncs on the calling thread, which waits.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;

use rustix::io::{Errno, ReadWriteFlags};
use rustmq_engine_core::shard::DiskStep;
use rustmq_engine_core::wal::SlotId;

use super::DiskFaults;
use super::slot_file::{DriverFiles, SlotFile};
use super::work::{DiskError, DiskWork};

/// The files that a thread syncs through; see [`super::Lane`].
pub(super) enum SyncThrough {
    /// The slots' own files.
    Slots,
    /// Files for a driver. Slots are few and never removed.
    DriverFiles(HashMap<SlotId, DriverFiles>),
}

impl SyncThrough {
    fn file<'a>(&'a mut self, slot: &'a SlotFile) -> &'a File {
        match self {
            Self::Slots => &slot.file,
            Self::DriverFiles(files) => {
                let taken = || slot.take_driver_files().expect("a slot has one driver, which keeps its files");
                &files.entry(slot.slot).or_insert_with(taken).synced
            }
        }
    }
}

pub(super) fn execute(
    DiskWork { steps, files, .. }: DiskWork,
    through: &mut SyncThrough,
    faults: Option<&DiskFaults>,
) -> Result<(), DiskError> {
    for step in steps {
        match step {
            DiskStep::Write { slot, offset, bytes } => write(files.of(slot), offset.into(), &bytes, faults)?,
            DiskStep::Sync { slot } => sync(files.of(slot), through, faults)?,
            DiskStep::WriteSynced { slot, offset, bytes } => {
                write_synced(files.of(slot), through, offset.into(), &bytes, faults)?;
            }
        }
    }
    Ok(())
}

fn write(file: &SlotFile, offset: u64, bytes: &[u8], faults: Option<&DiskFaults>) -> Result<(), DiskError> {
    let failed = |error| DiskError::of_write(file, offset, bytes.len(), error);
    faults.map_or(Ok(()), DiskFaults::before_write).map_err(failed)?;
    file.file.write_all_at(bytes, offset).map_err(failed)
}

fn sync(file: &SlotFile, through: &mut SyncThrough, faults: Option<&DiskFaults>) -> Result<(), DiskError> {
    let failed = |error| DiskError::of_sync(file, error);
    faults.map_or(Ok(()), DiskFaults::before_sync).map_err(failed)?;
    through.file(file).sync_data().map_err(failed)
}

/// Writes and syncs in one system call. Where the device has forced unit access, this spares a
/// flush of its whole cache.
fn write_synced(
    file: &SlotFile,
    through: &mut SyncThrough,
    mut offset: u64,
    mut bytes: &[u8],
    faults: Option<&DiskFaults>,
) -> Result<(), DiskError> {
    if let Some(faults) = faults {
        faults.before_write().map_err(|error| DiskError::of_write(file, offset, bytes.len(), error))?;
        faults.before_sync().map_err(|error| DiskError::of_sync(file, error))?;
    }
    while !bytes.is_empty() {
        match rustix::io::pwritev2(through.file(file), &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC) {
            Ok(0) => return Err(DiskError::of_write(file, offset, bytes.len(), io::ErrorKind::WriteZero.into())),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            // Some sandboxes support the call without its flags. None of these bytes are written
            // yet.
            Err(Errno::OPNOTSUPP) => {
                write(file, offset, bytes, None)?;
                return sync(file, through, None);
            }
            Err(error) => return Err(DiskError::of_write(file, offset, bytes.len(), error.into())),
        }
    }
    Ok(())
}
