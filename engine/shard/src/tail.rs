//! Keeps the memory of recent batches within its budget, and hands out the chunks for the next ones: chunks are given up oldest first, before
//! a new one is taken, so that it is the same memory again. A chunk that a reader still holds stays counted until it is let go.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Weak};

use rustmq_engine_api::chunk::{ChunkError, ChunkPool, ChunkWriter};
use rustmq_engine_api::published::Published;
use rustmq_model::{Offset, TopicIdPartition};

/// The last batch of each partition in one chunk.
#[derive(Debug)]
struct ChunkContent {
    chunk: u64,
    /// Weak: a partition that is closed takes its batches with it.
    last: HashMap<TopicIdPartition, (Weak<Published>, Offset)>,
}

#[derive(Debug)]
pub(crate) struct TailMemory {
    /// By number, which is the order of the log.
    chunks: VecDeque<ChunkContent>,
    pool: ChunkPool,
}

impl TailMemory {
    pub(crate) fn new(pool: ChunkPool) -> Self {
        Self { chunks: VecDeque::new(), pool }
    }

    /// A chunk with room for `size` bytes, in place of older ones where the budget is used up.
    pub(crate) fn take_chunk(&mut self, size: usize) -> Result<ChunkWriter, ChunkError> {
        self.make_room(self.pool.chunk_length(size) as u64);
        ChunkWriter::new(size, &self.pool)
    }

    /// The batches of a partition up to the one at `base` became readable in `chunk`. Bases of one partition and chunk come in order.
    pub(crate) fn note(&mut self, chunk: u64, published: &Arc<Published>, base: Offset) {
        let at = self.chunks.partition_point(|content| content.chunk < chunk);
        if self.chunks.get(at).is_none_or(|content| content.chunk != chunk) {
            self.chunks.insert(at, ChunkContent { chunk, last: HashMap::new() });
        }
        self.chunks[at].last.insert(published.id, (Arc::downgrade(published), base));
    }

    /// Forgets the oldest batches until `bytes` more fit the budget, or nothing is left to give up. The newest chunk with batches is never
    /// given up: it may still be being filled.
    pub(crate) fn make_room(&mut self, bytes: u64) {
        while self.chunks.len() >= 2 && self.pool.usage().is_exceeded_by(bytes) {
            let Some(oldest) = self.chunks.pop_front() else { return };
            for (published, base) in oldest.last.into_values() {
                if let Some(published) = published.upgrade() {
                    published.change(|state| state.evict_through(base));
                }
            }
        }
    }
}
