//! The driver's types, chosen at compile time: production has chunks of mapped memory and channels,
//! a simulation has vectors and numbers.

use std::fmt::Debug;

use rustmq_model::Offset;

use super::memory::Memory;
use super::partitions::PartitionKey;
use crate::wal::UnindexedSegments;

/// The driver's types. Each reply is answered exactly once.
pub trait Host: Debug {
    type Memory: ReaderMemory;
    type OpenReply: Debug + Send;
    type AppendReply: Debug + Send;
    type VerifyReply: Debug + Send;
    type ProducersReply: Debug + Send;
    type TrimReply: Debug + Send;
    type DeleteReply: Debug + Send;
    /// Answers truncations and resets.
    type CutReply: Debug + Send;
    /// Answers requests whose only result is that they are done.
    type DoneReply: Debug + Send;
}

/// Memory whose batches are shared with readers.
pub trait ReaderMemory: Memory {
    /// Evicts a partition's batches up to and including the one at `through`: from then on readers
    /// find them on disk. Releases the memory at once, because a new chunk needs it. A partition
    /// whose view was closed has nothing left in memory.
    fn evict(&mut self, key: PartitionKey, through: Offset, unindexed: &UnindexedSegments);
}
