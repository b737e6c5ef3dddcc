//! The commands of the metadata machine. A command carries all inputs of its decision: the time,
//! new ids, limits.

use std::collections::BTreeMap;

use rustmq_model::{BrokerId, Timestamp, TopicId, TopicName};
use serde::{Deserialize, Serialize};

use crate::{BrokerRegistration, Configs};

/// One entry of the metadata log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Gives the cluster its id, once. A second bootstrap returns the id in force and changes
    /// nothing.
    Bootstrap {
        cluster_id: String,
        /// Finalized feature levels, such as `metadata.version`.
        features: BTreeMap<String, i16>,
        /// The first dynamic defaults of all brokers.
        broker_defaults: Configs,
    },
    /// Assigns an id to a new broker name, and updates the registration of a known one.
    RegisterBroker {
        broker: BrokerRegistration,
        now: Timestamp,
    },
    CreateTopics {
        topics: Vec<NewTopic>,
        limits: PartitionLimits,
        validate_only: bool,
        now: Timestamp,
    },
    DeleteTopics {
        topics: Vec<TopicSelector>,
    },
    CreatePartitions {
        topics: Vec<NewPartitions>,
        limits: PartitionLimits,
        validate_only: bool,
    },
    AlterConfigs {
        alterations: Vec<ConfigAlteration>,
        /// Absent in entries from before groups had configs.
        #[serde(default)]
        limits: GroupConfigLimits,
        validate_only: bool,
    },
    AllocateProducerIds {
        broker: BrokerId,
    },
    /// Changes the finalized levels of these features, all of them or none (KIP-584). The proposer
    /// has checked that it supports the features and the levels.
    UpdateFeatures {
        updates: BTreeMap<String, FeatureUpdate>,
        validate_only: bool,
    },
}

/// A change of one feature's finalized level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureUpdate {
    /// Level 0 takes the feature out.
    pub level: i16,
    pub direction: FeatureDirection,
}

/// The direction in which a level may change. The current level is legal in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FeatureDirection {
    Upgrade,
    Downgrade,
}

/// Bounds on partitions, from the proposer's configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PartitionLimits {
    pub per_topic_max: u32,
    pub per_cluster_max: u32,
}

/// What the configs of groups must keep to, from the proposer's configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupConfigLimits {
    /// The most groups that have configs.
    pub groups_max: u32,
    /// The broker-wide values that configs of groups depend on, where they are set
    /// ([`crate::configs::ConfigLayers::broker_values_for_groups`]).
    pub broker_values: Configs,
}

/// A topic to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewTopic {
    /// The client's text, which the machine checks.
    pub name: String,
    /// A random UUID, made by the proposer.
    pub id: TopicId,
    pub placement: Placement,
    /// None stands for null on the wire, which is refused.
    pub configs: BTreeMap<String, Option<String>>,
}

/// The placement of a topic's replicas.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Placement {
    /// The controller chooses. Defaults (-1 on the wire) are resolved by the proposer.
    Count { partitions: i32, replication_factor: i16 },
    /// Replicas by partition id, which must be 0, 1, 2, ... without a gap.
    Manual(BTreeMap<i32, Vec<BrokerId>>),
}

/// A topic, by the name or the id in the request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum TopicSelector {
    Name(String),
    Id(TopicId),
}

/// A topic that gets more partitions.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewPartitions {
    pub name: String,
    /// The new number of partitions in all.
    pub count: i32,
    /// Replicas of each added partition, in order; None lets the controller choose.
    pub assignments: Option<Vec<Vec<BrokerId>>>,
}

/// The resource that configs belong to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum ConfigResource {
    Topic(TopicName),
    /// Every broker (an empty resource name on the wire).
    BrokerDefault,
    Broker(BrokerId),
    /// A group by its id. It need not exist.
    Group(String),
}

/// A change of one resource's configs. It is applied as a whole or not at all.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigAlteration {
    pub resource: ConfigResource,
    pub change: ConfigChange,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConfigChange {
    /// AlterConfigs: configs that are not named, or whose value is None, return to their defaults.
    Replace(BTreeMap<String, Option<String>>),
    /// IncrementalAlterConfigs (KIP-339), in the request's order.
    Edit(Vec<ConfigEdit>),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConfigEdit {
    pub name: String,
    pub operation: EditOperation,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EditOperation {
    Set(String),
    Delete,
    /// Adds comma-separated items to a list.
    Append(String),
    /// Removes comma-separated items from a list.
    Subtract(String),
}
