//! Errors of the engine that many operations pass on to clients.

use rustmq_broker_core::ErrorKind;
use rustmq_engine_api::{Frontiers, ReadFailure, WalFailure};
use rustmq_model::Offset;

/// Why the engine accepts no changes of any partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StorageError {
    /// This ends when retention, DeleteRecords or the deletion of topics frees space.
    #[error("The write-ahead log is full: lower the retention of topics, delete records, or raise wal.capacity_bytes.")]
    Full,
    #[error("The storage failed: {0}. The broker needs its operator.")]
    Failed(#[source] WalFailure),
    #[error("The broker is shutting down.")]
    Stopping,
}

impl StorageError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Full | Self::Failed(_) => ErrorKind::Unavailable,
            Self::Stopping => ErrorKind::RefreshMetadata,
        }
    }
}

/// Why records of the log cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnreadableError {
    /// These records are lost for good; records from `end` on can be read.
    #[error(
        "The storage failed: offsets {first} to {last} are damaged: they could not be read back. The broker needs its operator.",
        last = end.0 - 1
    )]
    Damaged { first: Offset, end: Offset },
    #[error("The storage failed: {0}. The broker needs its operator.")]
    Failed(#[source] ReadFailure),
}

impl UnreadableError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged { .. } => ErrorKind::Internal,
            Self::Failed(_) => ErrorKind::Unavailable,
        }
    }
}

/// The offset lies outside of the log.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Offset {requested} is not in the log, which has {log_start} to {end}.")]
pub struct OffsetOutOfRange {
    pub requested: Offset,
    pub log_start: Offset,
    pub end: Offset,
    pub high_watermark: Offset,
}

impl OffsetOutOfRange {
    pub(crate) const fn new(requested: Offset, frontiers: Frontiers) -> Self {
        let Frontiers { log_start, durable_end: end, high_watermark, .. } = frontiers;
        Self { requested, log_start, end, high_watermark }
    }
}
