//! Verifies groups that were read back from disk, and finds the batches of each partition in them.
//! A batch is served only if it is whole and belongs to this place, this generation and this
//! partition.

use std::collections::BTreeMap;
use std::ops::Range;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, TopicIdPartition};

use super::control::Control;
use super::damage::GroupError;
use super::frame::{self, FrameBody};
use super::group::{GroupHeader, HEADER_LENGTH};
use super::position::WalPosition;
use super::scan::SegmentPlace;

/// A batch in the bytes that were read. Ranges count from the first byte of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckedBatch {
    pub header: BatchHeader,
    pub range: Range<usize>,
    /// The batch with its tagged fields; a relocation copies them together.
    pub with_tagged_fields: Range<usize>,
}

/// A query for the batches of `partition` that hold offsets from `from` on and lie below `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchQuery {
    pub partition: TopicIdPartition,
    pub from: Offset,
    pub until: Offset,
}

/// A verified group, and its batches that may be served.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckedGroup {
    /// Sorted by partition and offset.
    batches: Vec<(TopicIdPartition, CheckedBatch)>,
}

impl CheckedGroup {
    /// The batches of the partition, in the order of their offsets.
    pub fn batches_of(&self, partition: TopicIdPartition) -> impl Iterator<Item = &CheckedBatch> {
        let first = self.batches.partition_point(|(of, _)| *of < partition);
        let rest = self.batches[first..].iter();
        rest.take_while(move |(of, _)| *of == partition).map(|(_, batch)| batch)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GroupCheck {
    Whole(CheckedGroup),
    /// The group is longer than the bytes: `length` bytes must be read from its offset on, which
    /// are whole blocks.
    NeedBytes {
        length: u32,
    },
}

/// The padded size of the group at `offset`, by its header alone; `None` if the bytes are shorter
/// than a header.
///
/// # Errors
///
/// If the bytes are not the header of that group, or a newer build wrote it.
pub fn group_size(place: SegmentPlace, offset: u32, bytes: &[u8]) -> Result<Option<u32>, GroupError> {
    if bytes.len() < HEADER_LENGTH as usize {
        return Ok(None);
    }
    let at = WalPosition { generation: place.generation, offset };
    let header = GroupHeader::parse_at(place.wal, place.shape, at, bytes)?;
    Ok(Some(place.shape.padded(header.length)))
}

/// Verifies the group at `offset`, which `bytes` start with.
///
/// # Errors
///
/// If the group is damaged. [`GroupError::Unknown`] if this build does not know one of its frames:
/// no batch of the group is served then, since the frame may change the meaning of the batches
/// beside it.
pub fn check_group(place: SegmentPlace, offset: u32, bytes: &[u8]) -> Result<GroupCheck, GroupError> {
    if bytes.len() < HEADER_LENGTH as usize {
        return Ok(GroupCheck::NeedBytes { length: place.shape.block_size() });
    }
    let at = WalPosition { generation: place.generation, offset };
    let header = GroupHeader::parse_at(place.wal, place.shape, at, bytes)?;
    let Some(group) = bytes.get(..header.length as usize) else {
        return Ok(GroupCheck::NeedBytes { length: place.shape.padded(header.length) });
    };
    let mut batches: Vec<(TopicIdPartition, CheckedBatch)> = Vec::new();
    // A later frame of the same group may void batches, which must not be served. For each such
    // frame: the number of batches before it, and the end of those that stay.
    let mut voids: BTreeMap<TopicIdPartition, Vec<(usize, Offset)>> = BTreeMap::new();
    for frame in frame::frames(place.wal, &header, group) {
        let frame = frame?;
        let mut void = |end| voids.entry(frame.partition).or_default().push((batches.len(), end));
        match frame.body {
            FrameBody::Batch { header, .. } => {
                let range = frame.payload_at..frame.payload_at + header.size;
                let with_tagged_fields = frame.payload_at..frame.payload_at + frame.payload.len();
                batches.push((frame.partition, CheckedBatch { header, range, with_tagged_fields }));
            }
            FrameBody::Control(Control::Open { .. } | Control::Close) => void(Offset::ZERO),
            FrameBody::Control(Control::Truncate { end }) => void(end),
            FrameBody::Unknown(unknown) => return Err(GroupError::Unknown(unknown)),
            FrameBody::Control(_) | FrameBody::Checkpoint(..) | FrameBody::SegmentIndex | FrameBody::Damaged(_) => {}
        }
    }
    let mut at = 0..;
    batches.retain(|(partition, batch)| {
        let at = at.next();
        let stays = |(before, end): &(usize, Offset)| at >= Some(*before) || batch.header.next_offset() <= *end;
        voids.get(partition).is_none_or(|voids| voids.iter().all(stays))
    });
    batches.sort_by_key(|(partition, batch)| (*partition, batch.header.base_offset));
    Ok(GroupCheck::Whole(CheckedGroup { batches }))
}
