//! Reads a partition's log back from the disk, for the oracle. It takes no time, and holds no
//! segment.

use std::collections::BTreeMap;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use rustmq_engine_core::wal::read_check::{CheckedGroup, GroupCheck, check_group};
use rustmq_engine_core::wal::recovery::read_index;
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_engine_core::wal::segments::{Located, LocatedExtents, Location};
use rustmq_engine_core::wal::{Extent, ReadRange, SegmentTable, SlotId, WalId};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, TopicIdPartition};

use crate::disk::{Disk, SECTOR};

/// A part of a log, as it was found.
#[derive(Debug)]
pub enum Piece {
    Batch {
        header: BatchHeader,
        bytes: Bytes,
    },
    /// Offsets that a damage mark replaces.
    Marked(Range<Offset>),
    /// Offsets whose group is not whole.
    Damaged {
        offsets: Range<Offset>,
        slot: SlotId,
    },
    /// Offsets that no segment has.
    Missing(Range<Offset>),
}

impl Piece {
    /// The offset after this piece of a log that is read from `at` on. Panics if the piece does not
    /// continue the log there.
    pub fn continue_from(&self, id: TopicIdPartition, at: Offset) -> Offset {
        match self {
            Self::Batch { header, .. } => {
                let (first, next) = (header.base_offset, header.next_offset());
                assert!(first <= at && at < next, "{id}: the batch at {at} reaches from {first} to {next}");
                next
            }
            Self::Marked(range) | Self::Damaged { offsets: range, .. } => {
                assert_eq!(range.start, at, "{id}: damage begins where whole batches end");
                range.end
            }
            Self::Missing(range) => panic!("{id}: {range:?} is in no segment"),
        }
    }
}

#[derive(Debug)]
pub struct LogReader<'a> {
    wal: WalId,
    table: &'a SegmentTable,
    disk: &'a mut Disk,
    slots: BTreeMap<SlotId, Bytes>,
    groups: BTreeMap<(SlotId, u32), Option<CheckedGroup>>,
}

impl<'a> LogReader<'a> {
    pub const fn new(wal: WalId, table: &'a SegmentTable, disk: &'a mut Disk) -> Self {
        Self { wal, table, disk, slots: BTreeMap::new(), groups: BTreeMap::new() }
    }

    /// Reads this range of a log, in the order of offsets.
    pub fn read(&mut self, id: TopicIdPartition, log: Range<Offset>) -> Vec<Piece> {
        let mut pieces = Vec::new();
        let mut from = log.start;
        while from < log.end {
            let range = ReadRange { from, until: log.end, bytes: usize::MAX };
            match self.table.locate(id, range) {
                None => {
                    pieces.push(Piece::Missing(from..log.end));
                    break;
                }
                Some(Located::Damaged { end, .. }) => {
                    let end = end.min(log.end);
                    pieces.push(Piece::Marked(from..end));
                    from = end;
                }
                Some(Located::Batches(location)) => {
                    if location.from > from {
                        pieces.push(Piece::Missing(from..location.from));
                    }
                    from = self.read_segment(id, &location, from, &mut pieces);
                }
            }
        }
        pieces
    }

    /// Returns the offset after the last one that it read.
    fn read_segment(&mut self, id: TopicIdPartition, at: &Location, from: Offset, pieces: &mut Vec<Piece>) -> Offset {
        let place = SegmentPlace { wal: self.wal, shape: at.shape, generation: at.generation };
        let Some(extents) = self.extents(id, place, at) else {
            pieces.push(Piece::Damaged { offsets: from..at.until, slot: at.slot });
            return at.until;
        };
        let mut from = from.max(at.from);
        for extent in extents {
            let end = extent.end.min(at.until);
            if end <= from {
                continue;
            }
            let content = self.slot(at.slot, at.end);
            let group = self.groups.entry((at.slot, extent.group_offset)).or_insert_with(|| {
                match check_group(place, extent.group_offset, &content[extent.group_offset as usize..]) {
                    Ok(GroupCheck::Whole(group)) => Some(group),
                    Ok(GroupCheck::NeedBytes { .. }) | Err(_) => None,
                }
            });
            let Some(group) = group else {
                pieces.push(Piece::Damaged { offsets: from..end, slot: at.slot });
                from = end;
                continue;
            };
            for batch in group.batches_of(id).filter(|batch| batch.header.next_offset() <= end) {
                if batch.header.next_offset() > from {
                    let (start, end) = (batch.range.start, batch.range.end);
                    let at = extent.group_offset as usize;
                    pieces.push(Piece::Batch { header: batch.header, bytes: content.slice(at + start..at + end) });
                    from = batch.header.next_offset();
                }
            }
        }
        assert!(from > at.from, "{id}: a segment lacks the offsets that the table finds in it: {at:?}");
        from
    }

    fn extents(&mut self, id: TopicIdPartition, place: SegmentPlace, at: &Location) -> Option<Vec<Extent>> {
        match &at.extents {
            LocatedExtents::Known(extents) => Some(extents.clone()),
            LocatedExtents::Indexed(trailer) => {
                let content = self.slot(at.slot, trailer.end);
                let index = read_index(place, trailer.index_group, content.get(trailer.index_group as usize..)?)?;
                let range = ReadRange { from: at.from, until: at.until, bytes: usize::MAX };
                Some(index.entry(id)?.extents.wanted(range))
            }
        }
    }

    /// The slot's content, with zeros for unreadable sectors.
    fn slot(&mut self, slot: SlotId, length: u32) -> Bytes {
        if let Some(content) = self.slots.get(&slot).filter(|content| content.len() >= length as usize) {
            return content.clone();
        }
        let content = self.disk.peek(slot, 0, length).unwrap_or_else(|_| {
            let mut content = BytesMut::with_capacity(length as usize);
            for offset in (0..length).step_by(SECTOR as usize) {
                let sector = self.disk.peek(slot, offset, SECTOR);
                content.extend_from_slice(&sector.unwrap_or_else(|_| Bytes::from_static(&[0; SECTOR as usize])));
            }
            content.freeze()
        });
        self.slots.insert(slot, content.clone());
        content
    }
}
