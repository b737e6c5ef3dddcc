//! The figures of a shard that keeps no batches in memory.

use crate::status::{TailMemory, TailMemoryUsage};

/// For tests that answer a shard's requests themselves.
#[derive(Clone, Copy, Debug)]
pub struct NoTailMemory;

impl TailMemory for NoTailMemory {
    fn usage(&self) -> TailMemoryUsage {
        TailMemoryUsage::default()
    }
}
