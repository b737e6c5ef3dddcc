//! `--repair`: covers damage in WALs that refuse to start, so that what is sound is kept. What is gone is listed. In two steps: nothing is
//! written before all of the WALs are known to be repairable, and before the caller has told what will be gone. A disk may give back later what it
//! does not give now: so an unreadable place is read again and again for some seconds, and once more before the first write.

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
use rustmq_model::{Offset, TopicIdPartition};

use crate::aside::copy_for_repair;
use crate::dio::{DirectIo, sync_dir, write_over};
use crate::folder::{self, Folder, FolderError, WalFolder, WalOwner};
use crate::read_around::{AroundFile, PAGE, PageProbe, Persistence};
use crate::recovery::{RecoverError, Recovered, UnreadableRun, UnreadableRuns, recover};

/// How long unreadable places are read again: a path to the device that is down for a moment comes back.
const PATIENCE: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(250);
/// How often at most a log is read from its start, since some of it has become readable.
const READINGS_MAX: u32 = 4;
/// Bytes of zeros to write at a time.
const ZEROS: usize = 1 << 20;

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
    #[error("{path}: each time other parts of it can be read: nothing was changed", path = path.display())]
    Unsteady { path: PathBuf },
    #[error("{path}, offset {offset}: this can be read again: the log was left as it is; ask for the repair once more", path = path.display())]
    ReadableAgain { path: PathBuf, offset: u64 },
}

/// Offsets of a partition that the damage took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    pub id: TopicIdPartition,
    pub from: Offset,
    pub until: Offset,
}

/// A part of a slot's file that the device cannot read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnreadablePlace {
    pub path: PathBuf,
    /// In bytes.
    pub from: u64,
    pub until: u64,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Damaged places that were covered.
    pub holes: usize,
    /// Unreadable places that were written over.
    pub unreadable: usize,
    /// Files that were cut short, and have their length again.
    pub short_files: usize,
    /// Segment headers that were rebuilt. Nothing is lost by those.
    pub headers: usize,
    /// Copies of the damaged files as they were.
    pub copies: Vec<PathBuf>,
}

/// What a repair would do. The folder is held until it is carried out or dropped.
#[derive(Debug)]
pub struct RepairPlan {
    /// The damaged ones.
    wals: Vec<DamagedWal>,
    /// Offsets of a log that none of its batches has. What is lost at the write-ahead log's end is
    /// in no log.
    pub lost: Vec<LostRange>,
    /// What could not be read back while the log ran. Readers are refused there, before and after a repair, until retention or
    /// `DeleteRecords` passes it.
    pub refused: Vec<LostRange>,
    /// Places that will be written over. Those at a log's end or in a slot without a segment may have held acknowledged records, which no other
    /// list can name.
    pub unreadable: Vec<UnreadablePlace>,
    /// Where a log ends before groups that are whole, with how many: nothing proves what lay between. They go with the next start, and may hold
    /// acknowledged records where the place cannot be read.
    pub ends: Vec<(PathBuf, DroppedTail)>,
}

#[derive(Debug)]
struct DamagedWal {
    folder: WalFolder,
    io: DirectIo,
    recovered: RecoveredWal,
    unreadable: UnreadableRuns,
}

/// Reads the WALs in `dir`, which no process may have open, and writes nothing: a log that cannot be replayed even so is left as it is. Takes some
/// seconds longer if there are unreadable places.
pub fn plan_repair(dir: &Path, owner: Option<&WalOwner>) -> Result<RepairPlan, RepairError> {
    plan_with_patience(dir, owner, PATIENCE)
}

fn plan_with_patience(dir: &Path, owner: Option<&WalOwner>, patience: Duration) -> Result<RepairPlan, RepairError> {
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
        let Recovered { wal: recovered, unreadable, .. } = read_steadily(&wal, io, shape, patience)?;
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
        let end = recovered.dropped.filter(|dropped| dropped.groups > 0);
        plan.ends.extend(end.map(|dropped| (wal.slot_path(dropped.slot), dropped)));
        let damaged = DamagedWal { folder: wal, io, recovered, unreadable };
        if !damaged.slots().is_empty() {
            plan.lost.extend(lost);
            plan.wals.push(damaged);
        }
    }
    Ok(plan)
}

/// Reads a WAL, and again from its start as long as an unreadable place of it becomes readable.
fn read_steadily(
    wal: &WalFolder,
    io: DirectIo,
    shape: SegmentShape,
    patience: Duration,
) -> Result<Recovered, RepairError> {
    let mut silent_until = None;
    let mut readings = 0;
    loop {
        let recovered = match recover(wal, io, shape, CorruptionPolicy::Repair) {
            Err(error @ RecoverError::Silent { .. }) => {
                let until = *silent_until.get_or_insert_with(|| Instant::now() + patience);
                if Instant::now() >= until {
                    return Err(error.into());
                }
                thread::sleep(PAUSE);
                continue;
            }
            recovered => recovered?,
        };
        readings += 1;
        if !is_readable_by(wal, io, &recovered.unreadable, Instant::now() + patience)? {
            refuse_silence(wal, &recovered.unreadable)?;
            return Ok(recovered);
        }
        if readings == READINGS_MAX {
            return Err(RepairError::Unsteady { path: wal.dir.clone() });
        }
    }
}

/// Whether a place that could not be read can be read before `deadline`. Fails if the device of one
/// of them still fails then.
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
        thread::sleep(PAUSE);
    }
}

/// If neither end of a segment can be read, more than a sector is lost, or the device cannot be reached.
fn refuse_silence(wal: &WalFolder, unreadable: &UnreadableRuns) -> Result<(), RepairError> {
    for run in unreadable.iter() {
        let path = wal.slot_path(run.slot);
        let file = AroundFile::open(&path, Persistence::WhileItAnswers);
        let answers = file.and_then(|file| file.answers_at_its_ends());
        if !answers.map_err(|error| RepairError::Io { path: path.clone(), error })? {
            return Err(RecoverError::Silent { path, pages: run.range.clone(), error: run.error() }.into());
        }
    }
    Ok(())
}

impl RepairPlan {
    /// There is no damage.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.wals.is_empty()
    }

    /// Whether no place that could not be read when the plan was made can be read now: it may be sound, and the plan would write over it.
    pub fn verify(&self) -> Result<(), RepairError> {
        self.wals.iter().try_for_each(DamagedWal::refuse_readable)
    }

    /// Writes. From the first byte on the folder no longer holds all that it acknowledged: its incarnation must have ended before. Writes nothing,
    /// besides copies, if a place can be read that could not when the plan was made.
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
    /// The slots that will be written to. Trailers need no mention: they are overwritten only beside holes.
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

    /// A place that can be read again may be sound, and must not be written over.
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
        // First of all: the other writes may lie beyond the file's end.
        for (slot, shape) in &recovered.short_files {
            self.change(*slot, |file| file.set_len(u64::from(shape.length())))?;
        }
        // Then trailers: without its trailer a segment is scanned, so that a repair that is cut off here is asked for again.
        for (slot, shape) in &recovered.void_trailers {
            self.overwrite(*slot, shape.trailer(), &vec![0; shape.block_size() as usize])?;
        }
        for (slot, header) in &recovered.headers {
            self.cover_header(*slot, header)?;
        }
        for run in self.unreadable.iter().filter(|run| self.header_in(run).is_none()) {
            self.cover_unreadable(run)?;
        }
        // Oldest segment first, in each the last hole first: where a repair is cut off, the groups
        // that prove what is not covered yet are left.
        for (slot, shape, hole) in recovered.holes.iter().rev() {
            let mut block = vec![0; shape.block_size() as usize];
            hole.encode(self.folder.id, &mut block);
            self.overwrite(*slot, hole.offset, &block)?;
        }
        let dir = &self.folder.dir;
        sync_dir(dir).map_err(|error| RepairError::Io { path: dir.clone(), error })
    }

    /// The rebuilt header that lies in the run, if there is one.
    fn header_in(&self, run: &UnreadableRun) -> Option<&SegmentHeader> {
        let headers = &self.recovered.headers;
        headers.iter().find(|(slot, _)| *slot == run.slot && run.range.start == 0).map(|(_, header)| header)
    }

    fn cover_header(&self, slot: SlotId, header: &SegmentHeader) -> Result<(), RepairError> {
        if let Some(run) = self.unreadable.iter().find(|run| run.slot == slot && run.range.start == 0) {
            self.cover_unreadable(run)?;
        }
        // All of the block, of which the run may have had a part.
        self.overwrite(slot, 0, &header_block(header))
    }

    /// Once it is written, a device has a spare sector for one that it cannot read. Holes come after: a repair that is cut off here leaves damage, and
    /// is asked for again. The header that belongs there comes with the zeros: a slot that begins with nothing else counts as never used.
    fn cover_unreadable(&self, run: &UnreadableRun) -> Result<(), RepairError> {
        let header = self.header_in(run);
        self.change(run.slot, |file| {
            for at in run.range.clone().step_by(ZEROS) {
                let length = usize::try_from(run.range.end - at).map_or(ZEROS, |left| left.min(ZEROS));
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

    /// Changes a slot's file, and syncs it.
    fn change(&self, slot: SlotId, change: impl FnOnce(&File) -> io::Result<()>) -> Result<(), RepairError> {
        let file = OpenOptions::new().write(true).open(self.folder.slot_path(slot));
        let changed = file.and_then(|file| change(&file).and_then(|()| file.sync_all()));
        changed.map_err(|error| self.failed(slot, error))
    }
}

/// The first block of a segment.
fn header_block(header: &SegmentHeader) -> Vec<u8> {
    let mut block = vec![0; header.shape.block_size() as usize];
    header.encode(&mut block);
    block
}

#[cfg(test)]
mod tests;
