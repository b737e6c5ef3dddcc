//! `--repair`: covers damage in WALs that refuse to start, keeps the sound rest, and lists the
//! losses. A repair has two steps: it writes nothing before it knows that all WALs can be repaired,
//! and before the caller has reported the losses. A disk may later return data that it does not
//! return now. So a repair retries unreadable places for some seconds, and once more before its
//! first write.

use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use rustmq_engine_core::log::Gaps;
use rustmq_engine_core::shard::starting::{PartitionReplayError, log_limits, replay};
use rustmq_engine_core::wal::position::SegmentShapeError;
use rustmq_engine_core::wal::recovery::{CorruptionPolicy, DroppedTail};
use rustmq_engine_core::wal::{RecoveredWal, SegmentHeader, SegmentShape, SegmentTable, SegmentTableConfig, SlotId};
use rustmq_folder::sync_dir;
use rustmq_model::{Offset, TopicIdPartition};

use crate::damaged_copies::copy_for_repair;
use crate::direct_io::{DirectIo, write_over};
use crate::folder::{self, Folder, FolderError, WalFolder, WalOwner};
use crate::read_around::{AroundFile, BadRunLimit, PAGE, PageProbe};
use crate::recovery::{RecoverError, Recovered, UnreadableRun, UnreadableRuns, recover};

/// How long unreadable places are retried: a path to the device that is down for a moment comes
/// back.
const RETRY_FOR: Duration = Duration::from_secs(5);
const RETRY_INTERVAL: Duration = Duration::from_millis(250);
/// The most passes over a log. A pass starts again when an unreadable place has become readable.
const READ_PASSES_MAX: u32 = 4;
/// The number of zero bytes to write at a time.
const ZERO_FILL_BYTES: usize = 1 << 20;
const _: () = assert!(ZERO_FILL_BYTES.is_multiple_of(PAGE));

#[derive(Debug, thiserror::Error)]
pub enum RepairError {
    #[error(transparent)]
    Folder(#[from] FolderError),
    #[error(transparent)]
    Recover(#[from] RecoverError),
    #[error(transparent)]
    Replay(#[from] PartitionReplayError),
    #[error(transparent)]
    Shape(#[from] SegmentShapeError),
    #[error("{path}: {error}", path = path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{path}: different parts of it can be read each time; nothing was changed", path = path.display())]
    Unsteady { path: PathBuf },
    #[error("{path}, offset {offset}: this can be read again; nothing was changed: run the repair once more", path = path.display())]
    ReadableAgain { path: PathBuf, offset: u64 },
}

/// A range of a partition's offsets whose records the damage took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    pub id: TopicIdPartition,
    pub from: Offset,
    pub until: Offset,
}

/// A part of a slot's file that the device cannot read, as byte offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadablePlace {
    pub path: PathBuf,
    pub from: u64,
    pub until: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// The damaged places that were covered.
    pub holes: usize,
    /// The unreadable places that were overwritten.
    pub unreadable: usize,
    /// The files that were too short and were extended to their full length.
    pub short_files: usize,
    /// The segment headers that were rebuilt. A rebuilt header loses nothing.
    pub headers: usize,
    /// The copies of the damaged files, made before the repair.
    pub copies: Vec<PathBuf>,
}

/// A repair that is planned but not executed. Holds the folder's lock until it is executed or
/// dropped.
#[derive(Debug)]
pub struct RepairPlan {
    /// The damaged WALs.
    wals: Vec<DamagedWal>,
    /// Offsets of a partition's log that none of its batches has. Losses at the end of the
    /// write-ahead log are not listed: no partition's log mentions them.
    pub lost: Vec<LostRange>,
    /// Ranges that could not be read back while the log ran. Readers are refused there, before and
    /// after a repair, until retention or `DeleteRecords` passes the range.
    pub refused: Vec<LostRange>,
    /// The places that the repair will overwrite. Places at a log's end, or in a slot without a
    /// segment, may have held acknowledged records that no other list can name.
    pub unreadable: Vec<UnreadablePlace>,
    /// Where a log ends although complete groups follow, with their number: nothing proves the
    /// bytes in between. The next start drops these groups; they may hold acknowledged records if
    /// the place is unreadable.
    pub ends: Vec<(PathBuf, DroppedTail)>,
}

#[derive(Debug)]
struct DamagedWal {
    folder: WalFolder,
    io: DirectIo,
    recovered: RecoveredWal,
    unreadable: UnreadableRuns,
}

/// Reads the WALs in `dir`, which no process may have open, and writes nothing. Takes some seconds
/// longer if there are unreadable places.
///
/// # Errors
/// [`RepairError`] if a WAL cannot be replayed even without its damage, or if its device fails; the
/// log is unchanged.
pub fn plan_repair(dir: &Path, owner: Option<&WalOwner>) -> Result<RepairPlan, RepairError> {
    plan_with_retries(dir, owner, RETRY_FOR)
}

fn plan_with_retries(dir: &Path, owner: Option<&WalOwner>, retry_for: Duration) -> Result<RepairPlan, RepairError> {
    let folder = Folder::open(dir, owner)?;
    let io = DirectIo::probe(dir, &folder::meta_path(dir))
        .map_err(|error| RepairError::Io { path: dir.to_owned(), error })?;
    let shape = SegmentShape::new(u64::from(io.block_size), folder.segment_size)?;
    let mut plan = RepairPlan {
        wals: Vec::new(),
        lost: Vec::new(),
        refused: Vec::new(),
        unreadable: Vec::new(),
        ends: Vec::new(),
    };
    for wal in folder.wals {
        let Recovered { wal: recovered, unreadable, .. } = read_until_stable(&wal, io, shape, retry_for)?;
        let config = SegmentTableConfig { wal: wal.id, shape, segments_max: u32::MAX };
        let mut table = SegmentTable::new(config, &recovered);
        let bases = recovered.bases_lost.iter().filter(|lost| lost.from < lost.until);
        let bases = bases.map(|lost| LostRange { id: lost.partition, from: lost.from, until: lost.until });
        let mut lost: Vec<_> = bases.collect();
        for (id, items) in &recovered.partitions {
            let log = replay(*id, items, Gaps::Repaired, log_limits(shape))?;
            let log_start = log.decided_log_start();
            table.restore_log_start(*id, log_start);
            let range = |(from, until)| LostRange { id: *id, from, until };
            lost.extend(table.gaps(*id, log_start..log.end()).into_iter().map(range));
            plan.refused.extend(table.damaged(*id, log_start).map(range));
        }
        plan.unreadable.extend(unreadable.iter().map(|run| UnreadablePlace {
            path: wal.slot_path(run.slot),
            from: run.range.start,
            until: run.range.end,
        }));
        let ends = recovered.dropped.iter().filter(|dropped| dropped.groups > 0);
        plan.ends.extend(ends.map(|dropped| (wal.slot_path(dropped.slot), *dropped)));
        let damaged = DamagedWal { folder: wal, io, recovered, unreadable };
        if !damaged.slots().is_empty() {
            plan.lost.extend(lost);
            plan.wals.push(damaged);
        }
    }
    Ok(plan)
}

/// Reads a WAL. Starts again whenever an unreadable place has become readable.
fn read_until_stable(
    wal: &WalFolder,
    io: DirectIo,
    shape: SegmentShape,
    retry_for: Duration,
) -> Result<Recovered, RepairError> {
    let mut silent_until = None;
    let mut passes = 0;
    loop {
        let recovered = match recover(wal, io, shape, CorruptionPolicy::Repair) {
            Err(error @ RecoverError::Silent { .. }) => {
                let until = *silent_until.get_or_insert_with(|| Instant::now() + retry_for);
                if Instant::now() >= until {
                    return Err(error.into());
                }
                thread::sleep(RETRY_INTERVAL);
                continue;
            }
            recovered => recovered?,
        };
        passes += 1;
        if !is_readable_by(wal, io, &recovered.unreadable, Instant::now() + retry_for)? {
            refuse_unresponsive(wal, &recovered.unreadable)?;
            return Ok(recovered);
        }
        if passes == READ_PASSES_MAX {
            return Err(RepairError::Unsteady { path: wal.dir.clone() });
        }
    }
}

/// Whether a place that was unreadable can be read before `deadline`. Fails if the device of such a
/// place still fails by then.
fn is_readable_by(
    wal: &WalFolder,
    io: DirectIo,
    unreadable: &UnreadableRuns,
    deadline: Instant,
) -> Result<bool, RepairError> {
    loop {
        let mut failed = None;
        for run in unreadable.iter() {
            let path = wal.slot_path(run.slot);
            match PageProbe::open(&path, io).and_then(|probe| probe.is_readable_at(run.range.start)) {
                Ok(true) => return Ok(true),
                Ok(false) => {}
                Err(error) => failed = Some(RepairError::Io { path, error }),
            }
        }
        if unreadable.is_empty() || Instant::now() >= deadline {
            return failed.map_or(Ok(false), Err);
        }
        thread::sleep(RETRY_INTERVAL);
    }
}

/// Refuses a segment that cannot be read at either end: more than a sector is lost, or the device
/// cannot be reached.
fn refuse_unresponsive(wal: &WalFolder, unreadable: &UnreadableRuns) -> Result<(), RepairError> {
    for run in unreadable.iter() {
        let path = wal.slot_path(run.slot);
        let file = AroundFile::open(&path, BadRunLimit::WhileFileAnswers);
        let answers = file.and_then(|file| file.answers_at_its_ends());
        if !answers.map_err(|error| RepairError::Io { path: path.clone(), error })? {
            return Err(RecoverError::Silent { path, pages: run.range.clone(), error: run.error() }.into());
        }
    }
    Ok(())
}

impl RepairPlan {
    /// Whether there is no damage.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.wals.is_empty()
    }

    /// Reads every unreadable place again.
    ///
    /// # Errors
    /// [`RepairError::ReadableAgain`] for a place that can be read now: it may be sound, and the
    /// repair would overwrite it.
    pub fn verify(&self) -> Result<(), RepairError> {
        self.wals.iter().try_for_each(DamagedWal::refuse_readable)
    }

    /// Executes the repair. From its first write on, the folder no longer holds everything that it
    /// acknowledged, so the caller must have ended its incarnation before.
    ///
    /// # Errors
    /// [`RepairError::ReadableAgain`] as in [`Self::verify`], before anything but copies is
    /// written; other errors name the file that cannot be copied or written.
    pub fn carry_out(self) -> Result<RepairReport, RepairError> {
        let mut report = RepairReport::default();
        for wal in &self.wals {
            report.copies.extend(wal.copy_damaged()?);
        }
        self.verify()?;
        for wal in &self.wals {
            wal.folder.mark_repaired()?;
            wal.cover()?;
            report.holes += wal.recovered.holes.len();
            report.unreadable += wal.unreadable.iter().count();
            report.headers += wal.recovered.headers.len();
            report.short_files += wal.recovered.short_files.len();
        }
        Ok(report)
    }
}

impl DamagedWal {
    /// The slots that the repair writes to. Trailers add none: they are overwritten only in
    /// segments with holes.
    fn slots(&self) -> BTreeSet<SlotId> {
        let RecoveredWal { holes, headers, short_files, .. } = &self.recovered;
        let damaged = holes.iter().map(|(slot, ..)| *slot).chain(headers.iter().map(|(slot, _)| *slot));
        let damaged = damaged.chain(short_files.iter().map(|(slot, _)| *slot));
        damaged.chain(self.unreadable.iter().map(|run| run.slot)).collect()
    }

    fn failed(&self, slot: SlotId, error: io::Error) -> RepairError {
        RepairError::Io { path: self.folder.slot_path(slot), error }
    }

    fn copy_damaged(&self) -> Result<Vec<PathBuf>, RepairError> {
        let copy = |slot: SlotId| {
            let copied = copy_for_repair(&self.folder.slot_path(slot));
            let copied = copied.and_then(|copy| sync_dir(&self.folder.dir).map(|()| copy));
            copied.map_err(|error| self.failed(slot, error))
        };
        self.slots().into_iter().map(copy).collect()
    }

    /// Refuses to overwrite a place that can be read again, because it may be sound.
    fn refuse_readable(&self) -> Result<(), RepairError> {
        for run in self.unreadable.iter() {
            let path = self.folder.slot_path(run.slot);
            let probe = PageProbe::open(&path, self.io).map_err(|error| self.failed(run.slot, error))?;
            for offset in run.range.clone().step_by(PAGE) {
                if probe.is_readable_at(offset).map_err(|error| self.failed(run.slot, error))? {
                    return Err(RepairError::ReadableAgain { path, offset });
                }
            }
        }
        Ok(())
    }

    fn cover(&self) -> Result<(), RepairError> {
        let recovered = &self.recovered;
        // Lengths come first: the other writes may lie beyond the file's current end.
        for (slot, shape) in &recovered.short_files {
            self.change(*slot, |file| file.set_len(u64::from(shape.length())))?;
        }
        // Trailers come second: a segment without a trailer is scanned, so that an interrupted
        // repair is asked for again.
        for (slot, shape) in &recovered.void_trailers {
            self.overwrite(*slot, shape.trailer(), &vec![0; shape.block_size() as usize])?;
        }
        for (slot, header) in &recovered.headers {
            self.cover_header(*slot, header)?;
        }
        for run in self.unreadable.iter().filter(|run| self.header_in(run).is_none()) {
            self.cover_unreadable(run)?;
        }
        // The oldest segment comes first, and in each segment its last hole first: after an
        // interruption, the groups that prove the remaining damage are still there.
        for (slot, shape, hole) in recovered.holes.iter().rev() {
            let mut block = vec![0; shape.block_size() as usize];
            hole.encode(self.folder.id, &mut block);
            self.overwrite(*slot, hole.offset, &block)?;
        }
        let dir = &self.folder.dir;
        sync_dir(dir).map_err(|error| RepairError::Io { path: dir.clone(), error })
    }

    /// The rebuilt header that belongs into the run, if there is one.
    fn header_in(&self, run: &UnreadableRun) -> Option<&SegmentHeader> {
        let headers = &self.recovered.headers;
        headers.iter().find(|(slot, _)| *slot == run.slot && run.range.start == 0).map(|(_, header)| header)
    }

    fn cover_header(&self, slot: SlotId, header: &SegmentHeader) -> Result<(), RepairError> {
        if let Some(run) = self.unreadable.iter().find(|run| run.slot == slot && run.range.start == 0) {
            self.cover_unreadable(run)?;
        }
        // The whole block, because the run may cover only a part of it.
        self.overwrite(slot, 0, &header_block(header))
    }

    /// Overwrites unreadable sectors, for which the device then uses spare ones. Holes are written
    /// after this: a repair that is interrupted here leaves damage and is asked for again. A header
    /// that belongs into the run is written together with the zeros: a slot that begins with zeros
    /// alone counts as never used.
    fn cover_unreadable(&self, run: &UnreadableRun) -> Result<(), RepairError> {
        let header = self.header_in(run);
        self.change(run.slot, |file| {
            for at in run.range.clone().step_by(ZERO_FILL_BYTES) {
                let length =
                    usize::try_from(run.range.end - at).map_or(ZERO_FILL_BYTES, |left| left.min(ZERO_FILL_BYTES));
                let mut bytes = vec![0; length];
                if let Some(header) = header.filter(|_| at == 0) {
                    let block = header_block(header);
                    let length = block.len().min(length);
                    bytes[..length].copy_from_slice(&block[..length]);
                }
                write_over(file, &bytes, at)?;
            }
            Ok(())
        })
    }

    fn overwrite(&self, slot: SlotId, offset: u32, block: &[u8]) -> Result<(), RepairError> {
        self.change(slot, |file| write_over(file, block, u64::from(offset)))
    }

    /// Changes a slot's file and syncs it.
    fn change(&self, slot: SlotId, change: impl FnOnce(&File) -> io::Result<()>) -> Result<(), RepairError> {
        let file = OpenOptions::new().write(true).open(self.folder.slot_path(slot));
        let changed = file.and_then(|file| change(&file).and_then(|()| file.sync_all()));
        changed.map_err(|error| self.failed(slot, error))
    }
}

/// The first block of a segment, which holds its header.
fn header_block(header: &SegmentHeader) -> Vec<u8> {
    let mut block = vec![0; header.shape.block_size() as usize];
    header.encode(&mut block);
    block
}

#[cfg(test)]
mod tests;
