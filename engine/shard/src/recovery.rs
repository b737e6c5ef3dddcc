//! Executes the reads that recovery asks for, and opens the slots' files. The core interprets the
//! bytes.

use std::collections::HashMap;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustmq_engine_core::wal::recovery::{CorruptionPolicy, RecoveryError};
use rustmq_engine_core::wal::{RecoveredWal, Recovery, RecoveryOptions, SegmentShape, SlotId};
use rustmq_engine_memory::ChunkPool;
use rustmq_model::Timestamp;

use crate::clock::wall_time;
use crate::direct_io::{self, DirectIo};
use crate::disk::SlotFile;
use crate::folder::{FolderError, WalFolder};
use crate::read_around::{AroundFile, BadRunLimit, ReadAroundError};
use crate::slots;

/// The number of bytes to read at a time.
const WINDOW: u32 = 4 << 20;
const _: () = assert!(WINDOW.is_multiple_of(SegmentShape::BLOCK_SIZE_MAX), "a read has whole blocks");

#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error(
        "{path}: cannot be synced: {error}; its last writes may not be on the disk, and the device may be failing: copy the log to \
         another device",
        path = path.display()
    )]
    Sync { path: PathBuf, error: io::Error },
    #[error(
        "{path}, offset {offset}: cannot be read, and acknowledged records may be lost there: {error}; --repair starts without them",
        path = path.display()
    )]
    Unreadable { path: PathBuf, offset: u64, error: io::Error },
    #[error(
        "{path}: none of the {} bytes from offset {} on can be read: {error}; the device, or the path to it, may be down; \
         --repair accepts such damage only if the file can be read at one of its ends",
        pages.end - pages.start, pages.start, path = path.display()
    )]
    Silent { path: PathBuf, pages: Range<u64>, error: io::Error },
    #[error("the write-ahead log in {path}: {error}", path = path.display())]
    Wal { path: PathBuf, error: RecoveryError },
}

#[derive(Debug)]
pub(crate) struct Recovered {
    pub wal: RecoveredWal,
    pub files: HashMap<SlotId, Arc<SlotFile>>,
    /// The unreadable pages, which recovery treats as damage.
    pub unreadable: UnreadableRuns,
}

/// Adjacent unreadable pages.
#[derive(Debug)]
pub(crate) struct UnreadableRun {
    pub slot: SlotId,
    /// The run's bytes within the slot's file.
    pub range: Range<u64>,
    error: io::Error,
}

impl UnreadableRun {
    pub(crate) fn error(&self) -> io::Error {
        self.error.raw_os_error().map_or_else(|| self.error.kind().into(), io::Error::from_raw_os_error)
    }
}

/// The unreadable pages of a WAL, each once, however often they were read.
#[derive(Debug, Default)]
pub(crate) struct UnreadableRuns(Vec<UnreadableRun>);

impl UnreadableRuns {
    pub(crate) fn iter(&self) -> impl Iterator<Item = &UnreadableRun> {
        self.0.iter()
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds a run. Returns whether it neither repeats nor continues a known run.
    fn note(&mut self, slot: SlotId, range: Range<u64>, error: io::Error) -> bool {
        let touches =
            |run: &UnreadableRun| run.slot == slot && run.range.start <= range.end && range.start <= run.range.end;
        let whole = self
            .0
            .iter()
            .filter(|run| touches(run))
            .fold(range.clone(), |whole, run| whole.start.min(run.range.start)..whole.end.max(run.range.end));
        let before = self.0.len();
        self.0.retain(|run| !touches(run));
        let is_new = self.0.len() == before;
        self.0.push(UnreadableRun { slot, range: whole, error });
        is_new
    }
}

/// Reads a whole WAL. Blocks; runs before the engine serves anything.
pub(crate) fn recover(
    folder: &WalFolder,
    io: DirectIo,
    shape: SegmentShape,
    policy: CorruptionPolicy,
) -> Result<Recovered, RecoverError> {
    let mut slots = Vec::new();
    let mut written = HashMap::new();
    // These files go through the page cache: a window may be smaller than the blocks of direct
    // reads.
    let mut readers = HashMap::new();
    let bad_run_limit = match policy {
        CorruptionPolicy::Repair => BadRunLimit::WhileFileAnswers,
        CorruptionPolicy::Refuse | CorruptionPolicy::Repaired => BadRunLimit::Bounded,
    };
    for slot in folder.slots()? {
        let path = folder.slot_path(slot);
        let opened = AroundFile::open(&path, bad_run_limit).and_then(|file| Ok((file.file().metadata()?, file)));
        let (metadata, file) = opened.map_err(|error| RecoverError::Io { path: path.clone(), error })?;
        show_what_is_on_disk(&path, &file, policy)?;
        slots.push((slot, metadata.len()));
        written.insert(slot, metadata.modified().map_or_else(|_| wall_time(), Timestamp::from));
        readers.insert(slot, file);
    }
    let window = WINDOW.min(shape.length());
    let mut recovery = Recovery::new(RecoveryOptions { wal: folder.id, shape, slots, window, policy });
    let pool = ChunkPool::default();
    let damaged = |error| RecoverError::Wal { path: folder.dir.clone(), error };
    let mut unreadable = UnreadableRuns::default();
    while let Some(read) = recovery.poll_action() {
        let file = readers.get_mut(&read.slot).expect("recovery asks only for slots that it was given");
        let path = folder.slot_path(read.slot);
        let bytes = file.read(u64::from(read.offset), read.length as usize, &pool, |range, error| {
            let (offset, bytes, reason) = (range.start, range.end - range.start, error.to_string());
            if unreadable.note(read.slot, range, error) {
                tracing::warn!(path = %path.display(), offset, bytes, reason, "the write-ahead log cannot be read here: this counts as damage");
            }
        });
        let bytes = bytes.map_err(|error| match error {
            ReadAroundError::Io(error) => RecoverError::Io { path, error },
            ReadAroundError::Silent { pages, error } => RecoverError::Silent { path, pages, error },
        })?;
        recovery.on_read(&bytes).map_err(damaged)?;
    }
    let mut wal = recovery.finish().map_err(damaged)?;
    if policy != CorruptionPolicy::Repair {
        refuse_hidden(folder, &wal, &unreadable)?;
    }
    // Batches that were appended without a timestamp, and that no index covers yet, age from the
    // last write to their file.
    for segment in &mut wal.segments {
        segment.index.date(written.get(&segment.slot).copied().unwrap_or_else(wall_time));
    }
    // The read descriptors are closed first: a log that ran with three descriptors for each slot
    // must start again with as many.
    drop(readers);
    let mut files = HashMap::new();
    let used = wal.segments.iter().map(|segment| segment.slot).chain(wal.started_empty.iter().copied());
    for slot in used {
        let path = folder.slot_path(slot);
        let file = slots::open(slot, &path, io).map_err(|error| RecoverError::Io { path, error })?;
        files.insert(slot, Arc::new(file));
    }
    let newest = wal.segments.last().and_then(|newest| files.get(&newest.slot));
    if let Some(file) = newest.filter(|_| policy != CorruptionPolicy::Repair) {
        if !io.direct {
            rewrite_unproven(&wal, file).map_err(|error| RecoverError::Io { path: file.path.clone(), error })?;
        }
        // The segment's last groups may never have been synced, and count as durable from here on.
        file.sync().map_err(|error| RecoverError::Sync { path: file.path.clone(), error })?;
    }
    Ok(Recovered { wal, files, unreadable })
}

/// Makes later reads see the disk instead of the page cache, for logs with a repair. A killed
/// repair may have written more than it synced, and after a failed sync the page cache has pages
/// that the disk lacks.
fn show_what_is_on_disk(path: &Path, file: &AroundFile, policy: CorruptionPolicy) -> Result<(), RecoverError> {
    if policy == CorruptionPolicy::Refuse {
        return Ok(());
    }
    match file.sync() {
        Ok(()) => {}
        // A repair covers whatever damage the disk has.
        Err(error) if policy == CorruptionPolicy::Repair => {
            tracing::warn!(path = %path.display(), %error, "a slot cannot be synced before its repair: it is read from the disk");
        }
        Err(error) => return Err(RecoverError::Sync { path: path.to_path_buf(), error }),
    }
    file.forget_cached();
    Ok(())
}

/// Refuses a start where unreadable pages may hide acknowledged records that the log would
/// overwrite.
fn refuse_hidden(folder: &WalFolder, wal: &RecoveredWal, unreadable: &UnreadableRuns) -> Result<(), RecoverError> {
    // Within a slot, recovery passes over a suffix, so the run's last byte decides.
    let hidden = unreadable.iter().find(|run| wal.passes_over(run.slot, run.range.end - 1));
    hidden.map_or(Ok(()), |run| {
        let path = folder.slot_path(run.slot);
        Err(RecoverError::Unreadable { path, offset: run.range.start, error: run.error() })
    })
}

/// Rewrites the newest segment's unproven bytes as they were read, so that a sync writes them or
/// reports a failure. Proven groups were synced without a failure and stay untouched.
fn rewrite_unproven(wal: &RecoveredWal, file: &SlotFile) -> io::Result<()> {
    let Some((_, unproven)) = wal.unproven() else { return Ok(()) };
    let pool = ChunkPool::default();
    for at in unproven.clone().step_by(WINDOW as usize) {
        let length = (unproven.end - at).min(WINDOW);
        let bytes = direct_io::read_at(&file.file, u64::from(at), length as usize, &pool)?;
        file.file.write_all_at(&bytes, u64::from(at))?;
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

    use super::{RecoverError, UnreadableRuns, recover};
    use crate::direct_io::DirectIo;
    use crate::direct_io::spoiled::SpoiledFile;
    use crate::folder::Folder;
    use crate::{EngineConfig, EngineSettings, Metrics, start};

    #[test]
    fn adjacent_pages_are_one_run() {
        let mut runs = UnreadableRuns::default();
        let mut note = |slot, range| runs.note(SlotId(slot), range, std::io::Error::from_raw_os_error(5));
        assert!(note(0, 8_192..12_288));
        assert!(!note(0, 8_192..12_288), "a known run");
        assert!(!note(0, 12_288..16_384), "it continues the run");
        assert!(note(0, 24_576..28_672));
        assert!(note(1, 8_192..12_288), "another slot");
        assert!(!note(0, 16_384..24_576), "it fills the gap");
        let mut found: Vec<_> = runs.iter().map(|run| (run.slot.0, run.range.clone())).collect();
        found.sort_by_key(|(slot, range)| (*slot, range.start));
        assert_eq!(found, [(0, 8_192..28_672), (1, 8_192..12_288)]);
    }

    /// A log of one shard that was shut down in order.
    fn one_partition() -> (tempfile::TempDir, EngineConfig) {
        let folder = tempfile::tempdir().unwrap();
        let settings = EngineSettings { shards: Some(1), segment_size: ByteSize::mib(1), ..EngineSettings::default() };
        let mut config = EngineConfig::new(settings, folder.path().join("wal"));
        config.capacity = ByteSize::mib(16);
        let (engine, _) = start(&config, &Metrics::default()).unwrap();
        let id = TopicIdPartition { topic_id: TopicId(1), partition: PartitionId(0) };
        let open = OpenPartition { id, leader_epoch: LeaderEpoch(0), config: LogConfig::unlimited() };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            engine.open(vec![open]).await.remove(0).unwrap();
            engine.shutdown().await;
        });
        (folder, config)
    }

    #[test]
    fn a_start_syncs_what_a_repair_wrote_and_names_the_file_that_it_cannot_sync() {
        let (folder, _config) = one_partition();
        let wal = Folder::open(&folder.path().join("wal"), None).unwrap().wals.remove(0);
        let path = wal.slot_path(SlotId(0));
        let io = DirectIo::probe(&wal.dir, &wal.dir).unwrap();
        let shape = SegmentShape::new(u64::from(io.block_size), 1 << 20).unwrap();
        let slot = SpoiledFile::new(&path);
        slot.fail_syncs_after(0, 5);
        recover(&wal, io, shape, CorruptionPolicy::Repair).unwrap();
        let error = recover(&wal, io, shape, CorruptionPolicy::Repaired).unwrap_err();
        assert!(matches!(&error, RecoverError::Sync { path: named, .. } if *named == path), "{error}");
        let error = recover(&wal, io, shape, CorruptionPolicy::Refuse).unwrap_err();
        assert!(matches!(&error, RecoverError::Sync { path: named, .. } if *named == path), "{error}");
        // Recovery syncs once before it reads, and once before its last groups count as durable.
        slot.fail_syncs_after(1, 5);
        let error = recover(&wal, io, shape, CorruptionPolicy::Repaired).unwrap_err();
        assert!(matches!(error, RecoverError::Sync { .. }), "{error}");
        slot.fail_syncs_after(2, 5);
        recover(&wal, io, shape, CorruptionPolicy::Repaired).unwrap();
    }

    #[test]
    fn unproven_groups_are_rewritten_where_a_sync_alone_may_do_nothing() {
        let (_folder, config) = one_partition();
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
        assert!(std::fs::read(&path).unwrap() == content, "the content is unchanged");
    }
}
