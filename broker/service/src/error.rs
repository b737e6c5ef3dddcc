//! Why the broker refuses: one enum for all operations, in the broker's own words. The front ends
//! translate it.
//!
//! The display text is fit for a client: it names the thing and what to do about it.

use rustmq_broker_core::groups::GroupError;
use rustmq_controller_core::Rejection;
use rustmq_engine_api::{AppendError, EngineStopped, Frontiers, OpenError, ReadError, TrimError};
use rustmq_model::{LeaderEpoch, Offset, PartitionId, TopicId, TopicName};

/// What is wrong with one record of a batch that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordFault {
    /// Within the batch, counted from 0.
    pub index: i32,
    pub reason: String,
}

/// Why an operation, or one item of it, was refused. "Retriable" in a comment says that the same
/// request may succeed later.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokerError {
    #[error("This server does not host a topic named '{name}'.")]
    UnknownTopic { name: String },
    #[error("This server does not host a topic with the id {id}.")]
    UnknownTopicId { id: TopicId },
    #[error("Topic '{topic}' has no partition {}: ask for its metadata again.", partition.0)]
    UnknownPartition { topic: TopicName, partition: PartitionId },
    #[error("{reason}")]
    InvalidTopicName { reason: String },
    #[error("Topic '{topic}' belongs to the broker itself: clients cannot change what is in it.")]
    InternalTopic { topic: TopicName },
    /// Retriable after a refresh of the metadata.
    #[error("This broker does not lead {topic}-{}.", partition.0)]
    NotLeader { topic: TopicName, partition: PartitionId },
    #[error("Leader epoch {} is older than the current one, {}: ask for the topic's metadata again.", given.0, current.0)]
    FencedLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    /// Retriable: this broker has not heard of it yet.
    #[error("Leader epoch {} is newer than {}, which this broker knows.", given.0, current.0)]
    UnknownLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    #[error("Offset {} is not in the log, which has {} to {}.", requested.0, log_start.0, end.0)]
    OffsetOutOfRange { requested: Offset, log_start: Offset, end: Offset, high_watermark: Offset },
    #[error("The batch is damaged: {reason}.")]
    CorruptBatch { reason: String },
    #[error("Compression codec {code} does not exist.")]
    UnsupportedCompression { code: u16 },
    #[error("A consumer could not read the batch: {reason}.")]
    UndecodableRecords { reason: String },
    /// A producer may split the batch.
    #[error("The records of the batch decompress to more than {max} bytes.")]
    DecompressedTooLarge { max: usize },
    #[error("{reason}")]
    InvalidRecord { reason: String, records: Vec<RecordFault> },
    #[error("{reason}")]
    InvalidTimestamp { reason: String, records: Vec<RecordFault> },
    #[error("A batch of {size} bytes is larger than the {max} bytes that max.message.bytes allows.")]
    RecordTooLarge { size: usize, max: usize },
    /// Retriable.
    #[error("{isr} replica(s) of {topic}-{} are in sync; min.insync.replicas asks for {min}.", partition.0)]
    NotEnoughReplicas { topic: TopicName, partition: PartitionId, isr: usize, min: usize },
    /// Retriable. The operation may still take effect.
    #[error("{operation} took longer than the request's timeout.")]
    RequestTimedOut { operation: &'static str },
    /// Retriable. Nothing was done.
    #[error("{operation} did not begin within the request's timeout.")]
    NotBegun { operation: &'static str },
    #[error("{reason}")]
    OutOfOrderSequence { reason: String },
    #[error("{reason}")]
    InvalidProducerEpoch { reason: String },
    #[error("The batch does not fit its producer's transaction: {reason}.")]
    InvalidTransaction { reason: String },
    /// Retriable: idle producers are forgotten after producer.id.expiration.ms.
    #[error("The partition already remembers {limit} idempotent producers: it takes more when idle ones expire.")]
    TooManyProducers { limit: usize },
    /// Retriable: goes away when retention, DeleteRecords or the deletion of topics frees space.
    #[error("The write-ahead log is full: lower the retention of topics, delete records, or raise wal.capacity_bytes.")]
    StorageFull,
    #[error("The storage failed: {reason}. The broker needs its operator.")]
    Storage { reason: String },
    /// Retriable: a queue is full.
    #[error("{what} is at its limit: try again.")]
    Busy { what: &'static str },
    #[error("{reason}")]
    PolicyViolation { reason: String },
    #[error("{reason}")]
    InvalidRequest { reason: String },
    #[error("{what} is not supported by this version of RustMQ.")]
    Unsupported { what: &'static str },
    #[error("Topics cannot be deleted here: delete.topic.enable is false.")]
    TopicDeletionDisabled,
    /// The controller judged: the inner error says what.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The group's coordinator judged: the inner error says what.
    #[error(transparent)]
    Group(#[from] GroupError),
    /// Retriable.
    #[error("The controller does not answer: {reason}.")]
    ControllerUnavailable { reason: String },
    /// Retriable, elsewhere or later.
    #[error("The broker is shutting down.")]
    Stopping,
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("the controller refused '{command}': {reason}")]
    Controller { command: &'static str, reason: String },
}

impl From<AppendError> for BrokerError {
    fn from(error: AppendError) -> Self {
        let reason = error.to_string();
        match error {
            // The partition was closed meanwhile, or is led by another broker: callers that know
            // which one say so.
            AppendError::UnknownPartition | AppendError::CutOff | AppendError::Stopped => Self::Stopping,
            AppendError::FencedLeaderEpoch { given, current } => Self::FencedLeaderEpoch { given, current },
            AppendError::UnknownLeaderEpoch { given, current } => Self::UnknownLeaderEpoch { given, current },
            AppendError::OutOfOrderSequence { .. } => Self::OutOfOrderSequence { reason },
            AppendError::InvalidProducerEpoch { .. } => Self::InvalidProducerEpoch { reason },
            AppendError::InvalidBatch { reason } => Self::invalid_record(reason),
            AppendError::InvalidTransaction { reason } => Self::InvalidTransaction { reason },
            AppendError::ProducerLimit { limit } => Self::TooManyProducers { limit },
            AppendError::TooLarge { size, max } => Self::RecordTooLarge { size, max },
            AppendError::Full => Self::StorageFull,
            AppendError::Storage { reason } => Self::Storage { reason },
        }
    }
}

impl From<ReadError> for BrokerError {
    fn from(error: ReadError) -> Self {
        match error {
            ReadError::OutOfRange { requested, frontiers } => Self::out_of_range(requested, frontiers),
            ReadError::Closed => Self::Stopping,
            ReadError::Busy => Self::Busy { what: "The queue of reads from disk" },
            ReadError::Storage { reason } => Self::Storage { reason },
            damaged @ ReadError::Damaged { .. } => Self::Storage { reason: damaged.to_string() },
        }
    }
}

impl From<TrimError> for BrokerError {
    fn from(error: TrimError) -> Self {
        match error {
            TrimError::UnknownPartition | TrimError::Stopped => Self::Stopping,
            TrimError::AboveHighWatermark { requested, high_watermark } => {
                let (log_start, end) = (Offset::ZERO, high_watermark);
                Self::OffsetOutOfRange { requested, log_start, end, high_watermark }
            }
            TrimError::Full => Self::StorageFull,
            TrimError::Storage { reason } => Self::Storage { reason },
        }
    }
}

impl From<OpenError> for BrokerError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::FencedLeaderEpoch { given, current } => Self::FencedLeaderEpoch { given, current },
            OpenError::Full => Self::StorageFull,
            OpenError::Storage { reason } => Self::Storage { reason },
            OpenError::Stopped => Self::Stopping,
        }
    }
}

impl From<EngineStopped> for BrokerError {
    fn from(_: EngineStopped) -> Self {
        Self::Stopping
    }
}

impl BrokerError {
    pub(crate) fn out_of_range(requested: Offset, frontiers: Frontiers) -> Self {
        let Frontiers { log_start, durable_end: end, high_watermark, .. } = frontiers;
        Self::OffsetOutOfRange { requested, log_start, end, high_watermark }
    }

    pub(crate) fn invalid_record(reason: impl Into<String>) -> Self {
        Self::InvalidRecord { reason: reason.into(), records: Vec::new() }
    }
}
