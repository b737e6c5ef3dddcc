//! Cluster metadata: brokers, topics and partitions, which clients ask for first. Creates unknown
//! topics if request and configuration allow it.

use std::collections::{BTreeMap, HashSet};

use rustmq_broker_core::ErrorKind;
use rustmq_controller_core::Topic;
use rustmq_model::{BrokerId, Endpoint, LeaderEpoch, PartitionId, TopicId, TopicName, TopicNameError};

use crate::session::Session;
use crate::topics::AutoCreationError;
use crate::view::{TopicRef, UnknownTopic, is_internal, is_reserved};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TopicSelection {
    All,
    These(Vec<TopicRef>),
}

/// Whether the request lets unknown topics be created. `auto.create.topics.enable` must allow it
/// too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AutoCreation {
    Allowed,
    Refused,
}

/// The answer for one topic of the request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicAnswer {
    pub topic: TopicRef,
    pub metadata: Result<TopicMetadata, MetadataError>,
}

/// Why a topic of the request has no metadata.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetadataError {
    #[error(transparent)]
    InvalidTopicName(#[from] TopicNameError),
    #[error(transparent)]
    UnknownTopic(#[from] UnknownTopic),
    #[error(transparent)]
    NotCreated(#[from] AutoCreationError),
}

impl MetadataError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::InvalidTopicName(_) => ErrorKind::Invalid,
            Self::UnknownTopic(error) => error.kind(),
            Self::NotCreated(error) => error.kind(),
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicMetadata {
    pub name: TopicName,
    pub id: TopicId,
    pub is_internal: bool,
    /// By partition id, from 0 without a gap.
    pub partitions: Vec<PartitionMetadata>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMetadata {
    pub partition: PartitionId,
    pub leader: Option<BrokerId>,
    pub leader_epoch: LeaderEpoch,
    pub replicas: Vec<BrokerId>,
    pub isr: Vec<BrokerId>,
    pub offline: Vec<BrokerId>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterMetadata {
    pub cluster_id: String,
    /// The broker that takes controller requests from clients.
    pub controller: BrokerId,
    pub brokers: Vec<BrokerNode>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BrokerNode {
    pub id: BrokerId,
    /// By listener name.
    pub listeners: BTreeMap<String, Endpoint>,
    pub rack: Option<String>,
}

impl Session {
    /// Metadata of all topics in the order of their names, or of the named ones in the order of the
    /// request. A topic that is named again is answered once, as on Kafka: a short request must not
    /// cause an unbounded answer.
    pub async fn topics(&self, selection: TopicSelection, auto_creation: AutoCreation) -> Vec<TopicAnswer> {
        let named = match selection {
            TopicSelection::All => return self.all_topics(),
            TopicSelection::These(named) => named,
        };
        let mut seen = HashSet::new();
        let named = named.into_iter().filter(|topic| seen.insert(topic.clone()));
        let mut answers: Vec<_> = named.map(|topic| self.answer(topic)).collect();
        if auto_creation == AutoCreation::Allowed && self.broker.effective_config().auto_create_topics {
            let unknown = |answer: &TopicAnswer| match &answer.metadata {
                Err(MetadataError::UnknownTopic(UnknownTopic::Name(name))) if !is_reserved(name) => Some(name.clone()),
                Ok(_) | Err(_) => None,
            };
            let missing: Vec<String> = answers.iter().filter_map(unknown).collect();
            if !missing.is_empty() {
                let failures = self.auto_create(missing).await;
                for answer in answers.iter_mut().filter(|answer| answer.metadata.is_err()) {
                    let TopicRef::Name(name) = &answer.topic else { continue };
                    *answer = match failures.get(name) {
                        Some(error) => TopicAnswer { topic: answer.topic.clone(), metadata: Err(error.clone().into()) },
                        None => self.answer(answer.topic.clone()),
                    };
                }
            }
        }
        answers
    }

    fn all_topics(&self) -> Vec<TopicAnswer> {
        let view = self.broker.view.read();
        let shown = view.state.topics().filter_map(|topic| view.with_id(topic.id));
        let answer = |topic: &Topic| TopicAnswer {
            topic: TopicRef::Name(topic.name.as_str().to_owned()),
            metadata: Ok(describe(topic)),
        };
        shown.map(|entry| answer(&entry.topic)).collect()
    }

    fn answer(&self, topic: TopicRef) -> TopicAnswer {
        if let TopicRef::Name(name) = &topic
            && let Err(error) = TopicName::new(name)
        {
            return TopicAnswer { topic, metadata: Err(error.into()) };
        }
        let metadata =
            self.broker.view.read().find(&topic).map(|entry| describe(&entry.topic)).map_err(MetadataError::from);
        TopicAnswer { topic, metadata }
    }

    #[must_use]
    pub fn cluster(&self) -> ClusterMetadata {
        let view = self.broker.view.read();
        let brokers = view.state.brokers().map(|broker| BrokerNode {
            id: broker.id,
            listeners: broker.registration.listeners.clone(),
            rack: broker.registration.rack.clone(),
        });
        ClusterMetadata {
            cluster_id: view.state.cluster_id().unwrap_or_default().to_owned(),
            controller: view.broker,
            brokers: brokers.collect(),
        }
    }

    #[must_use]
    pub fn topic_name(&self, id: TopicId) -> Option<TopicName> {
        self.broker.view.read().with_id(id).map(|entry| entry.topic.name.clone())
    }

    #[must_use]
    pub fn topic_id(&self, name: &str) -> Option<TopicId> {
        self.broker.view.read().named(name).map(|entry| entry.topic.id)
    }
}

fn describe(topic: &Topic) -> TopicMetadata {
    let partitions = (0..).map(PartitionId).zip(&topic.partitions);
    let partitions = partitions.map(|(partition, state)| PartitionMetadata {
        partition,
        leader: state.leader,
        leader_epoch: state.leader_epoch,
        replicas: state.replicas.clone(),
        isr: state.isr.clone(),
        offline: Vec::new(),
    });
    TopicMetadata {
        name: topic.name.clone(),
        id: topic.id,
        is_internal: is_internal(topic.name.as_str()),
        partitions: partitions.collect(),
    }
}
