//! Every refusal of the broker and its Kafka error code: the one place where the two meet. Both
//! maps are exhaustive, so that a new refusal does not compile before it has a code.

use kafka_protocol::ResponseError;
use kafka_protocol::protocol::StrBytes;
use rustmq_broker_service::groups::GroupError;
use rustmq_broker_service::{BrokerError, Rejection};

/// No error.
pub const NONE: i16 = 0;

pub const UNSUPPORTED_VERSION: i16 = ResponseError::UnsupportedVersion.code();
pub const INVALID_REQUIRED_ACKS: i16 = ResponseError::InvalidRequiredAcks.code();
pub const INVALID_REQUEST: i16 = ResponseError::InvalidRequest.code();
pub const INVALID_REPLICA_ASSIGNMENT: i16 = ResponseError::InvalidReplicaAssignment.code();
pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = ResponseError::UnknownTopicOrPartition.code();
pub const LEADER_NOT_AVAILABLE: i16 = ResponseError::LeaderNotAvailable.code();
pub const COORDINATOR_NOT_AVAILABLE: i16 = ResponseError::CoordinatorNotAvailable.code();
pub const GROUP_ID_NOT_FOUND: i16 = ResponseError::GroupIdNotFound.code();
pub const FETCH_SESSION_ID_NOT_FOUND: i16 = ResponseError::FetchSessionIdNotFound.code();
pub const INVALID_FETCH_SESSION_EPOCH: i16 = ResponseError::InvalidFetchSessionEpoch.code();
pub const FETCH_SESSION_TOPIC_ID_ERROR: i16 = ResponseError::FetchSessionTopicIdError.code();
pub const INCONSISTENT_TOPIC_ID: i16 = ResponseError::InconsistentTopicId.code();
pub const UNSUPPORTED_COMPRESSION_TYPE: i16 = ResponseError::UnsupportedCompressionType.code();
pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = ResponseError::TransactionalIdAuthorizationFailed.code();
pub const MISMATCHED_ENDPOINT_TYPE: i16 = ResponseError::MismatchedEndpointType.code();

/// The code of a refusal.
pub const fn code(error: &BrokerError) -> i16 {
    kafka(error).code()
}

/// The code of a coordinator's refusal.
pub const fn group_code(error: &GroupError) -> i16 {
    group(error).code()
}

/// The code of a result.
pub fn outcome<T>(result: &Result<T, BrokerError>) -> i16 {
    result.as_ref().err().map_or(NONE, code)
}

/// The code of a coordinator's result.
pub fn group_outcome<T>(result: &Result<T, GroupError>) -> i16 {
    result.as_ref().err().map_or(NONE, group_code)
}

/// The text that goes with a code.
pub fn message(error: &BrokerError) -> Option<StrBytes> {
    Some(StrBytes::from_string(error.to_string()))
}

const fn kafka(error: &BrokerError) -> ResponseError {
    match error {
        BrokerError::UnknownTopic { .. } | BrokerError::UnknownPartition { .. } => {
            ResponseError::UnknownTopicOrPartition
        }
        BrokerError::UnknownTopicId { .. } => ResponseError::UnknownTopicId,
        BrokerError::InvalidTopicName { .. } | BrokerError::InternalTopic { .. } => {
            ResponseError::InvalidTopicException
        }
        BrokerError::NotLeader { .. } => ResponseError::NotLeaderOrFollower,
        BrokerError::FencedLeaderEpoch { .. } => ResponseError::FencedLeaderEpoch,
        BrokerError::UnknownLeaderEpoch { .. } => ResponseError::UnknownLeaderEpoch,
        BrokerError::OffsetOutOfRange { .. } => ResponseError::OffsetOutOfRange,
        BrokerError::CorruptBatch { .. } => ResponseError::CorruptMessage,
        BrokerError::UnsupportedCompression { .. } => ResponseError::UnsupportedCompressionType,
        BrokerError::InvalidRecord { .. } => ResponseError::InvalidRecord,
        BrokerError::InvalidTimestamp { .. } => ResponseError::InvalidTimestamp,
        // Kafka's code for what does not decompress, which producers do not send again.
        BrokerError::UndecodableRecords { .. } => ResponseError::UnknownServerError,
        BrokerError::RecordTooLarge { .. } | BrokerError::DecompressedTooLarge { .. } => ResponseError::MessageTooLarge,
        BrokerError::NotEnoughReplicas { .. } => ResponseError::NotEnoughReplicas,
        BrokerError::RequestTimedOut { .. } | BrokerError::NotBegun { .. } => ResponseError::RequestTimedOut,
        BrokerError::OutOfOrderSequence { .. } => ResponseError::OutOfOrderSequenceNumber,
        BrokerError::InvalidProducerEpoch { .. } => ResponseError::InvalidProducerEpoch,
        BrokerError::InvalidTransaction { .. } => ResponseError::InvalidTxnState,
        // Retriable for producers and consumers alike; consumers take a timeout in a fetch for a
        // broker gone mad.
        BrokerError::Busy { .. }
        | BrokerError::TooManyProducers { .. }
        | BrokerError::StorageFull
        | BrokerError::Storage { .. } => ResponseError::KafkaStorageError,
        BrokerError::ControllerUnavailable { .. } => ResponseError::RequestTimedOut,
        BrokerError::PolicyViolation { .. } => ResponseError::PolicyViolation,
        BrokerError::InvalidRequest { .. } => ResponseError::InvalidRequest,
        BrokerError::Unsupported { .. } => ResponseError::UnsupportedVersion,
        BrokerError::TopicDeletionDisabled => ResponseError::TopicDeletionDisabled,
        BrokerError::Rejected(rejection) => rejected(rejection),
        BrokerError::Group(error) => group(error),
        // Clients ask for metadata again and come back, here or elsewhere.
        BrokerError::Stopping => ResponseError::NotLeaderOrFollower,
    }
}

const fn rejected(rejection: &Rejection) -> ResponseError {
    match rejection {
        Rejection::InvalidTopicName { .. } | Rejection::NameCollision { .. } => ResponseError::InvalidTopicException,
        Rejection::TopicAlreadyExists { .. } => ResponseError::TopicAlreadyExists,
        Rejection::UnknownTopic { .. } => ResponseError::UnknownTopicOrPartition,
        Rejection::UnknownTopicId { .. } => ResponseError::UnknownTopicId,
        Rejection::TopicIdInUse { .. }
        | Rejection::DuplicateItem { .. }
        | Rejection::UnknownBroker { .. }
        | Rejection::InvalidBrokerConfig { .. } => ResponseError::InvalidRequest,
        Rejection::InvalidPartitions { .. } | Rejection::NotAnIncrease { .. } => ResponseError::InvalidPartitions,
        Rejection::TooManyPartitionsInTopic { .. } | Rejection::TooManyPartitionsInCluster { .. } => {
            ResponseError::PolicyViolation
        }
        Rejection::InvalidReplicationFactor { .. } => ResponseError::InvalidReplicationFactor,
        Rejection::InvalidReplicaAssignment { .. } => ResponseError::InvalidReplicaAssignment,
        Rejection::InvalidConfig { .. } => ResponseError::InvalidConfig,
        Rejection::InvalidFeatureLevel { .. } => ResponseError::InvalidUpdateVersion,
        Rejection::NotBootstrapped | Rejection::BrokerIdsExhausted | Rejection::ProducerIdsExhausted => {
            ResponseError::UnknownServerError
        }
    }
}

const fn group(error: &GroupError) -> ResponseError {
    match error {
        GroupError::UnknownMemberId => ResponseError::UnknownMemberId,
        GroupError::IllegalGeneration => ResponseError::IllegalGeneration,
        GroupError::RebalanceInProgress => ResponseError::RebalanceInProgress,
        GroupError::InconsistentGroupProtocol => ResponseError::InconsistentGroupProtocol,
        GroupError::InvalidSessionTimeout { .. } => ResponseError::InvalidSessionTimeout,
        GroupError::MemberIdRequired { .. } => ResponseError::MemberIdRequired,
        GroupError::FencedInstanceId => ResponseError::FencedInstanceId,
        GroupError::GroupMaxSizeReached { .. } => ResponseError::GroupMaxSizeReached,
        GroupError::InvalidGroupId => ResponseError::InvalidGroupId,
        GroupError::GroupIdNotFound => ResponseError::GroupIdNotFound,
        GroupError::NonEmptyGroup => ResponseError::NonEmptyGroup,
        GroupError::GroupSubscribedToTopic => ResponseError::GroupSubscribedToTopic,
        GroupError::OffsetMetadataTooLarge { .. } => ResponseError::OffsetMetadataTooLarge,
        GroupError::CoordinatorLoadInProgress => ResponseError::CoordinatorLoadInProgress,
        GroupError::NotCoordinator => ResponseError::NotCoordinator,
        GroupError::CoordinatorNotAvailable => ResponseError::CoordinatorNotAvailable,
        GroupError::RecordTooLarge => ResponseError::UnknownServerError,
    }
}

#[cfg(test)]
mod tests;
