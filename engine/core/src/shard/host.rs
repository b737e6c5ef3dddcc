//! What a driver lends the machine, chosen when it is compiled: production has chunks of mapped memory and channels, a simulation a vector and
//! numbers.

use std::fmt::Debug;

use rustmq_model::Offset;

use super::memory::Memory;
use super::partitions::PartitionKey;
use crate::wal::UnindexedSegments;

/// The driver's types. Each reply is used once: whoever waits for it is told then, and not before.
pub trait Host: Debug {
    type Memory: ReaderMemory;
    type OpenReply: Debug + Send;
    type AppendReply: Debug + Send;
    type TrimReply: Debug + Send;
    type DeleteReply: Debug + Send;
    /// For truncations and resets.
    type CutReply: Debug + Send;
    /// For what answers nothing but that it is done.
    type DoneReply: Debug + Send;
}

/// Memory whose batches readers share.
pub trait ReaderMemory: Memory {
    /// Lets go of a partition's batches, up to and with the one at `through`: from then on readers
    /// find them on disk. At once: the memory is wanted for others. A partition whose view was
    /// closed has nothing left in memory.
    fn evict(&mut self, key: PartitionKey, through: Offset, unindexed: &UnindexedSegments);
}
