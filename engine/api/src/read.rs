//! A read: what is asked, and what is answered.

use bytes::Bytes;
use rustmq_engine_core::log::{Frontiers, ReadFrontier};
use rustmq_model::{Offset, ProducerId};

/// How far a read may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// To the high watermark.
    ReadUncommitted,
    /// To the last stable offset.
    ReadCommitted,
}

impl Isolation {
    #[must_use]
    pub const fn frontier(self) -> ReadFrontier {
        match self {
            Self::ReadUncommitted => ReadFrontier::HighWatermark,
            Self::ReadCommitted => ReadFrontier::LastStable,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRequest {
    pub from: Offset,
    /// Bytes of batches to answer at most.
    pub max_bytes: usize,
    /// Answer the first batch even if it is larger than `max_bytes`. A read from disk then waits for a place and for memory, so whoever asks for
    /// this must not hold batches of an earlier one.
    pub at_least_one: bool,
    pub isolation: Isolation,
}

/// A transaction that was aborted: what a read_committed client filters out of the batches it is given (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
}

/// Whole batches in order, without a gap. The first may start below the offset asked for: a client skips those records.
#[derive(Clone, Debug, Default)]
pub struct ReadBatches {
    pub batches: Vec<Bytes>,
    pub aborted: Vec<AbortedTransaction>,
    pub frontiers: Frontiers,
}

impl ReadBatches {
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.batches.iter().map(Bytes::len).sum()
    }
}
