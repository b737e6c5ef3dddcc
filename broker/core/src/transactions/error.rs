//! The errors of transaction requests.
//!
//! Each variant corresponds to one Kafka error code for each version of a request; the gateway has
//! the table.

use crate::ErrorKind;
use crate::coordinator::{AppendFailure, CoordinatorError};

/// Why a request is refused, or one partition of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionError {
    #[error("the transaction timeout of {timeout_ms} ms is not between 1 ms and {max_ms} ms")]
    InvalidTransactionTimeout { timeout_ms: i32, max_ms: u64 },
    /// Kafka: `INVALID_PRODUCER_ID_MAPPING`. The transactional id is unknown, or another producer
    /// id belongs to it.
    #[error("the producer id does not belong to the transactional id")]
    InvalidProducerIdMapping,
    /// Kafka: `PRODUCER_FENCED`, and `INVALID_PRODUCER_EPOCH` for older clients.
    #[error("another producer with this transactional id has a newer epoch")]
    ProducerFenced,
    /// Kafka: `INVALID_TXN_STATE`.
    #[error("the transaction is in a state that does not allow the request")]
    InvalidTransactionState,
    /// Kafka: `CONCURRENT_TRANSACTIONS`. The request has waited for as long as it may.
    #[error("the previous transaction of this transactional id is still being ended")]
    ConcurrentTransactions,
    /// The answer of a verification. Kafka: `TRANSACTION_ABORTABLE`, and `INVALID_TXN_STATE` for
    /// clients that do not know it.
    #[error("the partition is not in the producer's open transaction")]
    NotInTransaction,
    /// The record of a transaction with all these partitions would not fit into a batch of the
    /// coordinator's log. Nothing was added: the transaction can still be ended.
    #[error("a transaction with so many partitions cannot be stored")]
    TooManyPartitions,
    /// Describe only. Kafka: `TRANSACTIONAL_ID_NOT_FOUND`.
    #[error("the transactional id is not known")]
    TransactionalIdNotFound,
    #[error("the coordinator is loading its transactions; try again")]
    CoordinatorLoadInProgress,
    #[error("this broker is not the coordinator of the transactional id")]
    NotCoordinator,
    /// The record was not written, no producer id was to be had, or a bound on memory is reached.
    /// All three may pass.
    #[error("the coordinator cannot serve the transactional id now; try again")]
    CoordinatorNotAvailable,
}

impl TransactionError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(self) -> ErrorKind {
        match self {
            Self::ProducerFenced | Self::InvalidProducerIdMapping => ErrorKind::Fenced,
            Self::InvalidTransactionTimeout { .. }
            | Self::InvalidTransactionState
            | Self::NotInTransaction
            | Self::TooManyPartitions
            | Self::TransactionalIdNotFound => ErrorKind::Invalid,
            Self::ConcurrentTransactions | Self::CoordinatorLoadInProgress => ErrorKind::Retry,
            Self::NotCoordinator => ErrorKind::RefreshMetadata,
            Self::CoordinatorNotAvailable => ErrorKind::Unavailable,
        }
    }
}

impl From<CoordinatorError> for TransactionError {
    fn from(error: CoordinatorError) -> Self {
        match error {
            CoordinatorError::Loading => Self::CoordinatorLoadInProgress,
            CoordinatorError::Overloaded => Self::CoordinatorNotAvailable,
            CoordinatorError::Resigned => Self::NotCoordinator,
        }
    }
}

impl From<AppendFailure> for TransactionError {
    fn from(failure: AppendFailure) -> Self {
        match failure {
            // The coordinator's records have no producer.
            AppendFailure::Unavailable | AppendFailure::InvalidProducerEpoch => Self::CoordinatorNotAvailable,
            AppendFailure::TooLarge => Self::TooManyPartitions,
            AppendFailure::NotLeader => Self::NotCoordinator,
        }
    }
}
