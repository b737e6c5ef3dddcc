//! The errors of group requests.
//!
//! Each variant corresponds to one Kafka error code; the gateway has the table.

use super::identity::MemberId;
use crate::ErrorKind;
use crate::coordinator::{AppendFailure, CoordinatorError};
use crate::pattern::InvalidPattern;

/// Why a whole request is refused, or one partition or member of it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    #[error("the member is not known to the group's coordinator")]
    UnknownMemberId,
    #[error("the generation is not the group's current one")]
    IllegalGeneration,
    #[error("the group is rebalancing, so a rejoin is needed")]
    RebalanceInProgress,
    #[error("the member's protocol type or protocols do not fit those of the group")]
    InconsistentGroupProtocol,
    #[error("the session timeout of {session_timeout_ms} ms is outside {min_ms} ms to {max_ms} ms")]
    InvalidSessionTimeout { session_timeout_ms: u64, min_ms: u64, max_ms: u64 },
    /// The first join of a dynamic member: join again with this id (KIP-394).
    #[error("join again with the member id '{member_id}'")]
    MemberIdRequired { member_id: MemberId },
    #[error("another member has taken over this group instance id")]
    FencedInstanceId,
    #[error("the group has reached its size limit of {size_max} members")]
    GroupMaxSizeReached { size_max: usize },
    #[error("the group id is not valid")]
    InvalidGroupId,
    #[error("the group does not exist")]
    GroupIdNotFound,
    #[error("the group has members")]
    NonEmptyGroup,
    #[error("the group is subscribed to the topic")]
    GroupSubscribedToTopic,
    #[error("the metadata of a committed offset has {length} characters, over the limit of {length_max}")]
    OffsetMetadataTooLarge { length: usize, length_max: usize },
    /// The member stated an epoch that is not its own, or it has been replaced: it gives up all
    /// partitions and joins again (KIP-848).
    #[error("the member epoch is not the member's current one")]
    FencedMemberEpoch,
    /// Commits and fetches of offsets with an older member epoch: the client tries again with the
    /// current one.
    #[error("the member epoch is not the member's current one")]
    StaleMemberEpoch,
    #[error("another member uses this group instance id")]
    UnreleasedInstanceId,
    #[error("the assignor is not supported; supported assignors: {supported}")]
    UnsupportedAssignor { supported: String },
    #[error("the regular expression is not valid: {reason}")]
    InvalidRegularExpression { reason: String },
    /// A heartbeat of a consumer group contradicts itself.
    #[error("{reason}")]
    InvalidHeartbeat { reason: &'static str },
    /// The request's version is too old for a member of a consumer group.
    #[error("members of a consumer group need a newer version of this request")]
    UnsupportedVersion,
    #[error("the coordinator is loading its groups; try again")]
    CoordinatorLoadInProgress,
    #[error("this broker is not the group's coordinator")]
    NotCoordinator,
    /// The record was not written, the group is being deleted, or a limit is reached. All three may
    /// pass.
    #[error("the coordinator cannot serve the group now; try again")]
    CoordinatorNotAvailable,
    /// The producer has been replaced by a newer one, or a marker is not of the open transaction.
    #[error("the producer epoch is older than the producer's current one")]
    InvalidProducerEpoch,
    /// The coordinator's record is over the size limit of its log: trying again does not help.
    #[error("the group's record is too large to be stored")]
    RecordTooLarge,
}

impl GroupError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            // The member takes part again under the id and in the generation that the answer to its
            // next join names.
            Self::UnknownMemberId
            | Self::IllegalGeneration
            | Self::RebalanceInProgress
            | Self::MemberIdRequired { .. }
            | Self::FencedMemberEpoch
            | Self::StaleMemberEpoch
            | Self::InvalidProducerEpoch
            | Self::FencedInstanceId => ErrorKind::Fenced,
            Self::InconsistentGroupProtocol
            | Self::InvalidSessionTimeout { .. }
            | Self::GroupMaxSizeReached { .. }
            | Self::InvalidGroupId
            | Self::GroupIdNotFound
            | Self::NonEmptyGroup
            | Self::GroupSubscribedToTopic
            | Self::OffsetMetadataTooLarge { .. }
            | Self::UnreleasedInstanceId
            | Self::UnsupportedAssignor { .. }
            | Self::InvalidRegularExpression { .. }
            | Self::InvalidHeartbeat { .. }
            | Self::UnsupportedVersion
            | Self::RecordTooLarge => ErrorKind::Invalid,
            Self::CoordinatorLoadInProgress => ErrorKind::Retry,
            Self::NotCoordinator => ErrorKind::RefreshMetadata,
            Self::CoordinatorNotAvailable => ErrorKind::Unavailable,
        }
    }
}

impl From<CoordinatorError> for GroupError {
    fn from(error: CoordinatorError) -> Self {
        match error {
            CoordinatorError::Loading => Self::CoordinatorLoadInProgress,
            CoordinatorError::Overloaded => Self::CoordinatorNotAvailable,
            CoordinatorError::Resigned => Self::NotCoordinator,
        }
    }
}

impl From<AppendFailure> for GroupError {
    fn from(failure: AppendFailure) -> Self {
        match failure {
            AppendFailure::Unavailable => Self::CoordinatorNotAvailable,
            AppendFailure::TooLarge => Self::RecordTooLarge,
            AppendFailure::InvalidProducerEpoch => Self::InvalidProducerEpoch,
            AppendFailure::NotLeader => Self::NotCoordinator,
        }
    }
}

impl From<InvalidPattern> for GroupError {
    fn from(InvalidPattern { reason }: InvalidPattern) -> Self {
        Self::InvalidRegularExpression { reason }
    }
}
