//! Errors of the commands that change metadata.

use rustmq_broker_core::ErrorKind;
use rustmq_controller_api::SubmitError;
use rustmq_controller_core::{Outcome, Rejection};

/// Why a command, or one item of it, was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    /// The controller has rejected it. The inner error has the reason.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    #[error("The controller does not answer: {0}.")]
    Unavailable(#[from] SubmitError),
    /// A defect: the answer does not belong to this kind of command.
    #[error("The controller does not answer: it answered as if to another command.")]
    UnexpectedOutcome,
    /// The command has taken effect, but this broker stops before its view shows the change.
    #[error("The broker is shutting down.")]
    Stopping,
}

impl CommandError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Rejected(rejection) => rejection_kind(rejection),
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::UnexpectedOutcome => ErrorKind::Internal,
            Self::Stopping => ErrorKind::RefreshMetadata,
        }
    }

    pub(crate) fn unexpected(outcome: &Outcome) -> Self {
        tracing::error!(?outcome, "the controller answered as if to another command");
        Self::UnexpectedOutcome
    }
}

/// The controller's results, with rejections as errors of the operation.
pub(crate) fn each<T, E: From<CommandError>>(results: Vec<Result<T, Rejection>>) -> Vec<Result<T, E>> {
    results.into_iter().map(|result| result.map_err(|rejection| CommandError::from(rejection).into())).collect()
}

const fn rejection_kind(rejection: &Rejection) -> ErrorKind {
    match rejection {
        Rejection::UnknownTopic { .. } | Rejection::UnknownTopicId { .. } => ErrorKind::RefreshMetadata,
        Rejection::InvalidTopicName { .. }
        | Rejection::TopicAlreadyExists { .. }
        | Rejection::NameCollision { .. }
        | Rejection::TopicIdInUse { .. }
        | Rejection::DuplicateItem { .. }
        | Rejection::InvalidPartitions { .. }
        | Rejection::NotAnIncrease { .. }
        | Rejection::TooManyPartitionsInTopic { .. }
        | Rejection::TooManyPartitionsInCluster { .. }
        | Rejection::InvalidReplicationFactor { .. }
        | Rejection::InvalidReplicaAssignment { .. }
        | Rejection::InvalidConfig { .. }
        | Rejection::InvalidBrokerConfig { .. }
        | Rejection::TooManyConfiguredGroups { .. }
        | Rejection::UnknownBroker { .. }
        | Rejection::InvalidFeatureUpdate { .. } => ErrorKind::Invalid,
        Rejection::NotBootstrapped | Rejection::BrokerIdsExhausted | Rejection::ProducerIdsExhausted => {
            ErrorKind::Internal
        }
    }
}
