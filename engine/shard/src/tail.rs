//! Keeps the memory of recent batches within its budget: chunks are given up oldest first. A chunk that a reader still holds stays
//! counted until it is let go.

use std::collections::{HashMap, VecDeque};

use rustmq_engine_api::chunk::ChunkPool;
use rustmq_model::{Offset, TopicIdPartition};

/// The last batch of each partition in one chunk.
#[derive(Debug)]
struct ChunkContent {
    chunk: u64,
    last: HashMap<TopicIdPartition, Offset>,
}

#[derive(Debug)]
pub(crate) struct TailMemory {
    chunks: VecDeque<ChunkContent>,
    budget: u64,
    pool: ChunkPool,
}

impl TailMemory {
    pub(crate) fn new(budget: u64, pool: ChunkPool) -> Self {
        Self { chunks: VecDeque::new(), budget, pool }
    }

    /// A batch at `base` became readable in `chunk`. In the order of the log, so that chunks come in order and each comes once.
    pub(crate) fn note(&mut self, chunk: u64, id: TopicIdPartition, base: Offset) {
        match self.chunks.back_mut().filter(|content| content.chunk == chunk) {
            Some(content) => {
                content.last.insert(id, base);
            }
            None => self.chunks.push_back(ChunkContent { chunk, last: HashMap::from([(id, base)]) }),
        }
    }

    /// What to evict next: of each partition all batches up to and with this one. `None` once the memory is within its budget, or
    /// nothing is left to give up. The newest chunk is never given up: it is still being filled.
    pub(crate) fn poll_evict(&mut self) -> Option<HashMap<TopicIdPartition, Offset>> {
        if self.pool.bytes() <= self.budget || self.chunks.len() < 2 {
            return None;
        }
        self.chunks.pop_front().map(|content| content.last)
    }
}
