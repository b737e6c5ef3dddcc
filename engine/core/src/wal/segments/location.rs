//! Where an offset is: which segment holds it, in which of its groups, and how far what is there may be served. Reads nothing: where a
//! segment's index is not in memory, the answer names its place.

use std::ops::Range;

use rustmq_model::{Offset, TopicIdPartition};

use super::in_use::SegmentsInUse;
use super::places::PartitionPlaces;
use crate::wal::extents::{Extent, Extents, ReadRange};
use crate::wal::index::{IndexEntry, Trailer};
use crate::wal::location_map::LocationMap;
use crate::wal::position::{SegmentGeneration, SegmentShape, SlotId};
use crate::wal::retention::Part;
use crate::wal::shared_segments::SharedSegment;
use crate::wal::spans::Span;

/// What a look-up finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    Batches(Location),
    /// Nothing is left of these batches: whoever asks for them is told.
    Damaged {
        first: Offset,
        end: Offset,
    },
}

/// Where to read for an offset: one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub slot: SlotId,
    pub generation: SegmentGeneration,
    pub shape: SegmentShape,
    /// Where the segment's durable content ends. What lies below never changes while the segment is in use.
    pub end: u32,
    /// The segment holds a batch with this offset: what was asked for, or what comes after the gap that it lies in.
    pub from: Offset,
    /// Batches at or above this must not be served from there: newer ones are elsewhere.
    pub until: Offset,
    /// What comes after is in another segment, if there is any.
    pub segment_until: Offset,
    pub extents: LocatedExtents,
    /// Where to read on from the last of the known extents ([`crate::wal::extents::Extents::runs_from`]).
    pub runs: Vec<Range<u32>>,
}

/// In which groups of its segment a location's batches are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocatedExtents {
    /// In the order of offsets, at most [`crate::wal::extents::EXTENTS_MAX`].
    Known(Vec<Extent>),
    /// The segment's index must be read from its place first ([`crate::wal::recovery::read_index`]): it has them.
    Indexed(Trailer),
}

/// Offsets that one segment holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stretch {
    pub first: Offset,
    pub end: Offset,
    pub generation: SegmentGeneration,
    pub is_damaged: bool,
}

impl Stretch {
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

/// What is known of a segment's groups.
#[derive(Clone, Copy, Debug)]
pub enum SegmentContent<'a> {
    /// The groups of the partition that is asked for.
    Known(&'a Extents),
    Indexed(Trailer),
}

impl Location {
    /// Of the range in the stretch, which begins there or after it, and is not damaged.
    pub(in crate::wal) fn of(
        stretch: &Stretch,
        range: ReadRange,
        segment: &SharedSegment,
        content: SegmentContent<'_>,
    ) -> Option<Self> {
        let from = range.from.max(stretch.first);
        let mut until = stretch.end.min(range.until);
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
        let (end, segment_until) = (segment.durable_end(), stretch.end);
        Some(Self { slot, generation, shape, end, from, until, segment_until, extents, runs })
    }
}

/// The look-ups: by partition and offset in the places, then in the segment's index where that is in memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Locations<'a> {
    pub segments: &'a SegmentsInUse,
    pub places: &'a PartitionPlaces,
}

impl<'a> Locations<'a> {
    /// See [`super::SegmentTable::locate`].
    pub fn locate(self, id: TopicIdPartition, range: ReadRange) -> Option<Located> {
        let span = self.places.of(id)?.spans().find(range.from)?;
        let stretch = Stretch::of(span);
        if span.is_damaged {
            return Some(stretch.damaged_from(range.from));
        }
        let segment = self.segments.segment(span.generation)?;
        let content = match (&segment.index, segment.trailer) {
            (Some(index), _) => SegmentContent::Known(&index.entry(id)?.extents),
            (None, Some(trailer)) => SegmentContent::Indexed(trailer),
            (None, None) => return None,
        };
        Location::of(&stretch, range, &segment.shared, content).map(Located::Batches)
    }

    /// See [`super::SegmentTable::location_map`].
    pub fn map(self, id: TopicIdPartition) -> LocationMap {
        let extents = |generation: SegmentGeneration| {
            let entry = self.segments.segment(generation)?.index.as_ref()?.entry(id)?;
            Some((generation, entry.extents.clone()))
        };
        let mut generations: Vec<_> = self.places.spans(id).map(|span| span.generation).collect();
        generations.sort_unstable();
        generations.dedup();
        LocationMap::of(self.places.spans(id).copied(), generations.into_iter().filter_map(extents).collect())
    }

    /// What the segment of a span says of the partition, if its index is in memory.
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
        self.places.spans(id).filter(|span| span.end > log_start).map(bytes).sum()
    }

    /// See [`super::SegmentTable::parts`].
    pub fn parts(self, id: TopicIdPartition) -> impl Iterator<Item = Part> {
        self.places.spans(id).flat_map(move |span| {
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
        let damaged = self.places.spans(id).filter(move |span| span.is_damaged && span.end > log_start);
        damaged.map(move |span| (span.first.max(log_start), span.end))
    }

    /// See [`super::SegmentTable::gaps`].
    pub fn gaps(self, id: TopicIdPartition, log: Range<Offset>) -> Vec<(Offset, Offset)> {
        let mut gaps = Vec::new();
        let mut end = log.start;
        for span in self.places.spans(id) {
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
