//! Where what has left memory is read: asked of the machine, which holds the segment until the reader is done.

use rustmq_model::Offset;

use super::error::ReadError;
use super::partitions::Partitions;
use super::request::ColdRead;
use crate::wal::segments::{Located, Location};
use crate::wal::{DamagedRange, RUNS_AHEAD, ReadRange, SegmentTable};

/// Where a read finds its batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadPlan {
    pub location: Location,
    /// Where it goes on once it is through with that segment, if that is near.
    pub next: Option<NextLocation>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NextLocation {
    pub location: Location,
    pub from: Offset,
}

/// Holds the segment, which is to be released.
pub(super) fn plan_read(read: &ColdRead, table: &mut SegmentTable) -> Result<ReadPlan, ReadError> {
    let lost = || ReadError::Storage { reason: format!("{read} is in no segment") };
    let range = ReadRange { from: read.from, until: read.until, bytes: read.max_bytes };
    let location = match table.locate(read.id, range).ok_or_else(lost)? {
        Located::Damaged(DamagedRange { first, end, .. }) => {
            let (id, first, last) = (read.id, first.0, end.0 - 1);
            let reason = format!("offsets {first} to {last} of {id} are damaged: they could not be read back");
            return Err(ReadError::Storage { reason });
        }
        Located::Batches(location) => location,
    };
    let is_near_end = location.runs.len() <= RUNS_AHEAD;
    let next = is_near_end.then(|| location_after(read, location.segment_until, table)).flatten();
    table.hold(location.generation);
    Ok(ReadPlan { location, next })
}

fn location_after(read: &ColdRead, from: Offset, table: &SegmentTable) -> Option<NextLocation> {
    if from >= read.until {
        return None;
    }
    let range = ReadRange { from, until: read.until, bytes: 0 };
    let Some(Located::Batches(location)) = table.locate(read.id, range) else { return None };
    Some(NextLocation { location, from })
}

/// Whether the read may be planned: of an open partition, not below its log start.
pub(super) fn judge_read(read: &ColdRead, partitions: &Partitions) -> Result<(), ReadError> {
    let partition = partitions.find(read.id).ok_or(ReadError::Closed)?;
    if read.from < partition.log_start() {
        return Err(ReadError::OutOfRange { requested: read.from, frontiers: partition.frontiers() });
    }
    Ok(())
}
