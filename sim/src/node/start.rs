//! The start of a node before it serves, with the order and the syncs of a real start: recovery
//! over reads that may fail; rewriting the bytes that nothing proves; a sync of the newest
//! segment; the replay of the partitions.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use rustmq_engine_core::log::Gaps;
use rustmq_engine_core::shard::Partitions;
use rustmq_engine_core::shard::starting::{log_limits, replay_partitions};
use rustmq_engine_core::wal::group::fill_unreadable;
use rustmq_engine_core::wal::recovery::CorruptionPolicy;
use rustmq_engine_core::wal::{
    RecoveredWal, Recovery, RecoveryOptions, SegmentShape, SegmentTable, SegmentTableConfig, SlotId, WalId,
};
use rustmq_model::Timestamp;

use super::computer::{Computer, Crashed};
use super::setting::Setting;
use crate::disk::{DiskError, Operation, Outcome, SECTOR};

pub const WAL: WalId = WalId([7; 16]);
/// The length of one read by recovery, in bytes. It is smaller than some groups.
const WINDOW: u32 = 2_048;
const _: () = assert!(WINDOW.is_multiple_of(SECTOR));

/// Why a start fails.
#[derive(Debug)]
pub enum NoStart {
    Crashed,
    /// An operation failed. The next start may succeed.
    Failed(DiskError),
    Refused(Refusal),
}

/// Recovery refuses the log.
#[derive(Debug)]
pub struct Refusal {
    pub reason: String,
    /// The start came upon sectors that it could not read.
    pub has_unreadable: bool,
}

impl From<Crashed> for NoStart {
    fn from(_: Crashed) -> Self {
        Self::Crashed
    }
}

/// The results of a start.
#[derive(Debug)]
pub struct Recovered {
    pub wal: RecoveredWal,
    pub table: SegmentTable,
    pub partitions: Partitions,
}

/// Recovers the log. `written` has the time of the last write to each slot.
///
/// # Errors
/// At the step of a crash, if an operation fails, or if recovery refuses the log.
pub fn recover(
    computer: &mut Computer,
    setting: &Setting,
    written: &BTreeMap<SlotId, Timestamp>,
) -> Result<Recovered, NoStart> {
    let (mut wal, unreadable) = read_log(computer, setting.shape)?;
    if let Some((slot, place)) =
        unreadable.iter().find(|(slot, place)| wal.passes_over(*slot, u64::from(place.end - 1)))
    {
        let reason = format!("slot {}: {place:?} cannot be read", slot.0);
        return Err(NoStart::Refused(Refusal { reason, has_unreadable: true }));
    }
    for segment in &mut wal.segments {
        segment.index.date(written.get(&segment.slot).copied().unwrap_or(Timestamp(0)));
    }
    if let Some(newest) = wal.segments.last() {
        rewrite_unproven(computer, &wal)?;
        run(computer, Operation::Sync { slot: newest.slot })?;
    }
    let config = SegmentTableConfig { wal: WAL, shape: setting.shape, segments_max: setting.segments_max };
    let mut table = SegmentTable::new(config, &wal);
    let (limits, wall) = (log_limits(setting.shape), computer.now().wall);
    let partitions = replay_partitions(&wal, Gaps::Refused, limits, setting.replicas(), wall, &mut table)
        .map_err(|error| refused(error, &unreadable))?;
    Ok(Recovered { wal, table, partitions })
}

fn run(computer: &mut Computer, operation: Operation) -> Result<Outcome, NoStart> {
    computer.run(operation)?.map_err(NoStart::Failed)
}

/// Byte ranges that cannot be read.
type Unreadable = Vec<(SlotId, Range<u32>)>;

fn refused(error: impl std::error::Error, unreadable: &Unreadable) -> NoStart {
    NoStart::Refused(Refusal { reason: error.to_string(), has_unreadable: !unreadable.is_empty() })
}

fn read_log(computer: &mut Computer, shape: SegmentShape) -> Result<(RecoveredWal, Unreadable), NoStart> {
    let Outcome::Slots(slots) = run(computer, Operation::List)? else { panic!("a list gives slots") };
    let slots = slots.into_iter().map(|(slot, length)| (slot, u64::from(length))).collect();
    let policy = CorruptionPolicy::Refuse;
    let mut recovery = Recovery::new(RecoveryOptions { wal: WAL, shape, slots, window: WINDOW, policy });
    let mut unreadable = Vec::new();
    while let Some(read) = recovery.poll_action() {
        let bytes = read_around(computer, read.slot, read.offset, read.length, &mut unreadable)?;
        recovery.on_read(&bytes).map_err(|error| refused(error, &unreadable))?;
    }
    Ok((recovery.finish().map_err(|error| refused(error, &unreadable))?, unreadable))
}

/// Reads around unreadable sectors, and puts filler in their place.
fn read_around(
    computer: &mut Computer,
    slot: SlotId,
    offset: u32,
    length: u32,
    unreadable: &mut Unreadable,
) -> Result<Bytes, NoStart> {
    match computer.read(slot, offset, length)? {
        Ok(bytes) => return Ok(bytes),
        Err(DiskError::Io) => {}
        Err(error) => return Err(NoStart::Failed(error)),
    }
    let mut content = BytesMut::new();
    for at in (offset..offset + length).step_by(SECTOR as usize) {
        match computer.read(slot, at, SECTOR)? {
            Ok(bytes) if bytes.is_empty() => break,
            Ok(bytes) => content.extend_from_slice(&bytes),
            Err(_) => {
                let mut sector = [0; SECTOR as usize];
                fill_unreadable(&mut sector);
                content.extend_from_slice(&sector);
                unreadable.push((slot, at..at + SECTOR));
            }
        }
    }
    Ok(content.freeze())
}

/// After a failed sync of an earlier process, reads show bytes that are not on the disk. Writing
/// them again makes the sync write them, or fail.
fn rewrite_unproven(computer: &mut Computer, wal: &RecoveredWal) -> Result<(), NoStart> {
    let Some((slot, unproven)) = wal.unproven() else { return Ok(()) };
    let length = unproven.end - unproven.start;
    let bytes = computer.read(slot, unproven.start, length)?.map_err(NoStart::Failed)?;
    run(computer, Operation::Write { slot, offset: unproven.start, bytes })?;
    Ok(())
}
