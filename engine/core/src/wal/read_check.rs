//! Verifies groups that were read back from disk, and yields the batches of one partition: nothing is served that is not from
//! this place, this life of the segment, this partition, and whole.

use std::ops::Range;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, TopicIdPartition};

use super::frame::{self, Control, FrameBody};
use super::group::{GroupDamage, GroupHeader, HEADER_LENGTH};
use super::position::WalPosition;
use super::scan::SegmentPlace;

/// A batch in the bytes that were read: `range` counts from the group's first byte.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedBatch {
    pub header: BatchHeader,
    pub range: Range<usize>,
}

/// What is asked of a group: batches of `partition` that hold offsets from `from` on and lie below `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchQuery {
    pub partition: TopicIdPartition,
    pub from: Offset,
    pub until: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupRead {
    /// The batches, ascending, and the group's size with padding.
    Batches { batches: Vec<CheckedBatch>, padded: u32 },
    /// The group is longer than the bytes: read this many, whole blocks, from its offset on.
    NeedBytes { length: u32 },
}

/// Verifies the group at `offset`, which `bytes` start with, and picks the batches asked for.
pub fn read_group(place: SegmentPlace, offset: u32, bytes: &[u8], query: BatchQuery) -> Result<GroupRead, GroupDamage> {
    if bytes.len() < HEADER_LENGTH as usize {
        return Ok(GroupRead::NeedBytes { length: place.shape.block_size() });
    }
    let at = WalPosition { generation: place.generation, offset };
    let header = GroupHeader::parse_at(place.wal, place.shape, at, bytes)?;
    let padded = place.shape.padded(header.length);
    let Some(group) = bytes.get(..header.length as usize) else {
        return Ok(GroupRead::NeedBytes { length: padded });
    };
    let mut batches = Vec::new();
    for frame in frame::frames(place.wal, &header, group) {
        let frame = frame?;
        if frame.partition != query.partition {
            continue;
        }
        let batch = match frame.body {
            FrameBody::Batch { header, .. } => header,
            // What a later frame of the same group voids was never to be read.
            FrameBody::Control(Control::Open { .. } | Control::Close) => {
                batches.clear();
                continue;
            }
            FrameBody::Control(Control::Truncate { end }) => {
                batches.retain(|batch: &CheckedBatch| batch.header.next_offset() <= end);
                continue;
            }
            FrameBody::Control(_) | FrameBody::Checkpoint | FrameBody::SegmentIndex => continue,
        };
        let asked = batch.next_offset() > query.from && batch.next_offset() <= query.until;
        if asked {
            let range = frame.payload_at..frame.payload_at + frame.payload.len();
            batches.push(CheckedBatch { header: batch, range });
        }
    }
    batches.sort_by_key(|batch| batch.header.base_offset);
    Ok(GroupRead::Batches { batches, padded })
}
