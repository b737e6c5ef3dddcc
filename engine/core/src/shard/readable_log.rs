//! The readers' view of one partition's log: its newest batches in memory, and the locations of the
//! others on disk. Both change together, so a batch is always in one of them.
//!
//! ```text
//! a batch: published -> in memory --evicted--> in the map --its log is trimmed or cut--> gone
//!                           '---- moved or damaged on disk: its place changes ----'
//! ```

use std::collections::VecDeque;
use std::iter;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rustmq_model::{Offset, Timestamp};

use crate::wal::{Extent, LocationMap, PlacedBatches, SegmentGeneration, UnindexedSegments, WalPosition};

/// A batch in memory. `bytes` is a slice of a chunk.
#[derive(Clone, Debug)]
pub struct TailBatch {
    pub base: Offset,
    pub next: Offset,
    pub max_timestamp: Timestamp,
    pub bytes: Bytes,
    pub place: BatchPlace,
}

/// The place of a batch on disk: its group, or the group of its damage mark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchPlace {
    generation: SegmentGeneration,
    group_offset: u32,
    /// The batch is unreadable on disk; the group holds its mark.
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

/// The view itself; see the module.
#[cfg_attr(test, derive(Clone))]
#[derive(Debug, Default)]
pub struct ReadableLog {
    /// `tail` has every batch with an offset from here up to the durable end.
    tail_from: Offset,
    tail: VecDeque<TailBatch>,
    /// Shared with readers. While a reader holds it, the writer changes a copy.
    locations: Arc<LocationMap>,
}

impl ReadableLog {
    /// A log whose batches below `end` are all on disk.
    #[must_use]
    pub fn on_disk(locations: LocationMap, end: Offset) -> Self {
        Self { tail_from: end, tail: VecDeque::new(), locations: Arc::new(locations) }
    }

    // For readers.

    /// The batches with an offset of at least `from`, in order; `None` if some of them are not in
    /// memory.
    pub fn batches_from(&self, from: Offset) -> Option<impl Iterator<Item = &TailBatch>> {
        // If the map ends below `from`, no batch lies between `from` and the tail.
        let is_covered = from >= self.tail_from
            || self.tail.front().is_some_and(|first| first.base <= from || self.locations.ends_before(from));
        let first = self.tail.partition_point(|batch| batch.next <= from);
        is_covered.then(|| self.tail.range(first..))
    }

    /// The current locations of the batches on disk.
    #[must_use]
    pub fn locations(&self) -> Arc<LocationMap> {
        Arc::clone(&self.locations)
    }

    /// Batches below this offset are not in memory.
    #[must_use]
    pub const fn tail_from(&self) -> Offset {
        self.tail_from
    }

    #[must_use]
    pub fn tail_length(&self) -> usize {
        self.tail.len()
    }

    // For the writer.

    /// Appends durable batches. They follow the batches in memory.
    pub fn extend(&mut self, batches: impl IntoIterator<Item = TailBatch>) {
        self.tail.extend(batches);
    }

    /// Evicts the batches up to and including the one at `last`: from then on readers find them on
    /// disk. A reader that still holds a batch keeps its memory.
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

    /// Batches moved on disk, or are damaged there. They come in the order of offsets.
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

    /// Removes the batches wholly below the log start.
    pub fn trim(&mut self, log_start: Offset) {
        while self.tail.pop_front_if(|batch| batch.next <= log_start).is_some() {}
        self.tail_from = self.tail_from.max(log_start);
        // The log start moves far less often than this is called: the map is copied only if it
        // changes.
        if self.locations.is_below(log_start) {
            Arc::make_mut(&mut self.locations).trim(log_start);
        }
    }

    /// The log was truncated or reset, and only these offsets remain. After a reset the range is
    /// empty, and batches below its start go as well.
    pub fn cut(&mut self, left: Range<Offset>) {
        self.tail.retain(|batch| batch.next > left.start && batch.next <= left.end);
        self.tail_from = self.tail_from.clamp(left.start, left.end);
        let locations = Arc::make_mut(&mut self.locations);
        // In this order: an extent across the start of an empty log first loses its upper part,
        // then the rest.
        locations.truncate(left.end);
        locations.trim(left.start);
    }

    /// Panics if the view is inconsistent.
    pub fn check_invariants(&self) {
        self.locations.check_invariants();
        if let Some(first) = self.tail.front() {
            assert!(self.locations.ends_before(first.base), "a batch in memory is not in the map: {self:?}");
        }
    }
}

#[cfg(test)]
mod tests;
