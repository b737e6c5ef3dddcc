//! The actions for the replicas of this broker, and their parts.

use std::sync::Arc;
use std::time::Duration;

use rustmq_controller_core::configs::{EffectiveBrokerConfig, EffectiveTopicConfig};
use rustmq_controller_core::{Partition, Topic};
use rustmq_model::{BrokerId, LeaderEpoch, TopicId, TopicIdPartition, TopicName};

/// The role of a broker in a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaRole {
    Leader,
    /// Another broker leads, or no broker while the partition is offline.
    Follower,
}

/// The role and the epoch that the metadata gives to a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub role: ReplicaRole,
    pub leader_epoch: LeaderEpoch,
}

impl Assignment {
    /// None if the broker has no replica of the partition.
    pub(super) fn of(partition: &Partition, broker: BrokerId) -> Option<Self> {
        let role = if partition.leader == Some(broker) { ReplicaRole::Leader } else { ReplicaRole::Follower };
        let assignment = Self { role, leader_epoch: partition.leader_epoch };
        partition.replicas.contains(&broker).then_some(assignment)
    }
}

/// The part of the topic's configs that a replica's log needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicaConfig {
    /// None keeps records for ever.
    pub retention_time: Option<Duration>,
    /// None sets no limit.
    pub retention_bytes: Option<u64>,
    /// How long the state of an idle idempotent producer is kept.
    pub producer_expiry: Duration,
}

impl ReplicaConfig {
    /// Without `delete` in cleanup.policy no record is removed by age or size.
    pub(super) fn of(topic: &EffectiveTopicConfig, broker: &EffectiveBrokerConfig) -> Self {
        let deletes = topic.cleanup_policy.delete;
        Self {
            retention_time: topic.retention_ms.filter(|_| deletes).map(Duration::from_millis),
            retention_bytes: topic.retention_bytes.filter(|_| deletes),
            producer_expiry: Duration::from_millis(broker.producer_id_expiration_ms),
        }
    }
}

/// A replica to open: it is created if it is new, and an open one changes its role or leader epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OpenReplica {
    pub id: TopicIdPartition,
    pub assignment: Assignment,
    pub config: ReplicaConfig,
}

/// The replica of a partition on this broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Replica<R, E> {
    Open {
        assignment: Assignment,
        handle: R,
    },
    /// It failed to open. The open is tried again.
    Failed(E),
    /// It belongs to other brokers.
    Elsewhere,
}

/// A topic that can be used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShownTopic<R, E> {
    pub topic: Arc<Topic>,
    pub config: EffectiveTopicConfig,
    /// By partition id.
    pub replicas: Vec<Replica<R, E>>,
}

/// An action for the driver.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplicaAction<R, E> {
    /// Open the replicas in one request, and report each result to
    /// [`super::LocalReplicas::on_opened`].
    Open(Vec<OpenReplica>),
    Configure {
        id: TopicIdPartition,
        config: ReplicaConfig,
    },
    /// Show the topic, in place of its earlier version.
    Show(Box<ShownTopic<R, E>>),
    /// Hide the topic: it was deleted.
    Hide {
        id: TopicId,
        name: TopicName,
    },
    /// Delete the data in one request, and report each result to
    /// [`super::LocalReplicas::on_deleted`].
    Delete(Vec<TopicIdPartition>),
    /// Show the broker-wide configs.
    ShowSettings(Arc<EffectiveBrokerConfig>),
}
