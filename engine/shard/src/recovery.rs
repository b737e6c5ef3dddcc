//! Executes the reads that recovery asks for, and opens the slots' files. What the bytes mean is the core's.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;

use rustmq_engine_api::chunk::ChunkPool;
use rustmq_engine_core::wal::recovery::{CorruptionPolicy, RecoveryError};
use rustmq_engine_core::wal::{RecoveredWal, Recovery, RecoveryOptions, SegmentShape, SlotId};

use crate::dio::{self, DirectIo};
use crate::disk::SlotFile;
use crate::folder::{FolderError, WalFolder};
use crate::read_around::read_around;
use crate::retention::{now, since_1970};
use crate::slots;

/// Bytes to read at a time.
const WINDOW: u32 = 4 << 20;

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "{path}, offset {offset}: cannot be read, and what was acknowledged may stand there: {error}; --repair goes on without it",
        path = path.display()
    )]
    Unreadable { path: PathBuf, offset: u64, error: io::Error },
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
    let mut written = HashMap::new();
    // Through the page cache: a window may be smaller than what direct reads of this device ask for.
    let mut readers = HashMap::new();
    for slot in folder.slots()? {
        let path = folder.slot_path(slot);
        let opened = File::open(&path).and_then(|file| Ok((file.metadata()?, file)));
        let (metadata, file) = opened.map_err(|error| RecoverError::Io { path, error })?;
        slots.push((slot, metadata.len()));
        written.insert(slot, metadata.modified().map_or_else(|_| now(), since_1970));
        readers.insert(slot, file);
    }
    let window = WINDOW.min(shape.length());
    let mut recovery = Recovery::new(RecoveryOptions { wal: folder.id, shape, slots, window, policy });
    let pool = ChunkPool::default();
    let damaged = |error| RecoverError::Wal { path: folder.dir.clone(), error };
    let mut unreadable = Vec::new();
    while let Some(read) = recovery.poll_action() {
        let file = readers.get(&read.slot).expect("recovery asks only for slots that it was given");
        let path = folder.slot_path(read.slot);
        let bytes = read_around(file, u64::from(read.offset), read.length as usize, &pool, |offset, error| {
            tracing::warn!(path = %path.display(), offset, %error, "the write-ahead log cannot be read here: this is taken for damage");
            let error = error.raw_os_error().map_or_else(|| error.kind().into(), io::Error::from_raw_os_error);
            unreadable.push((read.slot, offset, error));
        });
        let bytes = bytes.map_err(|error| RecoverError::Io { path, error })?;
        recovery.on_read(&bytes).map_err(damaged)?;
    }
    let mut wal = recovery.finish().map_err(damaged)?;
    // What was acknowledged may stand where the log would go on.
    let hidden = unreadable.into_iter().find(|(slot, offset, _)| wal.passes_over(*slot, *offset));
    if let Some((slot, offset, error)) = hidden.filter(|_| policy != CorruptionPolicy::Repair) {
        return Err(RecoverError::Unreadable { path: folder.slot_path(slot), offset, error });
    }
    // What was appended without a time, and is in no index yet, ages from the file's last write on.
    for segment in &mut wal.segments {
        segment.index.date(written.get(&segment.slot).copied().unwrap_or_else(now));
    }
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
        if !io.direct && policy != CorruptionPolicy::Repair {
            rewrite_unproven(&wal, file).map_err(|error| RecoverError::Io { path: file.path.clone(), error })?;
        }
        // Its last groups may never have been synced, and count as durable from here on.
        file.file.sync_data().map_err(|error| RecoverError::Io { path: file.path.clone(), error })?;
    }
    Ok(Recovered { wal, files })
}

/// Writes over the newest segment's groups that none proves with what was read of them. Through the page cache a failed sync leaves pages that
/// are not on disk, but count as clean: a process that starts after it reads them whole, and its own sync does nothing for them. Once
/// they are written again, the sync writes them, or says that it cannot. What is proven was synced without a failure, and stays untouched.
fn rewrite_unproven(wal: &RecoveredWal, file: &SlotFile) -> io::Result<()> {
    let Some(newest) = wal.segments.last() else { return Ok(()) };
    let proven = Some(wal.proven).filter(|proven| proven.generation == newest.generation);
    let mut at = proven.map_or(newest.shape.first_group(), |proven| proven.offset);
    let pool = ChunkPool::default();
    while at < newest.end {
        let length = (newest.end - at).min(WINDOW);
        let bytes = dio::read_at(&file.file, u64::from(at), length as usize, &pool)?;
        file.file.write_all_at(&bytes, u64::from(at))?;
        at += length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs::File;
    use std::time::SystemTime;

    use rustmq_engine_api::{LogConfig, OpenPartition};
    use rustmq_engine_core::wal::recovery::CorruptionPolicy;
    use rustmq_engine_core::wal::{SegmentShape, SlotId};
    use rustmq_model::{ByteSize, LeaderEpoch, PartitionId, TopicId, TopicIdPartition};

    use super::recover;
    use crate::dio::DirectIo;
    use crate::folder::Folder;
    use crate::{EngineConfig, Metrics, start};

    #[test]
    fn what_no_group_proves_is_written_again_where_a_sync_alone_may_do_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let mut config = EngineConfig::new(folder.path().join("wal"));
        (config.shards, config.segment_size, config.capacity) = (1, ByteSize::mib(1), ByteSize::mib(16));
        let (engine, _) = start(&config, &Metrics::default()).unwrap();
        let id = TopicIdPartition { topic_id: TopicId(1), partition: PartitionId(0) };
        let open = OpenPartition { id, leader_epoch: LeaderEpoch(0), config: LogConfig::unlimited() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            engine.open(vec![open]).await.remove(0).unwrap();
            engine.shutdown().await;
        });
        let wal = Folder::open(&config.dir, None).unwrap().wals.remove(0);
        let path = wal.slot_path(SlotId(0));
        let content = std::fs::read(&path).unwrap();
        File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        let buffered = DirectIo { direct: false, block_size: 4096 };
        let shape = SegmentShape::new(4096, 1 << 20).unwrap();
        for (policy, written) in [(CorruptionPolicy::Repair, false), (CorruptionPolicy::Refuse, true)] {
            recover(&wal, buffered, shape, policy).unwrap();
            let modified = std::fs::metadata(&path).unwrap().modified().unwrap();
            assert_eq!(modified > SystemTime::UNIX_EPOCH, written, "{policy:?}");
        }
        assert!(std::fs::read(&path).unwrap() == content, "it is what it was");
    }
}
