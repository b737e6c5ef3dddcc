//! `--repair`: covers damage in WALs that refuse to start, so that what is sound is kept. What is gone is listed. In two steps: nothing is
//! written before all of the WALs are known to be repairable, and before the caller has told what will be gone.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use rustmq_engine_core::log::Gaps;
use rustmq_engine_core::wal::position::SegmentShapeError;
use rustmq_engine_core::wal::recovery::CorruptionPolicy;
use rustmq_engine_core::wal::{RecoveredWal, SegmentShape, SegmentTable, SegmentTableConfig};
use rustmq_model::{Offset, TopicIdPartition};

use crate::aside::copy_for_repair;
use crate::dio::{DirectIo, sync_dir};
use crate::folder::{self, Folder, FolderError, WalFolder, WalOwner};
use crate::partition::{self, Partition, PartitionReplayError};
use crate::recovery::{RecoverError, recover};

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
}

/// Offsets of a partition that the damage took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostRange {
    pub id: TopicIdPartition,
    pub from: Offset,
    pub until: Offset,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Damaged places that were covered.
    pub holes: usize,
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
    wals: Vec<(WalFolder, RecoveredWal)>,
    /// Gaps between what is left. Records lost at a log's end leave none.
    pub lost: Vec<LostRange>,
    /// What could not be read back while the log ran. Readers are refused there, before and after a repair, until retention or
    /// `DeleteRecords` passes it.
    pub refused: Vec<LostRange>,
}

/// Reads the WALs in `dir`, which no process may have open, and writes nothing: a log that cannot be replayed even so is left as it is.
pub fn plan_repair(dir: &Path, owner: Option<&WalOwner>) -> Result<RepairPlan, RepairError> {
    let folder = Folder::open(dir, owner)?;
    let io = DirectIo::probe(dir, &folder::meta_path(dir))
        .map_err(|error| RepairError::Io { path: dir.to_owned(), error })?;
    let shape = SegmentShape::new(u64::from(io.block_size), folder.segment_size)?;
    let mut plan = RepairPlan { wals: Vec::new(), lost: Vec::new(), refused: Vec::new() };
    for wal in folder.wals {
        let recovered = recover(&wal, io, shape, CorruptionPolicy::Repair)?.wal;
        let config = SegmentTableConfig { wal: wal.id, shape, segments_max: u32::MAX };
        let mut table = SegmentTable::new(config, &recovered);
        let bases = recovered.bases_lost.iter().filter(|lost| lost.from < lost.until);
        let bases = bases.map(|lost| LostRange { id: lost.partition, from: lost.from, until: lost.until });
        let mut lost: Vec<_> = bases.collect();
        for (id, items) in &recovered.partitions {
            let log = Partition::replay(*id, items, Gaps::Repaired, partition::limits(shape))?;
            let log_start = log.decided_log_start();
            table.restore_log_start(*id, log_start);
            let range = |(from, until)| LostRange { id: *id, from, until };
            lost.extend(table.gaps(*id, log_start).into_iter().map(range));
            plan.refused.extend(table.damaged(*id, log_start).map(range));
        }
        if !(recovered.holes.is_empty() && recovered.headers.is_empty() && recovered.short_files.is_empty()) {
            plan.lost.extend(lost);
            plan.wals.push((wal, recovered));
        }
    }
    Ok(plan)
}

impl RepairPlan {
    /// There is no damage.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.wals.is_empty()
    }

    /// Writes. From the first byte on the folder no longer holds all that it acknowledged: its incarnation must have ended before.
    pub fn carry_out(self) -> Result<RepairReport, RepairError> {
        let mut report = RepairReport::default();
        for (wal, recovered) in &self.wals {
            wal.mark_repaired()?;
            cover(wal, recovered, &mut report)?;
        }
        Ok(report)
    }
}

fn cover(wal: &WalFolder, recovered: &RecoveredWal, report: &mut RepairReport) -> Result<(), RepairError> {
    // Trailers first: without its trailer a segment is scanned, so that a repair that is cut off here is asked for again.
    let zeros = |shape: &SegmentShape| vec![0; shape.block_size() as usize];
    let mut writes: Vec<_> =
        recovered.void_trailers.iter().map(|(slot, shape)| (*slot, shape.trailer(), zeros(shape))).collect();
    for (slot, header) in &recovered.headers {
        let mut block = vec![0; header.shape.block_size() as usize];
        header.encode(&mut block);
        writes.push((*slot, 0, block));
    }
    for (slot, shape, hole) in &recovered.holes {
        let mut block = vec![0; shape.block_size() as usize];
        hole.encode(wal.id, &mut block);
        writes.push((*slot, hole.offset, block));
    }
    let mut copied = BTreeSet::new();
    for (slot, shape) in &recovered.short_files {
        let path = wal.slot_path(*slot);
        let failed = |error| RepairError::Io { path: path.clone(), error };
        if copied.insert(*slot) {
            report
                .copies
                .push(copy_for_repair(&path).and_then(|copy| sync_dir(&wal.dir).map(|()| copy)).map_err(failed)?);
        }
        let file = fs::OpenOptions::new().write(true).open(&path).map_err(failed)?;
        file.set_len(u64::from(shape.length())).and_then(|()| file.sync_all()).map_err(failed)?;
    }
    for (slot, offset, block) in writes {
        let path = wal.slot_path(slot);
        let failed = |error| RepairError::Io { path: path.clone(), error };
        if copied.insert(slot) {
            report
                .copies
                .push(copy_for_repair(&path).and_then(|copy| sync_dir(&wal.dir).map(|()| copy)).map_err(failed)?);
        }
        let file = fs::OpenOptions::new().write(true).open(&path).map_err(failed)?;
        file.write_all_at(&block, u64::from(offset)).and_then(|()| file.sync_all()).map_err(failed)?;
    }
    report.holes += recovered.holes.len();
    report.headers += recovered.headers.len();
    report.short_files += recovered.short_files.len();
    sync_dir(&wal.dir).map_err(|error| RepairError::Io { path: wal.dir.clone(), error })
}
