//! How a read of what has left memory is planned, on whatever thread: which segment it goes to, in which of its groups, and where it goes on. The plan
//! holds the segment.

use rustmq_model::Offset;

use super::error::ReadError;
use super::request::ColdRead;
use crate::wal::segments::{Located, Location};
use crate::wal::{LocationMap, NotLocated, RUNS_AHEAD, ReadRange, SegmentHold, SegmentTable, SharedSegments};

/// Where a read finds its batches.
#[derive(Debug)]
pub struct ReadPlan {
    pub location: Location,
    /// Where it goes on once it is through with that segment, if that is near.
    pub next: Option<NextLocation>,
    pub hold: SegmentHold,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextLocation {
    pub location: Location,
    pub from: Offset,
}

/// Why there is no plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoPlan {
    /// The segment is in use no more since the map was taken: a newer one says where the batches are.
    Retired,
    Refused(ReadError),
}

/// Of a consumer, by the map of its partition.
pub fn plan_read(read: &ColdRead, map: &LocationMap, segments: &SharedSegments) -> Result<ReadPlan, NoPlan> {
    // Held before it is looked into: what is found there stays.
    let generation = map.generation_at(read.from);
    let hold = generation.and_then(|generation| segments.hold(generation));
    plan(read, hold, |range| map.locate(range, segments))
}

/// Of batches that are to be moved, by the table.
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
    ReadError::Storage { reason: format!("{read} is in no segment") }
}

fn plan(
    read: &ColdRead,
    hold: Option<SegmentHold>,
    locate: impl Fn(ReadRange) -> Result<Located, NotLocated>,
) -> Result<ReadPlan, NoPlan> {
    let location = match locate(range_of(read)) {
        Ok(Located::Batches(location)) => location,
        Ok(Located::Damaged { first, end }) => {
            let (id, first, last) = (read.id, first.0, end.0 - 1);
            let reason = format!("offsets {first} to {last} of {id} are damaged: they could not be read back");
            return Err(NoPlan::Refused(ReadError::Storage { reason }));
        }
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
