//! Creates, extends and deletes topics. The controller decides; the answer comes when the engine
//! and the view have followed, so that a client can use a new topic at once.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use rustmq_broker_core::ErrorKind;
use rustmq_controller_core::configs::EffectiveBrokerConfig;
use rustmq_controller_core::{
    Command, CreatedTopic, DeletedTopic, ExtendedTopic, NewPartitions, NewTopic, Outcome, Placement, Rejection,
    TopicSelector,
};
use rustmq_model::{BrokerId, TopicId};
use tokio::time::timeout;

use crate::clock::wall_clock;
use crate::command::{CommandError, each};
use crate::refusals::Refusals;
use crate::session::Session;
use crate::view::{OFFSETS_TOPIC, TRANSACTIONS_TOPIC, TopicRef, is_reserved};

/// Whether a request makes its changes, or only validates them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Apply,
    ValidateOnly,
}

impl Mode {
    pub(crate) fn is_validate_only(self) -> bool {
        self == Self::ValidateOnly
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicCreation {
    pub name: String,
    pub placement: TopicPlacement,
    /// `None` stands for null on the wire, which is refused.
    pub configs: BTreeMap<String, Option<String>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicPlacement {
    /// `None` takes `num.partitions` and `default.replication.factor`.
    Count { partitions: Option<i32>, replication_factor: Option<i16> },
    /// Replicas by partition id.
    Manual(BTreeMap<i32, Vec<BrokerId>>),
}

/// Why a topic is not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreateTopicsError {
    #[error("The topic {name} is the cluster's own: clients cannot create it.")]
    ReservedName { name: String },
    #[error("Excessively large number of partitions per request: it may create {PARTITIONS_PER_REQUEST_MAX} of them.")]
    TooManyPartitions,
    /// Nothing was done.
    #[error("Creating topics did not begin within the request's timeout.")]
    NotBegun,
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl CreateTopicsError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::ReservedName { .. } | Self::TooManyPartitions => ErrorKind::Invalid,
            Self::NotBegun => ErrorKind::Retry,
            Self::Command(error) => error.kind(),
        }
    }
}

/// Why a topic that a request needs does not exist and was not created.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AutoCreationError {
    /// The topic may still be created.
    #[error("Creating the topic took longer than the request's timeout.")]
    TimedOut,
    #[error(transparent)]
    Refused(#[from] CreateTopicsError),
}

impl AutoCreationError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::TimedOut => ErrorKind::Retry,
            Self::Refused(error) => error.kind(),
        }
    }
}

/// Why a topic is not deleted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DeleteTopicsError {
    #[error("Topics cannot be deleted here: delete.topic.enable is false.")]
    Disabled,
    /// Nothing was done.
    #[error("Deleting topics did not begin within the request's timeout.")]
    NotBegun,
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl DeleteTopicsError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Disabled => ErrorKind::Invalid,
            Self::NotBegun => ErrorKind::Retry,
            Self::Command(error) => error.kind(),
        }
    }
}

/// Why a topic gets no further partitions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CreatePartitionsError {
    #[error(
        "The partitions of {topic} cannot be added to: coordinators are found by their number, and would lose their state."
    )]
    CoordinatorTopic { topic: &'static str },
    /// Nothing was done.
    #[error("Creating partitions did not begin within the request's timeout.")]
    NotBegun,
    #[error(transparent)]
    Command(#[from] CommandError),
}

impl CreatePartitionsError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::CoordinatorTopic { .. } => ErrorKind::Invalid,
            Self::NotBegun => ErrorKind::Retry,
            Self::Command(error) => error.kind(),
        }
    }
}

/// The most partitions that one request may create with new topics: Kafka's limit. A command is
/// stored before it is judged, and all later commands wait for it.
const PARTITIONS_PER_REQUEST_MAX: u64 = 10_000;

/// The longest wait for an auto-creation; then the client has to ask again.
const AUTO_CREATION_TIMEOUT: Duration = Duration::from_secs(10);

impl Session {
    /// Creates topics. The results have the order of the request; an error of one topic does not
    /// affect the others. The session's deadline bounds the wait for the command's turn, here and
    /// below: with `NotBegun` the request has no effect, and a command that has begun is answered
    /// when it is done.
    pub async fn create_topics(
        &self,
        topics: Vec<TopicCreation>,
        mode: Mode,
    ) -> Vec<Result<CreatedTopic, CreateTopicsError>> {
        let settings = self.broker.effective_config();
        let judge = |topic: TopicCreation| match is_reserved(&topic.name) {
            true => Err(CreateTopicsError::ReservedName { name: topic.name }),
            false => Ok(new_topic(topic, &settings)),
        };
        let (topics, refusals) = Refusals::split(topics.into_iter().map(judge));
        refusals.join(self.create_accepted(topics, mode).await)
    }

    async fn create_accepted(
        &self,
        topics: Vec<NewTopic>,
        mode: Mode,
    ) -> Result<Vec<Result<CreatedTopic, CreateTopicsError>>, CreateTopicsError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        if topics.iter().map(partitions_wanted).sum::<u64>() > PARTITIONS_PER_REQUEST_MAX {
            return Err(CreateTopicsError::TooManyPartitions);
        }
        let limits = self.broker.config.limits.partitions;
        let now = wall_clock();
        let command = Command::CreateTopics { topics, limits, validate_only: mode.is_validate_only(), now };
        match self.broker.submit_within(command, self.time_left(), CreateTopicsError::NotBegun).await? {
            Outcome::TopicsCreated(results) => Ok(each(results)),
            other => Err(CommandError::unexpected(&other).into()),
        }
    }

    /// Deletes topics with all their records.
    pub async fn delete_topics(&self, topics: Vec<TopicRef>) -> Vec<Result<DeletedTopic, DeleteTopicsError>> {
        let is_enabled = self.broker.effective_config().delete_topics;
        let judge = |topic| match topic {
            _ if !is_enabled => Err(DeleteTopicsError::Disabled),
            TopicRef::Name(name) => Ok(TopicSelector::Name(name)),
            TopicRef::Id(id) => Ok(TopicSelector::Id(id)),
        };
        let (topics, refusals) = Refusals::split(topics.into_iter().map(judge));
        refusals.join(self.delete_accepted(topics).await)
    }

    async fn delete_accepted(
        &self,
        topics: Vec<TopicSelector>,
    ) -> Result<Vec<Result<DeletedTopic, DeleteTopicsError>>, DeleteTopicsError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let command = Command::DeleteTopics { topics };
        match self.broker.submit_within(command, self.time_left(), DeleteTopicsError::NotBegun).await? {
            Outcome::TopicsDeleted(results) => Ok(each(results)),
            other => Err(CommandError::unexpected(&other).into()),
        }
    }

    /// Gives topics more partitions. The results have the order of the request.
    pub async fn create_partitions(
        &self,
        topics: Vec<NewPartitions>,
        mode: Mode,
    ) -> Vec<Result<ExtendedTopic, CreatePartitionsError>> {
        let judge = |topic: NewPartitions| match topic.name.as_str() {
            OFFSETS_TOPIC => Err(CreatePartitionsError::CoordinatorTopic { topic: OFFSETS_TOPIC }),
            TRANSACTIONS_TOPIC => Err(CreatePartitionsError::CoordinatorTopic { topic: TRANSACTIONS_TOPIC }),
            _ => Ok(topic),
        };
        let (topics, refusals) = Refusals::split(topics.into_iter().map(judge));
        refusals.join(self.extend_accepted(topics, mode).await)
    }

    async fn extend_accepted(
        &self,
        topics: Vec<NewPartitions>,
        mode: Mode,
    ) -> Result<Vec<Result<ExtendedTopic, CreatePartitionsError>>, CreatePartitionsError> {
        if topics.is_empty() {
            return Ok(Vec::new());
        }
        let limits = self.broker.config.limits.partitions;
        let command = Command::CreatePartitions { topics, limits, validate_only: mode.is_validate_only() };
        match self.broker.submit_within(command, self.time_left(), CreatePartitionsError::NotBegun).await? {
            Outcome::PartitionsCreated(results) => Ok(each(results)),
            other => Err(CommandError::unexpected(&other).into()),
        }
    }

    /// Creates topics that a request needs and that do not exist, also those of coordinators, whose
    /// names clients may not use. Returns the topics that were not created, with the reasons.
    pub(crate) async fn auto_create(&self, names: Vec<String>) -> HashMap<String, AutoCreationError> {
        let settings = self.broker.effective_config();
        let brokers = self.broker.view.read().state.brokers().len();
        let creation = |name: &String| match name.as_str() {
            OFFSETS_TOPIC => offsets_topic(&settings, brokers),
            TRANSACTIONS_TOPIC => transactions_topic(&settings, brokers),
            _ => TopicCreation {
                name: name.clone(),
                placement: TopicPlacement::Count { partitions: None, replication_factor: None },
                configs: BTreeMap::new(),
            },
        };
        let mut distinct = names;
        distinct.sort_unstable();
        distinct.dedup();
        let topics = distinct.iter().map(|name| new_topic(creation(name), &settings)).collect();
        let session = self.with_timeout(AUTO_CREATION_TIMEOUT);
        let created = session.create_accepted(topics, Mode::Apply);
        let results = match timeout(AUTO_CREATION_TIMEOUT, created).await {
            Ok(Ok(results)) => results,
            Ok(Err(error)) => return distinct.into_iter().map(|name| (name, error.clone().into())).collect(),
            Err(_) => return distinct.into_iter().map(|name| (name, AutoCreationError::TimedOut)).collect(),
        };
        let failed = |(name, result): (String, Result<CreatedTopic, CreateTopicsError>)| match result {
            // Another request has created it meanwhile.
            Ok(_) | Err(CreateTopicsError::Command(CommandError::Rejected(Rejection::TopicAlreadyExists { .. }))) => {
                None
            }
            Err(error) => Some((name, error.into())),
        };
        distinct.into_iter().zip(results).filter_map(failed).collect()
    }
}

/// The number of new partitions, as Kafka counts them: a count that is not positive adds none, and
/// is refused later for its topic alone.
fn partitions_wanted(topic: &NewTopic) -> u64 {
    match &topic.placement {
        Placement::Count { partitions, .. } => u64::try_from(*partitions).unwrap_or(0),
        Placement::Manual(assignments) => assignments.len() as u64,
    }
}

fn new_topic(topic: TopicCreation, settings: &EffectiveBrokerConfig) -> NewTopic {
    let placement = match topic.placement {
        TopicPlacement::Manual(assignments) => Placement::Manual(assignments),
        TopicPlacement::Count { partitions, replication_factor } => Placement::Count {
            partitions: partitions.unwrap_or(settings.num_partitions),
            replication_factor: replication_factor.unwrap_or(settings.default_replication_factor),
        },
    };
    // The id is random, so that a new topic under an old name is another topic.
    let id = TopicId(uuid::Uuid::new_v4().as_u128());
    NewTopic { name: topic.name, id, placement, configs: topic.configs }
}

/// The topic of committed offsets, with as many replicas as there are brokers for.
fn offsets_topic(settings: &EffectiveBrokerConfig, brokers: usize) -> TopicCreation {
    let (partitions, factor) = (settings.offsets_topic_partitions, settings.offsets_topic_replication_factor);
    let configs = [("cleanup.policy", "compact"), ("compression.type", "producer"), ("segment.bytes", "104857600")];
    coordinator_topic(OFFSETS_TOPIC, partitions, replicas(factor, brokers), &configs)
}

/// The topic of transactional ids, in the same way.
fn transactions_topic(settings: &EffectiveBrokerConfig, brokers: usize) -> TopicCreation {
    let (partitions, factor) = (settings.transaction_topic_partitions, settings.transaction_topic_replication_factor);
    let configs = [("cleanup.policy", "compact"), ("compression.type", "uncompressed"), ("segment.bytes", "104857600")];
    coordinator_topic(TRANSACTIONS_TOPIC, partitions, replicas(factor, brokers), &configs)
}

fn replicas(wanted: i16, brokers: usize) -> i16 {
    wanted.min(i16::try_from(brokers).unwrap_or(i16::MAX))
}

fn coordinator_topic(name: &str, partitions: i32, replication_factor: i16, configs: &[(&str, &str)]) -> TopicCreation {
    let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    TopicCreation {
        name: name.to_owned(),
        placement: TopicPlacement::Count { partitions: Some(partitions), replication_factor: Some(replication_factor) },
        configs: configs.collect(),
    }
}
