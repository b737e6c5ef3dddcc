//! The requests to a transaction coordinator and its answers, without a wire format.
//!
//! Each [`TransactionRequest`] is answered by the [`TransactionOutcome`] of the same name under its
//! token. Reads (describe, list, count) are answered at once, by the machine's own methods.

use std::time::Duration;

use rustmq_model::{ProducerKey, TopicPartition, TransactionEnd, TransactionVersion, TransactionalId};

use super::error::TransactionError;

/// A request to the transaction coordinator.
///
/// A request that meets markers on their way, or another change of its transactional id that is not
/// committed yet, waits until it can be decided: for as long as its `wait_max` allows, or the
/// configuration's `request_wait_max`. After that it is answered with
/// [`TransactionError::ConcurrentTransactions`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionRequest {
    /// `InitProducerId` with a transactional id.
    InitProducerId(InitProducerIdRequest),
    /// `AddPartitionsToTxn`, `AddOffsetsToTxn`, and the implicit additions of clients of version 2.
    AddPartitions(AddPartitionsRequest),
    /// Verification of partitions before an append (KIP-890, part 1).
    VerifyPartitions(VerifyPartitionsRequest),
    /// `EndTxn`.
    EndTxn(EndTxnRequest),
}

impl TransactionRequest {
    /// The id whose coordinator the request is for.
    #[must_use]
    pub const fn id(&self) -> &TransactionalId {
        match self {
            Self::InitProducerId(request) => &request.id,
            Self::AddPartitions(request) => &request.id,
            Self::VerifyPartitions(request) => &request.id,
            Self::EndTxn(request) => &request.id,
        }
    }

    /// The answer that refuses the whole request.
    pub(crate) const fn refused(&self, error: TransactionError) -> TransactionOutcome {
        match self {
            Self::InitProducerId(_) => TransactionOutcome::InitProducerId(Err(error)),
            Self::AddPartitions(_) => TransactionOutcome::AddPartitions(Err(error)),
            Self::VerifyPartitions(_) => TransactionOutcome::VerifyPartitions(Err(error)),
            Self::EndTxn(_) => TransactionOutcome::EndTxn(Err(error)),
        }
    }
}

/// `InitProducerId`: makes the caller the only producer of the id. An open transaction of an
/// earlier producer is aborted first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InitProducerIdRequest {
    pub id: TransactionalId,
    /// The time after which the coordinator aborts a transaction of this producer, as the client
    /// states it: it may be out of bounds.
    pub timeout_ms: i32,
    /// The id and epoch that the producer has (KIP-360): it continues after an error, and is fenced
    /// if another producer has taken the transactional id meanwhile. None takes the id from any
    /// other producer.
    pub expected: Option<ProducerKey>,
}

/// Adds partitions to the producer's transaction, which begins with the first of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AddPartitionsRequest {
    pub id: TransactionalId,
    pub producer: ProducerKey,
    /// The offsets of a group are the group's partition of `__consumer_offsets`. The caller has
    /// checked that the partitions exist: a coordinator knows no topics.
    pub partitions: Vec<TopicPartition>,
    /// The protocol that the client speaks.
    pub version: TransactionVersion,
    /// The longest wait, if it is not the coordinator's own: a Produce request waits within its
    /// timeout.
    pub wait_max: Option<Duration>,
}

/// Asks whether partitions are in the producer's open transaction. Changes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifyPartitionsRequest {
    pub id: TransactionalId,
    pub producer: ProducerKey,
    pub partitions: Vec<TopicPartition>,
    /// The longest wait, if it is not the coordinator's own.
    pub wait_max: Option<Duration>,
}

/// Commits or aborts the producer's transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EndTxnRequest {
    pub id: TransactionalId,
    pub producer: ProducerKey,
    pub end: TransactionEnd,
    /// The protocol of the request: version 5 of `EndTxn` is version 2. The producer's epoch rises
    /// at each end in that version alone.
    pub version: TransactionVersion,
}

/// The answers, by kind of request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TransactionOutcome {
    /// The id and epoch that the producer uses from now on.
    InitProducerId(Result<ProducerKey, TransactionError>),
    /// The partitions are in the transaction, all of them.
    AddPartitions(Result<(), TransactionError>),
    /// The answer for each partition, in the order of the request:
    /// [`TransactionError::NotInTransaction`] for one that is not in the transaction.
    VerifyPartitions(Result<Vec<Result<(), TransactionError>>, TransactionError>),
    /// The decision is in the log; its markers follow. The id and epoch that the producer uses from
    /// now on: another one than before for clients of version 2.
    EndTxn(Result<ProducerKey, TransactionError>),
}

impl TransactionOutcome {
    /// The answer that refuses the request instead.
    pub(crate) const fn refused(&self, error: TransactionError) -> Self {
        match self {
            Self::InitProducerId(_) => Self::InitProducerId(Err(error)),
            Self::AddPartitions(_) => Self::AddPartitions(Err(error)),
            Self::VerifyPartitions(_) => Self::VerifyPartitions(Err(error)),
            Self::EndTxn(_) => Self::EndTxn(Err(error)),
        }
    }

    /// Whether all partitions of a verification are in the transaction.
    pub(crate) fn is_verified(&self) -> bool {
        matches!(self, Self::VerifyPartitions(Ok(verdicts)) if verdicts.iter().all(Result::is_ok))
    }
}

/// The answer to a request, under the request's token.
pub type Reply = crate::coordinator::Reply<TransactionOutcome>;
