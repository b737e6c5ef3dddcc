//! Where the batches of one partition are that have left memory, for readers on any thread: in which segments, and in which groups of those whose
//! index is not on disk yet. The writer shows readers a snapshot; what it changes afterwards it changes in its own.
//!
//! It follows the same rules as the writer's [`super::spans::Spans`], over less: batches that are in memory are not in it.

use std::ops::Range;

use rustmq_model::Offset;

use super::extents::{Extent, Extents, ReadRange};
use super::position::SegmentGeneration;
use super::segments::{Located, Location, SegmentContent, Stretch};
use super::shared_segments::{SharedSegment, SharedSegments, UnindexedSegments};
use super::spans::Span;

/// Batches of one group, where they are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacedBatches {
    pub generation: SegmentGeneration,
    pub extent: Extent,
}

impl PlacedBatches {
    #[must_use]
    pub const fn stretch(&self) -> Stretch {
        let Extent { first, end, is_damaged, .. } = self.extent;
        Stretch { first, end, generation: self.generation, is_damaged }
    }
}

/// See the module. A partition costs 32 bytes here for each segment that holds batches of it, and 48 for each group in segments without an index on disk: as a rule in the
/// active one, and as far as its batches have left memory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocationMap {
    /// Ascending. They do not overlap.
    stretches: Vec<Stretch>,
    /// Of segments whose index was not on disk when the map was changed last: all groups of the stretches there, or none.
    extents: Vec<(SegmentGeneration, Extents)>,
}

/// Why a look-up finds no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotLocated {
    /// It is in no segment.
    Nowhere,
    /// The segment is in use no more: a newer map says where the batches are.
    Retired,
}

impl LocationMap {
    /// Of a partition whose batches are all on disk. `extents` are those of segments without an index on disk.
    pub(super) fn of(spans: impl Iterator<Item = Span>, extents: Vec<(SegmentGeneration, Extents)>) -> Self {
        let mut map = Self { stretches: Vec::new(), extents };
        spans.for_each(|span| map.insert(Stretch::of(&span)));
        map
    }

    // For the writer.

    /// Batches left memory. They come in the order of offsets.
    pub fn extend(&mut self, batches: impl IntoIterator<Item = PlacedBatches>, unindexed: &UnindexedSegments) {
        for batches in batches {
            self.insert(batches.stretch());
            self.insert_extent(batches, unindexed);
        }
        self.forget_indexed(unindexed);
    }

    /// Batches were moved, or marks stand for them. Each takes effect where its offsets are held:
    /// a mark may cover more than that.
    pub fn relocate(&mut self, moved: &[PlacedBatches], unindexed: &UnindexedSegments) {
        for to in moved {
            let stretch = to.stretch();
            let held = self.find(stretch.first).filter(|held| held.first <= stretch.first);
            if let Some(end) = held.map(|held| held.end.min(stretch.end)) {
                self.insert(Stretch { end, ..stretch });
                self.insert_extent(*to, unindexed);
            }
        }
        self.forget_indexed(unindexed);
        self.forget_unused();
    }

    /// Whether [`Self::trim`] would change anything.
    #[must_use]
    pub fn is_below(&self, log_start: Offset) -> bool {
        self.stretches.first().is_some_and(|stretch| stretch.end <= log_start)
    }

    /// Nothing is left below the log start. A stretch that reaches over it stays.
    pub fn trim(&mut self, log_start: Offset) {
        let gone = self.stretches.partition_point(|stretch| stretch.end <= log_start);
        if gone > 0 {
            self.stretches.drain(..gone);
            self.forget_unused();
        }
    }

    /// Nothing is left from `end` on.
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

    /// Forgets the groups of segments whose index is on disk by now.
    fn forget_indexed(&mut self, unindexed: &UnindexedSegments) {
        self.extents.retain(|(generation, _)| unindexed.contains(*generation));
    }

    fn forget_unused(&mut self) {
        let Self { stretches, extents } = self;
        extents.retain(|(generation, _)| stretches.iter().any(|stretch| stretch.generation == *generation));
    }

    /// What was held of its offsets is there now.
    fn insert(&mut self, stretch: Stretch) {
        let at = self.cut_out(stretch.first, stretch.end);
        match at.checked_sub(1).map(|before| &mut self.stretches[before]) {
            Some(before) if before.is_continued_by(&stretch) => before.end = stretch.end,
            _ => self.stretches.insert(at, stretch),
        }
    }

    /// Nothing holds offsets from `first` on below `end`. Answers where a stretch of them belongs.
    fn cut_out(&mut self, first: Offset, end: Offset) -> usize {
        let begin = self.stretches.partition_point(|stretch| stretch.end <= first);
        let until = self.stretches.partition_point(|stretch| stretch.first < end);
        if begin >= until {
            return begin;
        }
        let (head, tail) = (self.stretches[begin], self.stretches[until - 1]);
        let head = (head.first < first).then_some(Stretch { end: first, ..head });
        let tail = (tail.end > end).then_some(Stretch { first: end, ..tail });
        self.stretches.splice(begin..until, head.into_iter().chain(tail));
        begin + usize::from(head.is_some())
    }

    // For readers.

    fn find(&self, offset: Offset) -> Option<&Stretch> {
        self.stretches.get(self.stretches.partition_point(|stretch| stretch.end <= offset))
    }

    /// What lies between two offsets, in their order: as few stretches as say it.
    #[must_use]
    pub fn stretches(&self, offsets: Range<Offset>) -> Vec<Stretch> {
        let mut found: Vec<Stretch> = Vec::new();
        for stretch in &self.stretches {
            let (first, end) = (stretch.first.max(offsets.start), stretch.end.min(offsets.end));
            let stretch = Stretch { first, end, ..*stretch };
            match found.last_mut() {
                _ if first >= end => {}
                Some(last) if last.is_continued_by(&stretch) => last.end = end,
                _ => found.push(stretch),
            }
        }
        found
    }

    /// Whether nothing from `offset` on is in here.
    #[must_use]
    pub fn ends_before(&self, offset: Offset) -> bool {
        self.find(offset).is_none()
    }

    /// The segment to look into for `offset`, or else for the first one after it.
    #[must_use]
    pub fn generation_at(&self, offset: Offset) -> Option<SegmentGeneration> {
        self.find(offset).map(|stretch| stretch.generation)
    }

    /// Where to read for `range.from`, or else for the first offset after it.
    pub fn locate(&self, range: ReadRange, segments: &SharedSegments) -> Result<Located, NotLocated> {
        let stretch = self.find(range.from).ok_or(NotLocated::Nowhere)?;
        if stretch.is_damaged {
            return Ok(stretch.damaged_from(range.from));
        }
        let segment = segments.find(stretch.generation).ok_or(NotLocated::Retired)?;
        let content = self.content(&segment).ok_or(NotLocated::Nowhere)?;
        Location::of(stretch, range, &segment, content).map(Located::Batches).ok_or(NotLocated::Nowhere)
    }

    /// What is known here comes first: the partition may have been closed, and opened again, in a segment whose index came after this map.
    fn content<'a>(&'a self, segment: &SharedSegment) -> Option<SegmentContent<'a>> {
        match self.extents.iter().find(|(generation, _)| *generation == segment.generation) {
            Some((_, extents)) => Some(SegmentContent::Known(extents)),
            None => segment.trailer().map(SegmentContent::Indexed),
        }
    }

    /// Panics where the map contradicts itself.
    pub fn check_invariants(&self) {
        for pair in self.stretches.windows(2) {
            assert!(pair[0].end <= pair[1].first, "stretches follow each other: {self:?}");
        }
        assert!(self.stretches.iter().all(|stretch| stretch.first < stretch.end), "none is empty: {self:?}");
    }
}

#[cfg(test)]
mod tests;
