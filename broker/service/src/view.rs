//! This broker's view of the cluster: its copy of the controller's state, joined with the engine's
//! readers.
//!
//! The view shows a topic only when its partitions are open in the engine, so that a caller that
//! finds it can use it. Only the metadata follower changes the view.

use std::collections::HashMap;
use std::sync::Arc;

use rustmq_broker_core::ErrorKind;
use rustmq_broker_core::replicas::{Assignment, Replica};
use rustmq_controller_core::configs::{EffectiveBrokerConfig, EffectiveTopicConfig, StaticConfigs};
use rustmq_controller_core::{ClusterState, Topic};
use rustmq_engine_api::{OpenError, PartitionReader};
use rustmq_model::{BrokerId, LeaderEpoch, PartitionId, TopicId, TopicIdPartition, TopicName};

use crate::storage::StorageError;

/// The topic of committed offsets.
pub(crate) const OFFSETS_TOPIC: &str = "__consumer_offsets";
/// The topic of transactional ids.
pub(crate) const TRANSACTIONS_TOPIC: &str = "__transaction_state";
/// Names that no client may give to a topic. In Kafka the first one is the controller's log;
/// share groups will have the last one. A coordinator's topic needs its own number of partitions
/// and its own configs, so no client may create it first with others.
const RESERVED_TOPICS: [&str; 3] = ["__cluster_metadata", TRANSACTIONS_TOPIC, "__share_group_state"];

/// Whether only the cluster itself may create a topic with the name.
pub(crate) fn is_reserved(name: &str) -> bool {
    RESERVED_TOPICS.contains(&name)
}

/// Whether a topic belongs to the broker itself.
pub(crate) fn is_internal(name: &str) -> bool {
    name == OFFSETS_TOPIC || is_reserved(name)
}

/// A topic as a client named it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TopicRef {
    Name(String),
    Id(TopicId),
}

/// No topic has the name or the id of the request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UnknownTopic {
    #[error("This server does not host a topic named '{0}'.")]
    Name(String),
    #[error("This server does not host a topic with the id {0}.")]
    Id(TopicId),
}

impl UnknownTopic {
    /// The caller's next step: the topic may be new, or deleted.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::RefreshMetadata
    }
}

/// The topic has fewer partitions.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("Topic '{topic}' has no partition {partition}: ask for its metadata again.")]
pub struct UnknownPartition {
    pub topic: TopicName,
    pub partition: PartitionId,
}

impl UnknownPartition {
    /// The caller's next step: the partition may be new.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        ErrorKind::RefreshMetadata
    }
}

/// Why the partition of a request cannot be used. The request has no effect.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LocateError {
    #[error(transparent)]
    UnknownTopic(#[from] UnknownTopic),
    #[error(transparent)]
    UnknownPartition(#[from] UnknownPartition),
    #[error("This broker does not lead {topic}-{partition}.")]
    NotLeader { topic: TopicName, partition: PartitionId },
    #[error("Leader epoch {given} is older than the current one, {current}: ask for the topic's metadata again.")]
    FencedLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    /// This broker has not heard of the epoch yet.
    #[error("Leader epoch {given} is newer than {current}, which this broker knows.")]
    UnknownLeaderEpoch { given: LeaderEpoch, current: LeaderEpoch },
    /// This broker leads the partition, but its engine failed to open it. The open is tried again.
    #[error(transparent)]
    NotOpened(StorageError),
}

impl LocateError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::UnknownTopic(error) => error.kind(),
            Self::UnknownPartition(error) => error.kind(),
            Self::NotLeader { .. } | Self::FencedLeaderEpoch { .. } | Self::UnknownLeaderEpoch { .. } => {
                ErrorKind::RefreshMetadata
            }
            Self::NotOpened(error) => error.kind(),
        }
    }
}

impl From<OpenError> for LocateError {
    fn from(error: OpenError) -> Self {
        match error {
            OpenError::FencedLeaderEpoch { given, current } => Self::FencedLeaderEpoch { given, current },
            OpenError::Full => Self::NotOpened(StorageError::Full),
            OpenError::Storage(failure) => Self::NotOpened(StorageError::Failed(failure)),
            OpenError::Stopped => Self::NotOpened(StorageError::Stopping),
        }
    }
}

/// A topic that can be used.
#[derive(Debug)]
pub(crate) struct TopicEntry {
    pub(crate) topic: Arc<Topic>,
    pub(crate) config: EffectiveTopicConfig,
    /// By partition id.
    pub(crate) replicas: Vec<Replica<PartitionReader, OpenError>>,
}

impl TopicEntry {
    /// The partitions that are open here, in order.
    pub(crate) fn open_replicas(&self) -> impl Iterator<Item = (PartitionId, Assignment, &PartitionReader)> {
        (0..).map(PartitionId).zip(&self.replicas).filter_map(|(partition, replica)| match replica {
            Replica::Open { assignment, handle } => Some((partition, *assignment, handle)),
            Replica::Failed(_) | Replica::Elsewhere => None,
        })
    }

    pub(crate) fn replica(&self, partition: PartitionId) -> Option<&Replica<PartitionReader, OpenError>> {
        usize::try_from(partition.0).ok().and_then(|index| self.replicas.get(index))
    }
}

/// One partition that this broker leads.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) entry: Arc<TopicEntry>,
    pub(crate) id: TopicIdPartition,
    pub(crate) reader: PartitionReader,
    pub(crate) leader_epoch: LeaderEpoch,
}

impl Located {
    /// The error for a partition that was deleted or moved away after it was located: the client
    /// asks for metadata again.
    pub(crate) fn gone(&self) -> LocateError {
        LocateError::NotLeader { topic: self.entry.topic.name.clone(), partition: self.id.partition }
    }
}

/// The view at one moment.
#[derive(Debug)]
pub(crate) struct ClusterView {
    pub(crate) broker: BrokerId,
    pub(crate) state: ClusterState,
    pub(crate) settings: Arc<EffectiveBrokerConfig>,
    by_name: HashMap<TopicName, Arc<TopicEntry>>,
    by_id: HashMap<TopicId, Arc<TopicEntry>>,
}

impl ClusterView {
    pub(crate) fn new(broker: BrokerId, state: ClusterState, static_configs: &StaticConfigs) -> Self {
        let settings = Arc::new(EffectiveBrokerConfig::resolve(&state.broker_layers(broker, static_configs)));
        Self { broker, state, settings, by_name: HashMap::new(), by_id: HashMap::new() }
    }

    pub(crate) fn put(&mut self, entry: Arc<TopicEntry>) {
        self.by_name.insert(entry.topic.name.clone(), Arc::clone(&entry));
        self.by_id.insert(entry.topic.id, entry);
    }

    pub(crate) fn remove(&mut self, id: TopicId) -> Option<Arc<TopicEntry>> {
        let entry = self.by_id.remove(&id)?;
        // A new topic under the same name is another topic.
        if self.by_name.get(&entry.topic.name).is_some_and(|named| named.topic.id == id) {
            self.by_name.remove(&entry.topic.name);
        }
        Some(entry)
    }

    pub(crate) fn named(&self, name: &str) -> Option<&Arc<TopicEntry>> {
        self.by_name.get(name)
    }

    pub(crate) fn with_id(&self, id: TopicId) -> Option<&Arc<TopicEntry>> {
        self.by_id.get(&id)
    }

    pub(crate) fn entries(&self) -> impl Iterator<Item = &Arc<TopicEntry>> {
        self.by_id.values()
    }

    pub(crate) fn find(&self, topic: &TopicRef) -> Result<&Arc<TopicEntry>, UnknownTopic> {
        match topic {
            TopicRef::Name(name) => self.named(name).ok_or_else(|| UnknownTopic::Name(name.clone())),
            TopicRef::Id(id) => self.with_id(*id).ok_or(UnknownTopic::Id(*id)),
        }
    }

    /// Whether the topic of a committed offset is deleted. A commit without an id (zero) belongs to
    /// the topic that has the name now.
    pub(crate) fn is_gone(&self, name: &TopicName, id: TopicId) -> bool {
        self.state.topic(name.as_str()).is_none_or(|topic| id != TopicId::ZERO && topic.id != id)
    }

    /// Finds a partition to read from or write to. This broker must lead it, in the leader epoch
    /// that the client takes for the current one, if the client sends it.
    pub(crate) fn locate(
        &self,
        topic: &TopicRef,
        partition: PartitionId,
        current_leader_epoch: Option<LeaderEpoch>,
    ) -> Result<Located, LocateError> {
        let entry = self.find(topic)?;
        let name = || entry.topic.name.clone();
        let metadata = entry.topic.partition(partition);
        let metadata = metadata.ok_or_else(|| UnknownPartition { topic: name(), partition })?;
        if metadata.leader != Some(self.broker) {
            return Err(LocateError::NotLeader { topic: name(), partition });
        }
        let current = metadata.leader_epoch;
        match current_leader_epoch {
            Some(given) if given < current => return Err(LocateError::FencedLeaderEpoch { given, current }),
            Some(given) if given > current => return Err(LocateError::UnknownLeaderEpoch { given, current }),
            Some(_) | None => {}
        }
        let reader = match entry.replica(partition) {
            Some(Replica::Open { handle, .. }) => handle.clone(),
            Some(Replica::Failed(error)) => return Err(error.clone().into()),
            Some(Replica::Elsewhere) | None => {
                return Err(LocateError::NotLeader { topic: name(), partition });
            }
        };
        let id = TopicIdPartition { topic_id: entry.topic.id, partition };
        Ok(Located { entry: Arc::clone(entry), id, reader, leader_epoch: current })
    }
}
