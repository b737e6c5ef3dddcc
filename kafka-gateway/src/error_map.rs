//! The Kafka error code of every error of the broker. No other file knows both. Each map is
//! exhaustive, so that a new error does not compile before it has a code.

use std::fmt::Display;

use rustmq_broker_service::groups::GroupError;
use rustmq_broker_service::transactions::TransactionError;
use rustmq_broker_service::{
    AlterConfigsError, AutoCreationError, BatchRefusal, CommandError, CreatePartitionsError, CreateTopicsError,
    DeleteRecordsError, DeleteTopicsError, DescribeConfigsError, DescribeProducersError, FetchError,
    FindCoordinatorError, GroupOffsetError, ListOffsetsError, ListTransactionsError, LocateError, MarkerError,
    MetadataError, OffsetFetchError, ProduceError, Rejection, StorageError, TransactionPartitionError,
    TransactionRejection, TransactionalOffsetError, UnknownTopic, UnreadableError, UpdateFeaturesError,
};
use rustmq_kafka_codec_messages::{ApiKey, ErrorCode};
use rustmq_model::TransactionalIdError;

/// No error.
pub const NONE: i16 = 0;

/// The longest string of the protocol, in bytes.
const TEXT_BYTES_MAX: usize = i16::MAX as usize;

pub const UNSUPPORTED_VERSION: i16 = ErrorCode::UnsupportedVersion as i16;
pub const INVALID_REQUIRED_ACKS: i16 = ErrorCode::InvalidRequiredAcks as i16;
pub const INVALID_REQUEST: i16 = ErrorCode::InvalidRequest as i16;
pub const INVALID_REPLICA_ASSIGNMENT: i16 = ErrorCode::InvalidReplicaAssignment as i16;
pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = ErrorCode::UnknownTopicOrPartition as i16;
pub const LEADER_NOT_AVAILABLE: i16 = ErrorCode::LeaderNotAvailable as i16;
pub const COORDINATOR_NOT_AVAILABLE: i16 = ErrorCode::CoordinatorNotAvailable as i16;
pub const GROUP_ID_NOT_FOUND: i16 = ErrorCode::GroupIdNotFound as i16;
pub const FETCH_SESSION_ID_NOT_FOUND: i16 = ErrorCode::FetchSessionIdNotFound as i16;
pub const INVALID_FETCH_SESSION_EPOCH: i16 = ErrorCode::InvalidFetchSessionEpoch as i16;
pub const FETCH_SESSION_TOPIC_ID_ERROR: i16 = ErrorCode::FetchSessionTopicIdError as i16;
pub const INCONSISTENT_TOPIC_ID: i16 = ErrorCode::InconsistentTopicId as i16;
pub const UNSUPPORTED_COMPRESSION_TYPE: i16 = ErrorCode::UnsupportedCompressionType as i16;
pub const INVALID_UPDATE_VERSION: i16 = ErrorCode::InvalidUpdateVersion as i16;
pub const REBOOTSTRAP_REQUIRED: i16 = ErrorCode::RebootstrapRequired as i16;
pub const MISMATCHED_ENDPOINT_TYPE: i16 = ErrorCode::MismatchedEndpointType as i16;

/// An error with a Kafka error code. Its text is fit for clients.
pub trait KafkaError: Display {
    fn kafka(&self) -> ErrorCode;
}

/// An error in a response: its code, and the text for versions that have a field for it. Kafka has
/// the pair under the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    pub code: i16,
    pub message: Option<String>,
}

impl ApiError {
    pub fn new(code: i16, text: &(impl Display + ?Sized)) -> Self {
        Self { code, message: message(text) }
    }

    pub fn of(error: &impl KafkaError) -> Self {
        Self::new(code(error), error)
    }

    /// The request, or an item of it, contradicts itself.
    pub fn invalid_request(text: &(impl Display + ?Sized)) -> Self {
        Self::new(INVALID_REQUEST, text)
    }

    /// The code and text of a result.
    pub fn code_and_message<T>(result: Result<T, Self>) -> (i16, Option<String>) {
        result.map_or_else(|error| (error.code, error.message), |_| (NONE, None))
    }
}

/// The code of an error.
pub fn code(error: &impl KafkaError) -> i16 {
    error.kafka() as i16
}

/// The code of an error for the clients of a version: older ones do not know the later codes of
/// transactions (KIP-588, KIP-890, KIP-1319).
pub fn code_in(api: ApiKey, version: i16, error: &impl KafkaError) -> i16 {
    let known = match (error.kafka(), api) {
        (ErrorCode::ProducerFenced, ApiKey::InitProducerId) if version < 4 => ErrorCode::InvalidProducerEpoch,
        (ErrorCode::ProducerFenced, ApiKey::AddPartitionsToTxn | ApiKey::AddOffsetsToTxn | ApiKey::EndTxn)
            if version < 2 =>
        {
            ErrorCode::InvalidProducerEpoch
        }
        // The group coordinator passes a refusal on as one of the log.
        (ErrorCode::ProducerFenced, ApiKey::TxnOffsetCommit) => ErrorCode::InvalidProducerEpoch,
        (ErrorCode::GroupIdNotFound | ErrorCode::StaleMemberEpoch, ApiKey::TxnOffsetCommit) if version < 6 => {
            ErrorCode::IllegalGeneration
        }
        // The oldest producers end with an error that they do not expect (KAFKA-7296).
        (ErrorCode::CoordinatorLoadInProgress, ApiKey::TxnOffsetCommit) if version < 2 => {
            ErrorCode::CoordinatorNotAvailable
        }
        (ErrorCode::TransactionAbortable, ApiKey::InitProducerId | ApiKey::AddPartitionsToTxn) if version < 5 => {
            ErrorCode::InvalidTxnState
        }
        (ErrorCode::TransactionAbortable, ApiKey::AddOffsetsToTxn | ApiKey::EndTxn | ApiKey::TxnOffsetCommit)
            if version < 4 =>
        {
            ErrorCode::InvalidTxnState
        }
        (ErrorCode::TransactionAbortable, ApiKey::Produce) if version < 11 => ErrorCode::InvalidTxnState,
        // Retriable for every client, and without a refresh of metadata.
        (ErrorCode::ConcurrentTransactions, ApiKey::Produce) if version < 12 => ErrorCode::NotEnoughReplicas,
        (code, _) => code,
    };
    known as i16
}

/// The code of a coordinator's refusal.
pub fn group_code(error: &GroupError) -> i16 {
    code(error)
}

/// The code of a result.
pub fn outcome<T>(result: &Result<T, impl KafkaError>) -> i16 {
    result.as_ref().err().map_or(NONE, code)
}

/// The code of a coordinator's result.
pub fn group_outcome<T>(result: &Result<T, GroupError>) -> i16 {
    outcome(result)
}

/// The text beside a code, cut to the longest string of the protocol. A text that quotes a long
/// name may be longer, and its response could then not be encoded.
pub fn message(error: &(impl Display + ?Sized)) -> Option<String> {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    Some(text)
}

/// The gateway refuses a request for something that the broker does not have.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("{what} is not supported by this version of RustMQ.")]
pub struct Unsupported {
    pub what: &'static str,
}

impl KafkaError for Unsupported {
    fn kafka(&self) -> ErrorCode {
        ErrorCode::UnsupportedVersion
    }
}

// Shared by many operations.

impl KafkaError for UnknownTopic {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Name(_) => ErrorCode::UnknownTopicOrPartition,
            Self::Id(_) => ErrorCode::UnknownTopicId,
        }
    }
}

impl KafkaError for LocateError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic(error) => error.kafka(),
            Self::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
            Self::NotLeader { .. } => ErrorCode::NotLeaderOrFollower,
            Self::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
            Self::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
            Self::NotOpened(error) => error.kafka(),
        }
    }
}

// KAFKA_STORAGE_ERROR is retriable for producers and consumers alike. REQUEST_TIMED_OUT is not, in
// a fetch: a consumer takes it for a defect of the broker.

impl KafkaError for StorageError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Full | Self::Failed(_) => ErrorCode::KafkaStorageError,
            // Clients refresh their metadata and send the request again.
            Self::Stopping => ErrorCode::NotLeaderOrFollower,
        }
    }
}

impl KafkaError for UnreadableError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Damaged { .. } | Self::Failed(_) => ErrorCode::KafkaStorageError,
        }
    }
}

impl KafkaError for CommandError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Rejected(rejection) => rejection.kafka(),
            Self::Unavailable(_) | Self::UnexpectedOutcome => ErrorCode::RequestTimedOut,
            Self::Stopping => ErrorCode::NotLeaderOrFollower,
        }
    }
}

// Records.

impl KafkaError for ProduceError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Locate(error) => error.kafka(),
            Self::InternalTopic { .. } => ErrorCode::InvalidTopicException,
            Self::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
            Self::Batch(refusal) => refusal.kafka(),
            Self::NotForTheLog(_) => ErrorCode::InvalidRecord,
            Self::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
            Self::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            // Retriable, and without a refresh of metadata.
            Self::InvalidTransaction(
                TransactionRejection::EarlierOpen { .. } | TransactionRejection::Unverified { .. },
            ) => ErrorCode::NotEnoughReplicas,
            Self::InvalidTransaction(_) => ErrorCode::InvalidTxnState,
            Self::NoTransactionalId => ErrorCode::TransactionalIdAuthorizationFailed,
            Self::Transaction(error) => match error.kafka() {
                // Producers know the code of the log's own refusal.
                ErrorCode::ProducerFenced => ErrorCode::InvalidProducerEpoch,
                // A producer takes these for errors of its coordinator, which it did not ask.
                ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator => ErrorCode::NotEnoughReplicas,
                code => code,
            },
            Self::TooManyProducers { .. } => ErrorCode::KafkaStorageError,
            Self::TimedOut => ErrorCode::RequestTimedOut,
            Self::Storage(error) => error.kafka(),
        }
    }
}

impl KafkaError for BatchRefusal {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Damaged(_) => ErrorCode::CorruptMessage,
            Self::UnknownCodec { .. } => ErrorCode::UnsupportedCompressionType,
            // As in Kafka, for a batch that cannot be decompressed. Producers do not send it again.
            Self::Undecodable { .. } => ErrorCode::UnknownServerError,
            Self::DecompressedTooLarge { .. } | Self::TooLarge { .. } => ErrorCode::MessageTooLarge,
            Self::Invalid(_) => ErrorCode::InvalidRecord,
            Self::ClaimsAppendTime | Self::TimestampsOutOfRange { .. } => ErrorCode::InvalidTimestamp,
        }
    }
}

impl KafkaError for FetchError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Locate(error) => error.kafka(),
            Self::OffsetOutOfRange(_) => ErrorCode::OffsetOutOfRange,
            Self::Unreadable(error) => error.kafka(),
        }
    }
}

impl KafkaError for ListOffsetsError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Locate(error) => error.kafka(),
            Self::OffsetOutOfRange(_) => ErrorCode::OffsetOutOfRange,
            Self::Busy => ErrorCode::KafkaStorageError,
            Self::Unreadable(error) => error.kafka(),
        }
    }
}

impl KafkaError for DeleteRecordsError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Locate(error) => error.kafka(),
            Self::InternalTopic { .. } => ErrorCode::InvalidTopicException,
            Self::NotDeletable { .. } => ErrorCode::PolicyViolation,
            Self::OffsetOutOfRange(_) => ErrorCode::OffsetOutOfRange,
            Self::Storage(error) => error.kafka(),
        }
    }
}

// Topics and configs.

impl KafkaError for MetadataError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::InvalidTopicName(_) => ErrorCode::InvalidTopicException,
            Self::UnknownTopic(error) => error.kafka(),
            Self::NotCreated(error) => error.kafka(),
        }
    }
}

impl KafkaError for AutoCreationError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::TimedOut => ErrorCode::RequestTimedOut,
            Self::Refused(error) => error.kafka(),
        }
    }
}

impl KafkaError for CreateTopicsError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::ReservedName { .. } => ErrorCode::InvalidRequest,
            Self::TooManyPartitions => ErrorCode::PolicyViolation,
            Self::NotBegun => ErrorCode::RequestTimedOut,
            Self::Command(error) => error.kafka(),
        }
    }
}

impl KafkaError for CreatePartitionsError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::CoordinatorTopic { .. } => ErrorCode::InvalidRequest,
            Self::NotBegun => ErrorCode::RequestTimedOut,
            Self::Command(error) => error.kafka(),
        }
    }
}

impl KafkaError for DeleteTopicsError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Disabled => ErrorCode::TopicDeletionDisabled,
            Self::NotBegun => ErrorCode::RequestTimedOut,
            Self::Command(error) => error.kafka(),
        }
    }
}

impl KafkaError for DescribeConfigsError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::InvalidTopicName(_) => ErrorCode::InvalidTopicException,
            Self::UnknownTopic(error) => error.kafka(),
            Self::InvalidBrokerId(_) | Self::InvalidGroupName(_) | Self::AnotherBroker { .. } => {
                ErrorCode::InvalidRequest
            }
        }
    }
}

impl KafkaError for AlterConfigsError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::InvalidTopicName(_) => ErrorCode::InvalidTopicException,
            Self::InvalidBrokerId(_) | Self::InvalidGroupName(_) => ErrorCode::InvalidRequest,
            Self::Command(error) => error.kafka(),
        }
    }
}

impl KafkaError for UpdateFeaturesError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::UnknownFeature { .. } | Self::UnsupportedLevel { .. } => ErrorCode::InvalidUpdateVersion,
            Self::Command(error) => error.kafka(),
        }
    }
}

impl KafkaError for Rejection {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::InvalidTopicName { .. } | Self::NameCollision { .. } => ErrorCode::InvalidTopicException,
            Self::TopicAlreadyExists { .. } => ErrorCode::TopicAlreadyExists,
            Self::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
            Self::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
            Self::TopicIdInUse { .. }
            | Self::DuplicateItem { .. }
            | Self::UnknownBroker { .. }
            | Self::InvalidBrokerConfig { .. } => ErrorCode::InvalidRequest,
            Self::InvalidPartitions { .. } | Self::NotAnIncrease { .. } => ErrorCode::InvalidPartitions,
            Self::TooManyPartitionsInTopic { .. }
            | Self::TooManyPartitionsInCluster { .. }
            | Self::TooManyConfiguredGroups { .. } => ErrorCode::PolicyViolation,
            Self::InvalidReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
            Self::InvalidReplicaAssignment { .. } => ErrorCode::InvalidReplicaAssignment,
            Self::InvalidConfig { .. } => ErrorCode::InvalidConfig,
            Self::InvalidFeatureUpdate { .. } => ErrorCode::InvalidUpdateVersion,
            Self::NotBootstrapped | Self::BrokerIdsExhausted | Self::ProducerIdsExhausted => {
                ErrorCode::UnknownServerError
            }
        }
    }
}

// Transactions.

impl KafkaError for TransactionalIdError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Empty | Self::TooLong { .. } => ErrorCode::InvalidRequest,
        }
    }
}

impl KafkaError for TransactionError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::InvalidTransactionTimeout { .. } => ErrorCode::InvalidTransactionTimeout,
            Self::InvalidProducerIdMapping => ErrorCode::InvalidProducerIdMapping,
            Self::ProducerFenced => ErrorCode::ProducerFenced,
            Self::InvalidTransactionState => ErrorCode::InvalidTxnState,
            Self::ConcurrentTransactions => ErrorCode::ConcurrentTransactions,
            Self::NotInTransaction => ErrorCode::TransactionAbortable,
            Self::TooManyPartitions => ErrorCode::UnknownServerError,
            Self::TransactionalIdNotFound => ErrorCode::TransactionalIdNotFound,
            Self::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
            Self::NotCoordinator => ErrorCode::NotCoordinator,
            Self::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

impl KafkaError for TransactionPartitionError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic(error) => error.kafka(),
            Self::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
            // As in Kafka, where no client may write to an internal topic.
            Self::InternalTopic { .. } => ErrorCode::TopicAuthorizationFailed,
            Self::NotAttempted => ErrorCode::OperationNotAttempted,
            Self::Transaction(error) => error.kafka(),
        }
    }
}

impl KafkaError for ListTransactionsError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::InvalidPattern { .. } => ErrorCode::InvalidRegularExpression,
            Self::Transaction(error) => error.kafka(),
        }
    }
}

impl KafkaError for DescribeProducersError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::InvalidTopicName(_) => ErrorCode::InvalidTopicException,
            Self::Locate(error) => error.kafka(),
        }
    }
}

impl KafkaError for MarkerError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Locate(error) => error.kafka(),
            Self::InternalTopic { .. } => ErrorCode::InvalidTopicException,
            Self::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
            Self::FencedCoordinator { .. } => ErrorCode::TransactionCoordinatorFenced,
            Self::UnknownCoordinatorEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
            Self::TimedOut => ErrorCode::RequestTimedOut,
            Self::Storage(error) => error.kafka(),
            Self::Group(error) => match error.kafka() {
                // To the sender of a marker a coordinator is the leader of a partition.
                ErrorCode::CoordinatorLoadInProgress
                | ErrorCode::CoordinatorNotAvailable
                | ErrorCode::NotCoordinator => ErrorCode::NotLeaderOrFollower,
                code => code,
            },
            Self::Refused(_) => ErrorCode::UnknownServerError,
        }
    }
}

// Groups.

impl KafkaError for FindCoordinatorError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::NoTopic(_) | Self::NotAvailable => ErrorCode::CoordinatorNotAvailable,
        }
    }
}

impl KafkaError for GroupOffsetError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic(error) => error.kafka(),
            Self::UnknownPartition(_) => ErrorCode::UnknownTopicOrPartition,
            Self::Group(error) => error.kafka(),
        }
    }
}

impl KafkaError for OffsetFetchError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::UnknownTopic(error) => error.kafka(),
            Self::Unstable => ErrorCode::UnstableOffsetCommit,
        }
    }
}

impl KafkaError for TransactionalOffsetError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::Offset(error) => error.kafka(),
            Self::Transaction(error) => error.kafka(),
        }
    }
}

impl KafkaError for GroupError {
    fn kafka(&self) -> ErrorCode {
        match self {
            Self::UnknownMemberId => ErrorCode::UnknownMemberId,
            Self::IllegalGeneration => ErrorCode::IllegalGeneration,
            Self::RebalanceInProgress => ErrorCode::RebalanceInProgress,
            Self::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
            Self::InvalidSessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
            Self::MemberIdRequired { .. } => ErrorCode::MemberIdRequired,
            Self::FencedInstanceId => ErrorCode::FencedInstanceId,
            Self::GroupMaxSizeReached { .. } => ErrorCode::GroupMaxSizeReached,
            Self::InvalidGroupId => ErrorCode::InvalidGroupId,
            Self::GroupIdNotFound => ErrorCode::GroupIdNotFound,
            Self::NonEmptyGroup => ErrorCode::NonEmptyGroup,
            Self::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
            Self::OffsetMetadataTooLarge { .. } => ErrorCode::OffsetMetadataTooLarge,
            Self::InvalidProducerEpoch => ErrorCode::InvalidProducerEpoch,
            Self::FencedMemberEpoch => ErrorCode::FencedMemberEpoch,
            Self::StaleMemberEpoch => ErrorCode::StaleMemberEpoch,
            Self::UnreleasedInstanceId => ErrorCode::UnreleasedInstanceId,
            Self::UnsupportedAssignor { .. } => ErrorCode::UnsupportedAssignor,
            Self::InvalidRegularExpression { .. } => ErrorCode::InvalidRegularExpression,
            Self::InvalidHeartbeat { .. } => ErrorCode::InvalidRequest,
            Self::UnsupportedVersion => ErrorCode::UnsupportedVersion,
            Self::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
            Self::NotCoordinator => ErrorCode::NotCoordinator,
            Self::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
            Self::RecordTooLarge => ErrorCode::UnknownServerError,
        }
    }
}

#[cfg(test)]
mod tests;
