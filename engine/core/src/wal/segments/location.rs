//! Lookups by offset: the segment, its groups, and the bound up to which batches may be served from
//! there. Does no I/O: if the index of a segment is not in memory, the result names its place.

use std::ops::Range;

use rustmq_model::{Offset, TopicIdPartition};

use super::in_use::SegmentsInUse;
use super::partitions::PartitionTable;
use crate::wal::extents::{Extent, Extents, ReadRange};
use crate::wal::index::{IndexEntry, Trailer};
use crate::wal::location_map::LocationMap;
use crate::wal::position::{SegmentGeneration, SegmentShape, SlotId};
use crate::wal::retention::Part;
use crate::wal::shared_segments::SharedSegment;
use crate::wal::spans::Span;

/// The result of a lookup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    Batches(Location),
    /// The batches are damaged, and readers get an error.
    Damaged {
        first: Offset,
        end: Offset,
    },
}

/// The place of an offset in one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub slot: SlotId,
    pub generation: SegmentGeneration,
    pub shape: SegmentShape,
    /// The end of the segment's durable content. The content below it never changes while the
    /// segment is in use.
    pub end: u32,
    /// The offset to read from, which the segment holds: the one that was asked for, or the first
    /// one after the gap that it lies in.
    pub from: Offset,
    /// The end of the offsets that may be served from there: newer batches for later offsets are
    /// elsewhere.
    pub until: Offset,
    /// The end of the offsets in this segment; later offsets are in another one, if there are any.
    pub segment_until: Offset,
    pub extents: LocatedExtents,
    /// The runs of groups from the last of the known extents on
    /// ([`crate::wal::extents::Extents::runs_from`]).
    pub runs: Vec<Range<u32>>,
}

/// The groups that hold a location's batches.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocatedExtents {
    /// In the order of offsets, at most [`crate::wal::extents::EXTENTS_MAX`].
    Known(Vec<Extent>),
    /// The segment's index has them, and must be read from its place first
    /// ([`crate::wal::recovery::read_index`]).
    Indexed(Trailer),
}

/// A range of offsets that one segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentRange {
    pub first: Offset,
    pub end: Offset,
    pub generation: SegmentGeneration,
    pub is_damaged: bool,
}

impl SegmentRange {
    pub(in crate::wal) const fn of(span: &Span) -> Self {
        let Span { first, end, generation, is_damaged, .. } = *span;
        Self { first, end, generation, is_damaged }
    }

    pub(in crate::wal) fn is_continued_by(&self, next: &Self) -> bool {
        self.end == next.first && self.generation == next.generation && self.is_damaged == next.is_damaged
    }

    pub(in crate::wal) fn damaged_from(&self, from: Offset) -> Located {
        Located::Damaged { first: from.max(self.first), end: self.end }
    }
}

/// The groups of a segment, or the place of its index.
#[derive(Clone, Copy, Debug)]
pub enum SegmentContent<'a> {
    /// The partition's extents.
    Known(&'a Extents),
    Indexed(Trailer),
}

impl Location {
    /// The location of `range` in `segment_range`, which is not damaged and holds offsets at or
    /// after the beginning of `range`.
    pub(in crate::wal) fn of(
        segment_range: &SegmentRange,
        range: ReadRange,
        segment: &SharedSegment,
        content: SegmentContent<'_>,
    ) -> Option<Self> {
        let from = range.from.max(segment_range.first);
        let mut until = segment_range.end.min(range.until);
        let (extents, runs) = match content {
            SegmentContent::Known(known) => {
                let extents = known.wanted(ReadRange { from, until, bytes: range.bytes });
                let last = extents.last()?;
                let runs = known.runs_from(last, until);
                until = until.min(last.end);
                (LocatedExtents::Known(extents), runs)
            }
            SegmentContent::Indexed(trailer) => (LocatedExtents::Indexed(trailer), Vec::new()),
        };
        let SharedSegment { slot, generation, shape, .. } = *segment;
        let (end, segment_until) = (segment.durable_end(), segment_range.end);
        Some(Self { slot, generation, shape, end, from, until, segment_until, extents, runs })
    }
}

/// Lookups by partition and offset, in the partition's spans and then in the segment's index if
/// that is in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Locations<'a> {
    pub segments: &'a SegmentsInUse,
    pub partitions: &'a PartitionTable,
}

impl<'a> Locations<'a> {
    /// See [`super::SegmentTable::locate`].
    pub fn locate(self, id: TopicIdPartition, range: ReadRange) -> Option<Located> {
        let span = self.partitions.of(id)?.spans().find(range.from)?;
        let segment_range = SegmentRange::of(span);
        if span.is_damaged {
            return Some(segment_range.damaged_from(range.from));
        }
        let segment = self.segments.segment(span.generation)?;
        let content = match (&segment.index, segment.trailer) {
            (Some(index), _) => SegmentContent::Known(&index.entry(id)?.extents),
            (None, Some(trailer)) => SegmentContent::Indexed(trailer),
            (None, None) => return None,
        };
        Location::of(&segment_range, range, &segment.shared, content).map(Located::Batches)
    }

    /// See [`super::SegmentTable::location_map`].
    pub fn map(self, id: TopicIdPartition) -> LocationMap {
        let extents = |generation: SegmentGeneration| {
            let entry = self.segments.segment(generation)?.index.as_ref()?.entry(id)?;
            Some((generation, entry.extents.clone()))
        };
        let mut generations: Vec<_> = self.partitions.spans(id).map(|span| span.generation).collect();
        generations.sort_unstable();
        generations.dedup();
        LocationMap::of(self.partitions.spans(id).copied(), generations.into_iter().filter_map(extents).collect())
    }

    /// The partition's entry in the index of a span's segment, if that index is in memory.
    fn entry(self, id: TopicIdPartition, span: &Span) -> Option<&'a IndexEntry> {
        self.segments.segment(span.generation)?.index.as_ref()?.entry(id)
    }

    /// See [`super::SegmentTable::bytes_from`].
    pub fn bytes_from(self, id: TopicIdPartition, log_start: Offset) -> u64 {
        let bytes = |span: &Span| {
            let Some(entry) = self.entry(id, span) else { return span.bytes_from(log_start) };
            let live = entry.extents.between(span.first.max(log_start), span.end);
            live.map(|extent| u64::from(extent.bytes)).sum()
        };
        self.partitions.spans(id).filter(|span| span.end > log_start).map(bytes).sum()
    }

    /// See [`super::SegmentTable::parts`].
    pub fn parts(self, id: TopicIdPartition) -> impl Iterator<Item = Part> {
        self.partitions.spans(id).flat_map(move |span| {
            let entry = self.entry(id, span);
            let whole = Part { end: span.end, bytes: span.bytes, max_timestamp: span.max_timestamp };
            let inside = entry.into_iter().flat_map(move |entry| entry.extents.between(span.first, span.end));
            let inside = inside.map(move |extent| Part {
                end: extent.end.min(span.end),
                bytes: u64::from(extent.bytes),
                max_timestamp: extent.max_timestamp,
            });
            inside.chain(entry.is_none().then_some(whole))
        })
    }

    /// See [`super::SegmentTable::damaged`].
    pub fn damaged(self, id: TopicIdPartition, log_start: Offset) -> impl Iterator<Item = (Offset, Offset)> {
        let damaged = self.partitions.spans(id).filter(move |span| span.is_damaged && span.end > log_start);
        damaged.map(move |span| (span.first.max(log_start), span.end))
    }

    /// See [`super::SegmentTable::gaps`].
    pub fn gaps(self, id: TopicIdPartition, log: Range<Offset>) -> Vec<(Offset, Offset)> {
        let mut gaps = Vec::new();
        let mut end = log.start;
        for span in self.partitions.spans(id) {
            if end < span.first {
                gaps.push((end, span.first));
            }
            end = span.end;
        }
        if end < log.end {
            gaps.push((end, log.end));
        }
        gaps
    }
}
