//! Plans the read of batches that have left memory, on any thread: the segment, the groups in it,
//! and the next segment. The plan holds the segment.

use rustmq_model::Offset;

use super::error::ReadError;
use super::failure::{ReadFailure, ReadFailureCause};
use super::request::ColdRead;
use crate::wal::segments::{Located, Location};
use crate::wal::{LocationMap, NotLocated, RUNS_AHEAD, ReadRange, SegmentHold, SegmentTable, SharedSegments};

/// The location of a read's batches.
#[derive(Debug)]
pub struct ReadPlan {
    pub location: Location,
    /// The location after the end of that segment, if the read is near it.
    pub next: Option<NextLocation>,
    pub hold: SegmentHold,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextLocation {
    pub location: Location,
    pub from: Offset,
}

/// Why a read has no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// The segment was freed after the map was taken: a newer map locates the batches.
    Retired,
    Refused(ReadError),
}

/// Plans a consumer's read by the map of its partition.
///
/// # Errors
/// If the segment was freed, the batches are damaged, or the map does not have them.
pub fn plan_read(read: &ColdRead, map: &LocationMap, segments: &SharedSegments) -> Result<ReadPlan, NoPlan> {
    // Held before the lookup: the location then stays valid.
    let generation = map.generation_at(read.from);
    let hold = generation.and_then(|generation| segments.hold(generation));
    plan(read, hold, |range| map.locate(range, segments))
}

/// Plans a read for a move, by the segment table.
pub(super) fn plan_move(read: &ColdRead, table: &SegmentTable) -> Result<ReadPlan, ReadError> {
    let locate = |range| table.locate(read.id, range).ok_or(NotLocated::Nowhere);
    let hold = match locate(range_of(read)) {
        Ok(Located::Batches(location)) => table.shared().hold(location.generation),
        _ => None,
    };
    plan(read, hold, locate).map_err(|no_plan| match no_plan {
        NoPlan::Refused(error) => error,
        NoPlan::Retired => lost(read),
    })
}

const fn range_of(read: &ColdRead) -> ReadRange {
    ReadRange { from: read.from, until: read.until, bytes: read.max_bytes }
}

fn lost(read: &ColdRead) -> ReadError {
    let detail = format!("{read} is in no segment");
    ReadError::Storage(ReadFailure { cause: ReadFailureCause::Location, detail })
}

fn plan(
    read: &ColdRead,
    hold: Option<SegmentHold>,
    locate: impl Fn(ReadRange) -> Result<Located, NotLocated>,
) -> Result<ReadPlan, NoPlan> {
    let location = match locate(range_of(read)) {
        Ok(Located::Batches(location)) => location,
        Ok(Located::Damaged { first, end }) => return Err(NoPlan::Refused(ReadError::Damaged { first, end })),
        Err(NotLocated::Retired) => return Err(NoPlan::Retired),
        Err(NotLocated::Nowhere) => return Err(NoPlan::Refused(lost(read))),
    };
    let hold = hold.ok_or(NoPlan::Retired)?;
    let is_near_end = location.runs.len() <= RUNS_AHEAD;
    let next = is_near_end.then(|| location_after(read, location.segment_until, locate)).flatten();
    Ok(ReadPlan { location, next, hold })
}

fn location_after(
    read: &ColdRead,
    from: Offset,
    locate: impl Fn(ReadRange) -> Result<Located, NotLocated>,
) -> Option<NextLocation> {
    if from >= read.until {
        return None;
    }
    match locate(ReadRange { from, until: read.until, bytes: 0 }) {
        Ok(Located::Batches(location)) => Some(NextLocation { location, from }),
        _ => None,
    }
}
