//! The errors of a producer's batch that is refused before it reaches the log.

use std::io;

use rustmq_broker_core::ErrorKind;
use rustmq_model::batch::{BatchError, Codec};
use rustmq_model::compression::CompressionError;
use rustmq_model::record::RecordError;
use rustmq_model::{Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// Why the bytes of one partition in a produce request are not a batch that its topic accepts.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchRefusal {
    /// The bytes changed on their way: a producer sends them again.
    #[error("The batch is damaged: {0}.")]
    Damaged(#[source] BatchError),
    #[error("Compression codec {code} does not exist.")]
    UnknownCodec { code: u16 },
    #[error("A consumer could not read the batch: the records do not decompress as {codec}: {detail}.")]
    Undecodable { codec: Codec, kind: io::ErrorKind, detail: String },
    /// A producer may split the batch.
    #[error("The records of the batch decompress to more than {max} bytes.")]
    DecompressedTooLarge { max: usize },
    #[error("A batch of {size} bytes is larger than the {max} bytes that max.message.bytes allows.")]
    TooLarge { size: usize, max: usize },
    #[error(transparent)]
    Invalid(#[from] InvalidBatch),
    #[error("A producer must not claim LogAppendTime: the broker stamps it.")]
    ClaimsAppendTime,
    #[error("{}", first_reason(records))]
    TimestampsOutOfRange { records: Vec<RecordFault> },
}

/// The batch breaks a rule that holds for all producers.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBatch {
    #[error("A produce request has exactly one record batch per partition.")]
    NotOneBatch,
    #[error(transparent)]
    Header(BatchError),
    #[error("The base offset of a produced batch must be 0; it is {offset}.")]
    BaseOffset { offset: Offset },
    #[error("Clients are not allowed to write control records.")]
    ControlRecords,
    #[error("A batch of producer {producer} must have a sequence and an epoch; they are {sequence} and {epoch}.")]
    WithoutSequence { producer: ProducerId, sequence: Sequence, epoch: ProducerEpoch },
    #[error("record {index} of the batch is malformed: {reason}")]
    MalformedRecord { index: i32, reason: &'static str },
    /// A compacted topic keeps the latest record of each key, so that its records must have keys.
    #[error("One or more records have no key, which a compacted topic does not take.")]
    RecordsWithoutKey { records: Vec<RecordFault> },
}

/// The fault of one record in a refused batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordFault {
    /// The record's place in the batch, from 0.
    pub index: i32,
    pub reason: FaultReason,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FaultReason {
    #[error("A compacted topic takes only records with a key.")]
    NoKey,
    /// The bounds are inclusive, in milliseconds.
    #[error("Timestamp {timestamp} is outside the range from {earliest} to {latest}.")]
    Timestamp { timestamp: Timestamp, earliest: i64, latest: i64 },
}

fn first_reason(records: &[RecordFault]) -> String {
    records.first().map_or_else(String::new, |fault| fault.reason.to_string())
}

impl BatchRefusal {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Damaged(_) => ErrorKind::Retry,
            Self::UnknownCodec { .. }
            | Self::Undecodable { .. }
            | Self::DecompressedTooLarge { .. }
            | Self::TooLarge { .. }
            | Self::Invalid(_)
            | Self::ClaimsAppendTime
            | Self::TimestampsOutOfRange { .. } => ErrorKind::Invalid,
        }
    }

    /// The invalid records, if the error concerns single records; some of them if there are very
    /// many.
    #[must_use]
    pub fn record_faults(&self) -> &[RecordFault] {
        match self {
            Self::TimestampsOutOfRange { records } | Self::Invalid(InvalidBatch::RecordsWithoutKey { records }) => {
                records
            }
            _ => &[],
        }
    }
}

impl From<BatchError> for BatchRefusal {
    fn from(error: BatchError) -> Self {
        match error {
            BatchError::Truncated { .. } | BatchError::Length { .. } | BatchError::Crc { .. } => Self::Damaged(error),
            BatchError::Codec { code } => Self::UnknownCodec { code },
            BatchError::Magic { .. } | BatchError::Count { .. } => InvalidBatch::Header(error).into(),
        }
    }
}

impl From<RecordError> for BatchRefusal {
    fn from(error: RecordError) -> Self {
        match error {
            RecordError::Batch(error) => error.into(),
            RecordError::Compression(CompressionError::TooLarge { size_max: max }) => {
                Self::DecompressedTooLarge { max }
            }
            RecordError::Compression(CompressionError::Malformed { codec, source }) => {
                Self::Undecodable { codec, kind: source.kind(), detail: source.to_string() }
            }
            RecordError::Malformed { index, reason } => InvalidBatch::MalformedRecord { index, reason }.into(),
        }
    }
}
