//! Every refusal of the broker and its Kafka error code: the one place where the two meet. Both
//! maps are exhaustive, so that a new refusal does not compile before it has a code.

use std::fmt::Display;

use rustmq_broker_service::groups::GroupError;
use rustmq_broker_service::{BrokerError, Rejection};
use rustmq_kafka_codec_messages::ErrorCode;

/// No error.
pub const NONE: i16 = 0;

/// The longest text of the protocol, in bytes.
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
pub const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = ErrorCode::TransactionalIdAuthorizationFailed as i16;
pub const REBOOTSTRAP_REQUIRED: i16 = ErrorCode::RebootstrapRequired as i16;
pub const MISMATCHED_ENDPOINT_TYPE: i16 = ErrorCode::MismatchedEndpointType as i16;

/// The code of a refusal.
pub const fn code(error: &BrokerError) -> i16 {
    kafka(error) as i16
}

/// The code of a coordinator's refusal.
pub const fn group_code(error: &GroupError) -> i16 {
    group(error) as i16
}

/// The code of a result.
pub fn outcome<T>(result: &Result<T, BrokerError>) -> i16 {
    result.as_ref().err().map_or(NONE, code)
}

/// The code of a coordinator's result.
pub fn group_outcome<T>(result: &Result<T, GroupError>) -> i16 {
    result.as_ref().err().map_or(NONE, group_code)
}

/// The text that goes with a code. One that quotes a long name is cut to what a response can carry:
/// the refusal would be lost with its connection otherwise.
pub fn message(error: &(impl Display + ?Sized)) -> Option<String> {
    let mut text = error.to_string();
    text.truncate(text.floor_char_boundary(TEXT_BYTES_MAX));
    Some(text)
}

const fn kafka(error: &BrokerError) -> ErrorCode {
    match error {
        BrokerError::UnknownTopic { .. } | BrokerError::UnknownPartition { .. } => ErrorCode::UnknownTopicOrPartition,
        BrokerError::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
        BrokerError::InvalidTopicName { .. } | BrokerError::InternalTopic { .. } => ErrorCode::InvalidTopicException,
        BrokerError::NotLeader { .. } => ErrorCode::NotLeaderOrFollower,
        BrokerError::FencedLeaderEpoch { .. } => ErrorCode::FencedLeaderEpoch,
        BrokerError::UnknownLeaderEpoch { .. } => ErrorCode::UnknownLeaderEpoch,
        BrokerError::OffsetOutOfRange { .. } => ErrorCode::OffsetOutOfRange,
        BrokerError::CorruptBatch { .. } => ErrorCode::CorruptMessage,
        BrokerError::UnsupportedCompression { .. } => ErrorCode::UnsupportedCompressionType,
        BrokerError::InvalidRecord { .. } => ErrorCode::InvalidRecord,
        BrokerError::InvalidTimestamp { .. } => ErrorCode::InvalidTimestamp,
        // Kafka's code for what does not decompress, which producers do not send again.
        BrokerError::UndecodableRecords { .. } => ErrorCode::UnknownServerError,
        BrokerError::RecordTooLarge { .. } | BrokerError::DecompressedTooLarge { .. } => ErrorCode::MessageTooLarge,
        BrokerError::NotEnoughReplicas { .. } => ErrorCode::NotEnoughReplicas,
        BrokerError::RequestTimedOut { .. } | BrokerError::NotBegun { .. } => ErrorCode::RequestTimedOut,
        BrokerError::OutOfOrderSequence { .. } => ErrorCode::OutOfOrderSequenceNumber,
        BrokerError::InvalidProducerEpoch { .. } => ErrorCode::InvalidProducerEpoch,
        BrokerError::InvalidTransaction { .. } => ErrorCode::InvalidTxnState,
        // Retriable for producers and consumers alike; consumers take a timeout in a fetch for a
        // broker gone mad.
        BrokerError::Busy { .. }
        | BrokerError::TooManyProducers { .. }
        | BrokerError::StorageFull
        | BrokerError::Storage { .. } => ErrorCode::KafkaStorageError,
        BrokerError::ControllerUnavailable { .. } => ErrorCode::RequestTimedOut,
        BrokerError::PolicyViolation { .. } => ErrorCode::PolicyViolation,
        BrokerError::InvalidRequest { .. } => ErrorCode::InvalidRequest,
        BrokerError::Unsupported { .. } => ErrorCode::UnsupportedVersion,
        BrokerError::TopicDeletionDisabled => ErrorCode::TopicDeletionDisabled,
        BrokerError::Rejected(rejection) => rejected(rejection),
        BrokerError::Group(error) => group(error),
        // Clients ask for metadata again and come back, here or elsewhere.
        BrokerError::Stopping => ErrorCode::NotLeaderOrFollower,
    }
}

const fn rejected(rejection: &Rejection) -> ErrorCode {
    match rejection {
        Rejection::InvalidTopicName { .. } | Rejection::NameCollision { .. } => ErrorCode::InvalidTopicException,
        Rejection::TopicAlreadyExists { .. } => ErrorCode::TopicAlreadyExists,
        Rejection::UnknownTopic { .. } => ErrorCode::UnknownTopicOrPartition,
        Rejection::UnknownTopicId { .. } => ErrorCode::UnknownTopicId,
        Rejection::TopicIdInUse { .. }
        | Rejection::DuplicateItem { .. }
        | Rejection::UnknownBroker { .. }
        | Rejection::InvalidBrokerConfig { .. } => ErrorCode::InvalidRequest,
        Rejection::InvalidPartitions { .. } | Rejection::NotAnIncrease { .. } => ErrorCode::InvalidPartitions,
        Rejection::TooManyPartitionsInTopic { .. } | Rejection::TooManyPartitionsInCluster { .. } => {
            ErrorCode::PolicyViolation
        }
        Rejection::InvalidReplicationFactor { .. } => ErrorCode::InvalidReplicationFactor,
        Rejection::InvalidReplicaAssignment { .. } => ErrorCode::InvalidReplicaAssignment,
        Rejection::InvalidConfig { .. } => ErrorCode::InvalidConfig,
        Rejection::InvalidFeatureLevel { .. } => ErrorCode::InvalidUpdateVersion,
        Rejection::NotBootstrapped | Rejection::BrokerIdsExhausted | Rejection::ProducerIdsExhausted => {
            ErrorCode::UnknownServerError
        }
    }
}

const fn group(error: &GroupError) -> ErrorCode {
    match error {
        GroupError::UnknownMemberId => ErrorCode::UnknownMemberId,
        GroupError::IllegalGeneration => ErrorCode::IllegalGeneration,
        GroupError::RebalanceInProgress => ErrorCode::RebalanceInProgress,
        GroupError::InconsistentGroupProtocol => ErrorCode::InconsistentGroupProtocol,
        GroupError::InvalidSessionTimeout { .. } => ErrorCode::InvalidSessionTimeout,
        GroupError::MemberIdRequired { .. } => ErrorCode::MemberIdRequired,
        GroupError::FencedInstanceId => ErrorCode::FencedInstanceId,
        GroupError::GroupMaxSizeReached { .. } => ErrorCode::GroupMaxSizeReached,
        GroupError::InvalidGroupId => ErrorCode::InvalidGroupId,
        GroupError::GroupIdNotFound => ErrorCode::GroupIdNotFound,
        GroupError::NonEmptyGroup => ErrorCode::NonEmptyGroup,
        GroupError::GroupSubscribedToTopic => ErrorCode::GroupSubscribedToTopic,
        GroupError::OffsetMetadataTooLarge { .. } => ErrorCode::OffsetMetadataTooLarge,
        GroupError::CoordinatorLoadInProgress => ErrorCode::CoordinatorLoadInProgress,
        GroupError::NotCoordinator => ErrorCode::NotCoordinator,
        GroupError::CoordinatorNotAvailable => ErrorCode::CoordinatorNotAvailable,
        GroupError::RecordTooLarge => ErrorCode::UnknownServerError,
    }
}

#[cfg(test)]
mod tests {
    use rustmq_broker_service::BrokerError;
    use rustmq_kafka_codec_messages::ErrorCode;

    use super::code;

    #[test]
    fn a_read_that_has_to_wait_has_a_code_that_consumers_expect_of_a_fetch() {
        let busy = BrokerError::Busy { what: "The queue of reads from disk" };
        assert_eq!(code(&busy), ErrorCode::KafkaStorageError as i16);
    }
}
