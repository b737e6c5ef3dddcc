//! The chunks of a shard's recent batches, as the shard's figures show them.

use rustmq_engine_api::status::{ShardGauges, TailMemory, TailMemoryUsage};
use rustmq_engine_memory::{ChunkPool, ChunkUsage};

/// The figures of a shard whose recent batches are in chunks.
pub(crate) type Gauges = ShardGauges<TailChunks>;

#[derive(Clone, Debug)]
pub(crate) struct TailChunks(pub ChunkPool);

impl TailMemory for TailChunks {
    fn usage(&self) -> TailMemoryUsage {
        let ChunkUsage { budget, live, spare, mapped } = self.0.usage();
        TailMemoryUsage { budget, live, spare, mapped }
    }
}
