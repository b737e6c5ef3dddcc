//! The errors of group requests.
//!
//! Each variant corresponds to one Kafka error code; the gateway has the table.

use super::identity::MemberId;
use crate::ErrorKind;
use crate::coordinator::{AppendFailure, CoordinatorError};

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
    #[error("the coordinator is loading its groups; try again")]
    CoordinatorLoadInProgress,
    #[error("this broker is not the group's coordinator")]
    NotCoordinator,
    /// The record was not written, the group is being deleted, or a limit is reached. All three may
    /// pass.
    #[error("the coordinator cannot serve the group now; try again")]
    CoordinatorNotAvailable,
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
            | Self::FencedInstanceId => ErrorKind::Fenced,
            Self::InconsistentGroupProtocol
            | Self::InvalidSessionTimeout { .. }
            | Self::GroupMaxSizeReached { .. }
            | Self::InvalidGroupId
            | Self::GroupIdNotFound
            | Self::NonEmptyGroup
            | Self::GroupSubscribedToTopic
            | Self::OffsetMetadataTooLarge { .. }
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
            AppendFailure::NotLeader => Self::NotCoordinator,
        }
    }
}
