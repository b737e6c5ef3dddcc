//! The batches that are still in memory, and which of them are forgotten when memory is short: chunks are given up oldest first, before a
//! new one is taken, so that it is the same memory again. A chunk that a reader still holds stays taken until it is let go of.

use std::collections::{BTreeMap, VecDeque};

use rustmq_model::Offset;

use super::partitions::PartitionKey;

/// The last readable batch of each partition in one chunk.
#[derive(Debug)]
struct ChunkContent {
    chunk: u64,
    last: BTreeMap<PartitionKey, Offset>,
}

/// Which chunks hold readable batches, and of whom.
#[derive(Debug, Default)]
pub(super) struct TailMemory {
    /// By number, which is the order of the log.
    chunks: VecDeque<ChunkContent>,
}

impl TailMemory {
    /// The batches of a partition up to the one at `base` became readable in `chunk`. Bases of one partition and chunk come in order.
    pub(super) fn note(&mut self, chunk: u64, key: PartitionKey, base: Offset) {
        let at = self.chunks.partition_point(|content| content.chunk < chunk);
        if self.chunks.get(at).is_none_or(|content| content.chunk != chunk) {
            self.chunks.insert(at, ChunkContent { chunk, last: BTreeMap::new() });
        }
        self.chunks[at].last.insert(key, base);
    }

    /// A log was cut back to `end`: other batches may have the offsets from there on, in later chunks.
    pub(super) fn cut(&mut self, key: PartitionKey, end: Offset) {
        let lasts = self.chunks.iter_mut().filter_map(|content| content.last.get_mut(&key));
        lasts.for_each(|last| *last = (*last).min(end.plus(-1)));
    }

    /// The newest chunk with batches is never given up: it may still be being filled.
    pub(super) fn can_give_up(&self) -> bool {
        self.chunks.len() >= 2
    }

    /// What leaves memory with the oldest chunk: of each partition, its batches up to and with the one at this offset.
    pub(super) fn give_up(&mut self) -> impl Iterator<Item = (PartitionKey, Offset)> + use<> {
        let oldest = if self.can_give_up() { self.chunks.pop_front() } else { None };
        oldest.into_iter().flat_map(|oldest| oldest.last)
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::Offset;

    use super::TailMemory;
    use crate::shard::PartitionKey;

    #[test]
    fn what_takes_the_place_of_batches_that_were_cut_off_does_not_leave_memory_with_their_chunk() {
        let mut tail = TailMemory::default();
        for (chunk, base) in [(1, 9), (2, 20)] {
            tail.note(chunk, PartitionKey::NONE, Offset(base));
        }
        tail.cut(PartitionKey::NONE, Offset(5));
        tail.note(3, PartitionKey::NONE, Offset(8));
        let mut given_up = || tail.give_up().map(|(_, through)| through.0).collect::<Vec<_>>();
        assert_eq!((given_up(), given_up(), given_up()), (vec![4], vec![4], vec![]));
    }
}
