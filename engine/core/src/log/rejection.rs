//! Why an append is refused.

use rustmq_model::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendRejection {
    #[error("leader epoch {given} is below the current {current}")]
    FencedLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("leader epoch {given} is above the current {current}")]
    UnknownLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    /// Retriable at the partition's leader.
    #[error("the end of the log is being cut off")]
    BeingCut,
    #[error("sequence {got} of producer {producer_id} is out of order: {expected} is next")]
    OutOfOrderSequence { producer_id: ProducerId, expected: Sequence, got: Sequence },
    #[error("epoch {got} of producer {producer_id} is fenced by epoch {current}")]
    InvalidProducerEpoch { producer_id: ProducerId, current: ProducerEpoch, got: ProducerEpoch },
    #[error(transparent)]
    Batch(#[from] BatchRejection),
    #[error(transparent)]
    Transaction(#[from] TransactionRejection),
    /// Retriable: producers are forgotten when they expire.
    #[error("the partition already remembers {limit} producers")]
    ProducerLimit { limit: usize },
}

/// The batch is inconsistent, or is one that no client may write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchRejection {
    #[error("a batch of producer {producer_id} needs an epoch and a sequence; it has {producer_epoch}, {sequence}")]
    InvalidSequence { producer_id: ProducerId, producer_epoch: ProducerEpoch, sequence: Sequence },
    #[error("only a transaction coordinator writes control batches")]
    ControlBatch,
    #[error("a batch in a transaction needs a producer")]
    NoProducer,
    #[error("the batch states that it has no records, or more records than offsets are left")]
    RecordCount,
}

/// The batch, or the marker, does not fit its producer's transaction.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransactionRejection {
    #[error("producer {producer_id} has a transaction open: a batch outside of it must wait for its end")]
    OutsideTransaction { producer_id: ProducerId },
    /// The leader has not asked the transaction coordinator yet, or a marker has come since.
    /// Retriable.
    #[error("the coordinator has not confirmed that the transaction of producer {producer_id} has this partition")]
    Unverified { producer_id: ProducerId },
    /// The marker of the earlier transaction is on its way. Retriable.
    #[error("producer {producer_id} has a transaction of an earlier epoch open")]
    EarlierOpen { producer_id: ProducerId },
    #[error("the transaction coordinator of epoch {got} is fenced by one of epoch {current}")]
    FencedCoordinator { producer_id: ProducerId, current: i32, got: i32 },
}
