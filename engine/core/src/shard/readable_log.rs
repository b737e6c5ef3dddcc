//! What readers find of one partition's log: its newest batches in memory, and where on disk the others are. The two change together, so that a
//! reader that finds a batch in neither finds it nowhere.
//!
//! ```text
//! a batch: published -> in memory --evicted--> in the map --its log is trimmed or cut--> gone
//!                           '---- moved or damaged there: its place is another ----'
//! ```

use std::collections::VecDeque;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rustmq_model::{Offset, Timestamp};

use crate::wal::{Extent, LocationMap, PlacedBatches, SegmentGeneration, UnindexedSegments, WalPosition};

/// A batch in memory. `bytes` is a part of a chunk.
#[derive(Clone, Debug)]
pub struct TailBatch {
    pub base: Offset,
    pub next: Offset,
    pub max_timestamp: Timestamp,
    pub bytes: Bytes,
    pub place: BatchPlace,
}

/// Where a batch is found when it has left memory: its group, or that of a mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    generation: SegmentGeneration,
    group_offset: u32,
    /// The disk does not give it back, which the mark says.
    is_damaged: bool,
}

impl BatchPlace {
    #[must_use]
    pub const fn in_group(group: WalPosition) -> Self {
        Self { generation: group.generation, group_offset: group.offset, is_damaged: false }
    }
}

impl TailBatch {
    fn placed(&self) -> PlacedBatches {
        let BatchPlace { generation, group_offset, is_damaged } = self.place;
        let bytes = if is_damaged { 0 } else { u32::try_from(self.bytes.len()).expect("it is in a segment") };
        let (first, end, max_timestamp) = (self.base, self.next, self.max_timestamp);
        PlacedBatches { generation, extent: Extent { group_offset, bytes, first, end, max_timestamp, is_damaged } }
    }
}

/// See the module.
#[cfg_attr(test, derive(Clone))]
#[derive(Debug, Default)]
pub struct ReadableLog {
    /// Every batch with an offset at or above this, and below the durable end, is in `tail`.
    tail_from: Offset,
    tail: VecDeque<TailBatch>,
    /// Readers take it as it is. The writer changes a copy of its own while one of them has it.
    locations: Arc<LocationMap>,
}

impl ReadableLog {
    /// Nothing below `end` is in memory.
    #[must_use]
    pub fn on_disk(locations: LocationMap, end: Offset) -> Self {
        Self { tail_from: end, tail: VecDeque::new(), locations: Arc::new(locations) }
    }

    // For readers.

    /// The batches with an offset of at least `from`, in order; `None` if that needs what is not in memory.
    pub fn batches_from(&self, from: Offset) -> Option<impl Iterator<Item = &TailBatch>> {
        // What is missing below the tail is nowhere.
        let is_covered = from >= self.tail_from
            || self.tail.front().is_some_and(|first| first.base <= from || self.locations.ends_before(from));
        let first = self.tail.partition_point(|batch| batch.next <= from);
        is_covered.then(|| self.tail.range(first..))
    }

    /// Where the others are, as of now.
    #[must_use]
    pub fn locations(&self) -> Arc<LocationMap> {
        Arc::clone(&self.locations)
    }

    /// Of what lies below, nothing is in memory.
    #[must_use]
    pub const fn tail_from(&self) -> Offset {
        self.tail_from
    }

    #[must_use]
    pub fn tail_length(&self) -> usize {
        self.tail.len()
    }

    // For the writer.

    /// Batches have become durable. They follow what is in memory.
    pub fn extend(&mut self, batches: impl IntoIterator<Item = TailBatch>) {
        self.tail.extend(batches);
    }

    /// The batches up to and with the one at `last` leave memory: from then on they are found on
    /// disk. A reader that still holds one keeps its memory.
    pub fn evict_through(&mut self, last: Offset, unindexed: &UnindexedSegments) {
        if self.tail.front().is_none_or(|first| first.base > last) {
            return;
        }
        let Self { tail_from, tail, locations } = self;
        let evicted = iter::from_fn(|| {
            let batch = tail.pop_front_if(|batch| batch.base <= last)?;
            *tail_from = batch.next.max(*tail_from);
            Some(batch.placed())
        });
        Arc::make_mut(locations).extend(evicted, unindexed);
    }

    /// Batches are elsewhere on disk, or damaged there. They come in the order of offsets.
    pub fn relocate(&mut self, moved: &[PlacedBatches], unindexed: &UnindexedSegments) {
        for PlacedBatches { generation, extent } in moved {
            let Extent { group_offset, first, end, is_damaged, .. } = *extent;
            let place = BatchPlace { generation: *generation, group_offset, is_damaged };
            let from = self.tail.partition_point(|batch| batch.next <= first);
            for batch in self.tail.iter_mut().skip(from).take_while(|batch| batch.base < end) {
                batch.place = place;
            }
        }
        if moved.iter().any(|batches| !self.locations.ends_before(batches.extent.first)) {
            Arc::make_mut(&mut self.locations).relocate(moved, unindexed);
        }
    }

    /// Nothing wholly below the log start is left.
    pub fn trim(&mut self, log_start: Offset) {
        while self.tail.pop_front_if(|batch| batch.next <= log_start).is_some() {}
        self.tail_from = self.tail_from.max(log_start);
        // The start moves far less often than this is asked: the map is copied only if it changes.
        if self.locations.is_below(log_start) {
            Arc::make_mut(&mut self.locations).trim(log_start);
        }
    }

    /// The log was truncated or reset, and these offsets are left. After a reset there are none: what lies below its start goes as well.
    pub fn cut(&mut self, left: Range<Offset>) {
        self.tail.retain(|batch| batch.next > left.start && batch.next <= left.end);
        self.tail_from = self.tail_from.clamp(left.start, left.end);
        let locations = Arc::make_mut(&mut self.locations);
        // In this order a stretch that reaches over the start of an empty log loses its upper part, and then all of it.
        locations.truncate(left.end);
        locations.trim(left.start);
    }

    /// Panics where it contradicts itself.
    pub fn check_invariants(&self) {
        self.locations.check_invariants();
        if let Some(first) = self.tail.front() {
            assert!(self.locations.ends_before(first.base), "what is in memory is not in the map: {self:?}");
        }
    }
}

#[cfg(test)]
mod tests;
