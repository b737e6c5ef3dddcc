//! Why a shard refused a request: one enum per operation. Each variant tells how the caller can
//! react.

use rustmq_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

use super::failure::{ReadFailure, WalFailure};
use super::log_rebuild::RebuildError;
use crate::log::{BatchRejection, Frontiers, RejectedTruncation, TransactionRejection};

/// The engine is shutting down or its thread has ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the storage engine has stopped")]
pub struct EngineStopped;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    #[error("leader epoch {given} is below {current}, in which the partition is served")]
    FencedLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    /// Retriable: goes away when retention, trims or deletions free a segment.
    #[error("the write-ahead log is full")]
    Full,
    #[error("the write-ahead log cannot be written: {0}")]
    Storage(#[source] WalFailure),
    #[error("the storage engine has stopped")]
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    #[error("the partition is not open here")]
    UnknownPartition,
    #[error("leader epoch {given} is below the current {current}")]
    FencedLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("leader epoch {given} is above the current {current}")]
    UnknownLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("sequence {got} of producer {producer} is out of order: {expected} is next")]
    OutOfOrderSequence { producer: ProducerId, expected: Sequence, got: Sequence },
    #[error("epoch {got} of producer {producer} is fenced by epoch {current}")]
    InvalidProducerEpoch { producer: ProducerId, current: ProducerEpoch, got: ProducerEpoch },
    /// Retriable: producers expire.
    #[error("the partition already remembers {limit} producers")]
    ProducerLimit { limit: usize },
    /// The batch is inconsistent, or is one that no client may write.
    #[error("the batch is not valid: {0}")]
    InvalidBatch(#[source] BatchRejection),
    #[error("the batch does not fit the producer's transaction: {0}")]
    InvalidTransaction(#[source] TransactionRejection),
    #[error("a batch of {size} bytes exceeds the log's limit of {max}")]
    TooLarge { size: usize, max: usize },
    /// Retriable: goes away when retention, trims or deletions free a segment.
    #[error("the write-ahead log is full")]
    Full,
    /// Retriable at the partition's leader: the log is being cut, or a cut removed this batch or
    /// another one of the same request.
    #[error("another leader's log replaces this log")]
    CutOff,
    /// A write or a sync failed. The shard acknowledges nothing more until the process restarts.
    #[error("the write-ahead log cannot be written: {0}")]
    Storage(#[source] WalFailure),
    #[error("the storage engine has stopped")]
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrimError {
    #[error("the partition is not open here")]
    UnknownPartition,
    #[error("offset {requested} is above the high watermark {high_watermark}")]
    AboveHighWatermark { requested: Offset, high_watermark: Offset },
    #[error("the write-ahead log is full")]
    Full,
    #[error("the write-ahead log cannot be written: {0}")]
    Storage(#[source] WalFailure),
    #[error("the storage engine has stopped")]
    Stopped,
}

/// Why a log is not cut. The log keeps its batches. Unless the epoch was fenced, the partition
/// still follows it, and appends may have been refused because of the cut.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CutError {
    #[error("the partition is not open here")]
    UnknownPartition,
    #[error("leader epoch {given} is below the current {current}")]
    FencedLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    /// The log differs below its high watermark: the caller must reset it.
    #[error("offset {requested} is below the high watermark {high_watermark}")]
    BelowHighWatermark { requested: Offset, high_watermark: Offset },
    /// The state of the log at that offset is lost for good: the caller must reset it.
    #[error("the log's state at the cut is lost: {0}")]
    Unknown(#[source] RebuildError),
    /// The state of the log at that offset has no place in this WAL: the caller must reset it.
    #[error("the log's state at the cut is lost: its checkpoint of {size} bytes does not fit a segment")]
    CheckpointTooLarge { size: usize },
    /// Retriable after a pause: a path to the device may be down. If the error persists, a reset
    /// works without a read.
    #[error("the log's state at the cut cannot be read: {0}")]
    Unreadable(#[source] RebuildError),
    #[error("a log cannot start at offset {at}: it must be at least 0 and below {}", i64::MAX)]
    InvalidStart { at: Offset },
    /// Retriable.
    #[error("another cut of the log is under way")]
    UnderWay,
    #[error("a reset or a later leadership replaced this cut")]
    Superseded,
    /// Retriable: goes away when retention, trims or deletions free a segment.
    #[error("the write-ahead log is full")]
    Full,
    #[error("the write-ahead log cannot be written: {0}")]
    Storage(#[source] WalFailure),
}

impl From<RejectedTruncation> for CutError {
    fn from(RejectedTruncation { requested, high_watermark }: RejectedTruncation) -> Self {
        Self::BelowHighWatermark { requested, high_watermark }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteError {
    #[error("the partition is not open here")]
    UnknownPartition,
    #[error("the write-ahead log is full")]
    Full,
    #[error("the write-ahead log cannot be written: {0}")]
    Storage(#[source] WalFailure),
    #[error("the storage engine has stopped")]
    Stopped,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    #[error("offset {requested} is outside the log: it has {log_start} to {end}",
        log_start = frontiers.log_start, end = frontiers.durable_end)]
    OutOfRange { requested: Offset, frontiers: Frontiers },
    /// The partition was deleted, or the engine stopped.
    #[error("the partition is closed")]
    Closed,
    /// Retriable: other reads from disk occupied the queue or the memory for longer than the reader
    /// waits.
    #[error("too many reads from disk are waiting")]
    Busy,
    /// The log says that these batches are lost: they could not be read back when they were to be
    /// moved (`docs/adr/0010-damage-does-not-stop-the-log.md`). Reads from `end` on work.
    #[error("offsets {first} to {last} are damaged: they could not be read back", last = end.0 - 1)]
    Damaged { first: Offset, end: Offset },
    #[error("the data cannot be read back: {0}")]
    Storage(#[source] ReadFailure),
}

impl From<EngineStopped> for OpenError {
    fn from(_: EngineStopped) -> Self {
        Self::Stopped
    }
}

impl From<EngineStopped> for AppendError {
    fn from(_: EngineStopped) -> Self {
        Self::Stopped
    }
}

impl From<EngineStopped> for TrimError {
    fn from(_: EngineStopped) -> Self {
        Self::Stopped
    }
}

impl From<EngineStopped> for DeleteError {
    fn from(_: EngineStopped) -> Self {
        Self::Stopped
    }
}

#[cfg(test)]
mod tests {
    use rustmq_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence};

    use super::{AppendError, OpenError, ReadError, TrimError};
    use crate::log::Frontiers;

    #[test]
    fn texts_show_numbers_and_no_types() {
        let check = |error: &dyn std::error::Error, text: &str| assert_eq!(error.to_string(), text);
        let (producer, given, current) = (ProducerId(7), LeaderEpoch(2), LeaderEpoch(5));
        check(
            &AppendError::OutOfOrderSequence { producer, expected: Sequence(3), got: Sequence(4) },
            "sequence 4 of producer 7 is out of order: 3 is next",
        );
        check(
            &AppendError::InvalidProducerEpoch { producer, current: ProducerEpoch(1), got: ProducerEpoch(0) },
            "epoch 0 of producer 7 is fenced by epoch 1",
        );
        check(&AppendError::FencedLeaderEpoch { given, current }, "leader epoch 2 is below the current 5");
        check(
            &AppendError::UnknownLeaderEpoch { given: current, current: given },
            "leader epoch 5 is above the current 2",
        );
        check(
            &OpenError::FencedLeaderEpoch { given, current },
            "leader epoch 2 is below 5, in which the partition is served",
        );
        let (requested, high_watermark) = (Offset(9), Offset(6));
        check(&TrimError::AboveHighWatermark { requested, high_watermark }, "offset 9 is above the high watermark 6");
        let frontiers = Frontiers { durable_end: Offset(6), ..Frontiers::default() };
        check(&ReadError::OutOfRange { requested, frontiers }, "offset 9 is outside the log: it has 0 to 6");
        let (first, end) = (Offset(3), Offset(6));
        check(&ReadError::Damaged { first, end }, "offsets 3 to 5 are damaged: they could not be read back");
    }
}
