//! The places of one partition's batches that have left memory, for readers on any thread: their
//! segments, and their groups in segments whose index is not on disk yet. Readers get a snapshot;
//! the writer applies later changes to its own copy.
//!
//! It follows the same rules as [`super::spans::Spans`] of the writer, for fewer batches: those in
//! memory are not in it.

use std::ops::Range;

use rustmq_model::Offset;

use super::extents::{Extent, Extents, ReadRange};
use super::position::SegmentGeneration;
use super::segments::{Located, Location, SegmentContent, SegmentRange};
use super::shared_segments::{SharedSegment, SharedSegments, UnindexedSegments};
use super::spans::Span;

/// Batches of one group, with their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedBatches {
    pub generation: SegmentGeneration,
    pub extent: Extent,
}

impl PlacedBatches {
    #[must_use]
    pub const fn segment_range(&self) -> SegmentRange {
        let Extent { first, end, is_damaged, .. } = self.extent;
        SegmentRange { first, end, generation: self.generation, is_damaged }
    }
}

/// The map of one partition, see the module. It takes 32 bytes for each segment that holds batches
/// of the partition, and 48 for each group in a segment without an index on disk: usually the
/// active one, up to the last batch that has left memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocationMap {
    /// In ascending order, without overlap.
    segment_ranges: Vec<SegmentRange>,
    /// The groups in segments whose index was not on disk when the map was last changed: for each
    /// segment either all groups of its ranges, or none.
    extents: Vec<(SegmentGeneration, Extents)>,
}

/// The reason why a lookup finds no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLocated {
    /// No segment holds the offset.
    Nowhere,
    /// The segment is no longer in use; a newer map has the place.
    Retired,
}

impl LocationMap {
    /// The map of a partition with all batches on disk. `extents` are those of segments without an
    /// index on disk.
    pub(super) fn of(spans: impl Iterator<Item = Span>, extents: Vec<(SegmentGeneration, Extents)>) -> Self {
        let mut map = Self { segment_ranges: Vec::new(), extents };
        spans.for_each(|span| map.insert(SegmentRange::of(&span)));
        map
    }

    // For the writer.

    /// Adds batches that left memory, in the order of their offsets.
    pub fn extend(&mut self, batches: impl IntoIterator<Item = PlacedBatches>, unindexed: &UnindexedSegments) {
        for batches in batches {
            self.insert(batches.segment_range());
            self.insert_extent(batches, unindexed);
        }
        self.forget_indexed(unindexed);
    }

    /// Moves batches, or replaces them by damaged ranges. Each change applies only to offsets that
    /// the map holds: a damaged range may cover more.
    pub fn relocate(&mut self, moved: &[PlacedBatches], unindexed: &UnindexedSegments) {
        for to in moved {
            let segment_range = to.segment_range();
            let held = self.find(segment_range.first).filter(|held| held.first <= segment_range.first);
            if let Some(end) = held.map(|held| held.end.min(segment_range.end)) {
                self.insert(SegmentRange { end, ..segment_range });
                self.insert_extent(*to, unindexed);
            }
        }
        self.forget_indexed(unindexed);
        self.forget_unused();
    }

    /// Whether [`Self::trim`] would change the map.
    #[must_use]
    pub fn is_below(&self, log_start: Offset) -> bool {
        self.segment_ranges.first().is_some_and(|segment_range| segment_range.end <= log_start)
    }

    /// Removes ranges below the log start. A range across the log start stays.
    pub fn trim(&mut self, log_start: Offset) {
        let gone = self.segment_ranges.partition_point(|segment_range| segment_range.end <= log_start);
        if gone > 0 {
            self.segment_ranges.drain(..gone);
            self.forget_unused();
        }
    }

    /// Removes the offsets from `end` on.
    pub fn truncate(&mut self, end: Offset) {
        self.cut_out(end, Offset(i64::MAX));
        self.extents.iter_mut().for_each(|(_, extents)| extents.truncate(end));
        self.forget_unused();
    }

    fn insert_extent(&mut self, batches: PlacedBatches, unindexed: &UnindexedSegments) {
        let PlacedBatches { generation, extent } = batches;
        if !unindexed.contains(generation) {
            return;
        }
        let at = self.extents.iter().rposition(|(of, _)| *of == generation).unwrap_or_else(|| {
            self.extents.push((generation, Extents::default()));
            self.extents.len() - 1
        });
        self.extents[at].1.insert(extent);
    }

    /// Removes the groups of segments whose index is on disk by now.
    fn forget_indexed(&mut self, unindexed: &UnindexedSegments) {
        self.extents.retain(|(generation, _)| unindexed.contains(*generation));
    }

    fn forget_unused(&mut self) {
        let Self { segment_ranges, extents } = self;
        extents.retain(|(generation, _)| {
            segment_ranges.iter().any(|segment_range| segment_range.generation == *generation)
        });
    }

    /// Adds a range, which replaces earlier ones at its offsets.
    fn insert(&mut self, segment_range: SegmentRange) {
        let at = self.cut_out(segment_range.first, segment_range.end);
        match at.checked_sub(1).map(|before| &mut self.segment_ranges[before]) {
            Some(before) if before.is_continued_by(&segment_range) => before.end = segment_range.end,
            _ => self.segment_ranges.insert(at, segment_range),
        }
    }

    /// Removes the offsets from `first` on below `end`. Returns the index at which a range of
    /// these offsets belongs.
    fn cut_out(&mut self, first: Offset, end: Offset) -> usize {
        let begin = self.segment_ranges.partition_point(|segment_range| segment_range.end <= first);
        let until = self.segment_ranges.partition_point(|segment_range| segment_range.first < end);
        if begin >= until {
            return begin;
        }
        let (head, tail) = (self.segment_ranges[begin], self.segment_ranges[until - 1]);
        let head = (head.first < first).then_some(SegmentRange { end: first, ..head });
        let tail = (tail.end > end).then_some(SegmentRange { first: end, ..tail });
        self.segment_ranges.splice(begin..until, head.into_iter().chain(tail));
        begin + usize::from(head.is_some())
    }

    // For readers.

    fn find(&self, offset: Offset) -> Option<&SegmentRange> {
        self.segment_ranges.get(self.segment_ranges.partition_point(|segment_range| segment_range.end <= offset))
    }

    /// The ranges in a range of offsets, in order, joined where possible.
    #[must_use]
    pub fn segment_ranges(&self, offsets: Range<Offset>) -> Vec<SegmentRange> {
        let mut found: Vec<SegmentRange> = Vec::new();
        for segment_range in &self.segment_ranges {
            let (first, end) = (segment_range.first.max(offsets.start), segment_range.end.min(offsets.end));
            let segment_range = SegmentRange { first, end, ..*segment_range };
            match found.last_mut() {
                _ if first >= end => {}
                Some(last) if last.is_continued_by(&segment_range) => last.end = end,
                _ => found.push(segment_range),
            }
        }
        found
    }

    /// Whether the map ends at or before `offset`.
    #[must_use]
    pub fn ends_before(&self, offset: Offset) -> bool {
        self.find(offset).is_none()
    }

    /// The segment that holds `offset`, or the first offset after it.
    #[must_use]
    pub fn generation_at(&self, offset: Offset) -> Option<SegmentGeneration> {
        self.find(offset).map(|segment_range| segment_range.generation)
    }

    /// Finds the place of `range.from`, or of the first offset after it.
    ///
    /// # Errors
    ///
    /// [`NotLocated`] if the map has no place for the range, or its segment is retired.
    pub fn locate(&self, range: ReadRange, segments: &SharedSegments) -> Result<Located, NotLocated> {
        let segment_range = self.find(range.from).ok_or(NotLocated::Nowhere)?;
        if segment_range.is_damaged {
            return Ok(segment_range.damaged_from(range.from));
        }
        let segment = segments.find(segment_range.generation).ok_or(NotLocated::Retired)?;
        let content = self.content(&segment).ok_or(NotLocated::Nowhere)?;
        Location::of(segment_range, range, &segment, content).map(Located::Batches).ok_or(NotLocated::Nowhere)
    }

    /// The extents of the map win over the trailer: the partition may have been closed and opened
    /// again in a segment whose index is newer than this map.
    fn content<'a>(&'a self, segment: &SharedSegment) -> Option<SegmentContent<'a>> {
        match self.extents.iter().find(|(generation, _)| *generation == segment.generation) {
            Some((_, extents)) => Some(SegmentContent::Known(extents)),
            None => segment.trailer().map(SegmentContent::Indexed),
        }
    }

    /// Panics if the map contradicts itself.
    pub fn check_invariants(&self) {
        for pair in self.segment_ranges.windows(2) {
            assert!(pair[0].end <= pair[1].first, "segment_ranges follow each other: {self:?}");
        }
        assert!(
            self.segment_ranges.iter().all(|segment_range| segment_range.first < segment_range.end),
            "no segment_range is empty: {self:?}"
        );
    }
}

#[cfg(test)]
mod tests;
