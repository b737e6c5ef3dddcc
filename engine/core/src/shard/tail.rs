//! Tracks the batches in memory, and names those to evict: oldest chunk first.
//! [`super::commit_builder`] evicts when memory is short: before a new chunk is taken, so that the
//! same memory is reused, after each commit, and when the limit falls. A chunk that a reader still
//! holds stays allocated until the reader releases it.

use std::collections::{BTreeMap, VecDeque};

use rustmq_model::Offset;

use super::partitions::PartitionKey;

/// The last readable batch of each partition in one chunk.
#[derive(Debug)]
struct ChunkContent {
    chunk: u64,
    last: BTreeMap<PartitionKey, Offset>,
}

/// The chunks with readable batches, and the partitions in them.
#[derive(Debug, Default)]
pub(super) struct TailMemory {
    /// In the order of their numbers, which is the order of the log.
    chunks: VecDeque<ChunkContent>,
}

impl TailMemory {
    /// The batches of a partition up to the one at `base` became readable in `chunk`. Bases of one
    /// partition and chunk come in order.
    pub(super) fn note(&mut self, chunk: u64, key: PartitionKey, base: Offset) {
        let at = self.chunks.partition_point(|content| content.chunk < chunk);
        if self.chunks.get(at).is_none_or(|content| content.chunk != chunk) {
            self.chunks.insert(at, ChunkContent { chunk, last: BTreeMap::new() });
        }
        self.chunks[at].last.insert(key, base);
    }

    /// A log was cut to `end`: later chunks may hold other batches at the offsets from there on.
    pub(super) fn cut(&mut self, key: PartitionKey, end: Offset) {
        let lasts = self.chunks.iter_mut().filter_map(|content| content.last.get_mut(&key));
        lasts.for_each(|last| *last = (*last).min(end.plus(-1)));
    }

    /// Whether a chunk can be evicted. The newest one with batches never is: it may still be
    /// filling.
    pub(super) fn can_evict(&self) -> bool {
        self.chunks.len() >= 2
    }

    /// Evicts the oldest chunk: returns, for each partition in it, the base offset of the last
    /// batch that leaves memory.
    pub(super) fn evict_oldest(&mut self) -> impl Iterator<Item = (PartitionKey, Offset)> + use<> {
        let oldest = if self.can_evict() { self.chunks.pop_front() } else { None };
        oldest.into_iter().flat_map(|oldest| oldest.last)
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::Offset;

    use super::TailMemory;
    use crate::shard::PartitionKey;

    #[test]
    fn batches_that_replace_cut_ones_stay_in_memory_when_the_old_chunk_is_evicted() {
        let mut tail = TailMemory::default();
        for (chunk, base) in [(1, 9), (2, 20)] {
            tail.note(chunk, PartitionKey::NONE, Offset(base));
        }
        tail.cut(PartitionKey::NONE, Offset(5));
        tail.note(3, PartitionKey::NONE, Offset(8));
        let mut evicted = || tail.evict_oldest().map(|(_, through)| through.0).collect::<Vec<_>>();
        assert_eq!((evicted(), evicted(), evicted()), (vec![4], vec![4], vec![]));
    }
}
