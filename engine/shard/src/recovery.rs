//! Executes the reads that recovery asks for, and opens the slots' files. What the bytes mean is the core's.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use rustmq_engine_api::chunk::ChunkPool;
use rustmq_engine_core::wal::recovery::{CorruptionPolicy, RecoveryError};
use rustmq_engine_core::wal::{RecoveredWal, Recovery, RecoveryOptions, SegmentShape, SlotId};

use crate::dio::{self, DirectIo};
use crate::disk::SlotFile;
use crate::folder::{FolderError, WalFolder};
use crate::slots;

/// Bytes to read at a time.
const WINDOW: u32 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("the write-ahead log in {path}: {error}", path = path.display())]
    Wal { path: PathBuf, error: RecoveryError },
}

#[derive(Debug)]
pub(crate) struct Recovered {
    pub wal: RecoveredWal,
    pub files: HashMap<SlotId, Arc<SlotFile>>,
}

/// Reads a whole WAL. Blocks; called before anything is served.
pub(crate) fn recover(
    folder: &WalFolder,
    io: DirectIo,
    shape: SegmentShape,
    policy: CorruptionPolicy,
) -> Result<Recovered, RecoverError> {
    let mut slots = Vec::new();
    // Through the page cache: a window may be smaller than what direct reads of this device ask for.
    let mut readers = HashMap::new();
    for slot in folder.slots()? {
        let path = folder.slot_path(slot);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) = opened.map_err(|error| RecoverError::Io { path, error })?;
        slots.push((slot, length));
        readers.insert(slot, file);
    }
    let window = WINDOW.min(shape.length());
    let mut recovery = Recovery::new(RecoveryOptions { wal: folder.id, shape, slots, window, policy });
    let pool = ChunkPool::default();
    let damaged = |error| RecoverError::Wal { path: folder.dir.clone(), error };
    while let Some(read) = recovery.poll_action() {
        let file = readers.get(&read.slot).expect("recovery asks only for slots that it was given");
        let bytes = dio::read_at(file, u64::from(read.offset), read.length as usize, &pool)
            .map_err(|error| RecoverError::Io { path: folder.slot_path(read.slot), error })?;
        recovery.on_read(&bytes).map_err(damaged)?;
    }
    let wal = recovery.finish().map_err(damaged)?;
    // Closed first: a log that ran, with three descriptors a slot, must start again with as many.
    drop(readers);
    let mut files = HashMap::new();
    let used = wal.segments.iter().map(|segment| segment.slot).chain(wal.started_empty.iter().copied());
    for slot in used {
        let path = folder.slot_path(slot);
        let file = slots::open(slot, &path, io).map_err(|error| RecoverError::Io { path, error })?;
        files.insert(slot, Arc::new(file));
    }
    if let Some(file) = wal.segments.last().and_then(|newest| files.get(&newest.slot)) {
        // Its last groups may never have been synced, and count as durable from here on.
        file.file.sync_data().map_err(|error| RecoverError::Io { path: file.path.clone(), error })?;
    }
    Ok(Recovered { wal, files })
}
