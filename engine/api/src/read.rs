//! A read request and its answer.

use bytes::Bytes;
use rustmq_engine_core::log::{Frontiers, ReadFrontier};
use rustmq_model::{Offset, ProducerId};

/// The frontier that bounds a read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Reads up to the high watermark.
    ReadUncommitted,
    /// Reads up to the last stable offset.
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
    /// The most bytes of batches to answer.
    pub max_bytes: usize,
    /// Answer the first batch even if it is larger than `max_bytes`. Such a read from disk waits
    /// for a permit and for memory, so the caller must not hold batches of an earlier read
    /// meanwhile.
    pub at_least_one: bool,
    pub isolation: Isolation,
}

/// An aborted transaction. A read_committed client drops its records from the batches (KIP-98).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    pub producer_id: ProducerId,
    pub first_offset: Offset,
}

/// Whole batches in order, without a gap. The first may start below the requested offset: the
/// client skips those records.
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
