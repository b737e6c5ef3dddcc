//! Writes and syncs on the calling thread, which waits for them.

use std::io::{self, IoSlice};
use std::os::unix::fs::FileExt;

use rustix::io::{Errno, ReadWriteFlags};
use rustmq_engine_core::shard::DiskStep;

use super::faults::DiskFaults;
use super::slot_file::SlotFile;
use super::work::{DiskError, DiskWork};

pub(super) fn execute(DiskWork { steps, files }: DiskWork, faults: Option<&DiskFaults>) -> Result<(), DiskError> {
    for step in steps {
        match step {
            DiskStep::Write { slot, offset, bytes } => write(files.of(slot), offset.into(), &bytes, faults)?,
            DiskStep::Sync { slot } => sync(files.of(slot), faults)?,
            DiskStep::WriteSynced { slot, offset, bytes } => {
                write_synced(files.of(slot), offset.into(), &bytes, faults)?;
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

fn sync(file: &SlotFile, faults: Option<&DiskFaults>) -> Result<(), DiskError> {
    let failed = |error| DiskError::of_sync(file, error);
    faults.map_or(Ok(()), DiskFaults::before_sync).map_err(failed)?;
    file.file.sync_data().map_err(failed)
}

/// In one system call: with forced unit access where the device has it, which spares flushing all that is in its cache.
fn write_synced(
    file: &SlotFile,
    mut offset: u64,
    mut bytes: &[u8],
    faults: Option<&DiskFaults>,
) -> Result<(), DiskError> {
    if let Some(faults) = faults {
        faults.before_write().map_err(|error| DiskError::of_write(file, offset, bytes.len(), error))?;
        faults.before_sync().map_err(|error| DiskError::of_sync(file, error))?;
    }
    while !bytes.is_empty() {
        match rustix::io::pwritev2(&file.file, &[IoSlice::new(bytes)], offset, ReadWriteFlags::DSYNC) {
            Ok(0) => return Err(DiskError::of_write(file, offset, bytes.len(), io::ErrorKind::WriteZero.into())),
            Ok(written) => {
                bytes = &bytes[written..];
                offset += written as u64;
            }
            Err(Errno::INTR) => {}
            // Some sandboxes have the call without its flags. Of these bytes nothing was written.
            Err(Errno::OPNOTSUPP) => {
                write(file, offset, bytes, None)?;
                return sync(file, None);
            }
            Err(error) => return Err(DiskError::of_write(file, offset, bytes.len(), error.into())),
        }
    }
    Ok(())
}
