//! The results of commands: outcomes with a result for each item, and typed rejections with the
//! facts for an error message.

use rustmq_model::{BrokerId, ProducerId, TopicId, TopicName};
use serde::{Deserialize, Serialize};

use crate::Configs;

/// The result of a command that was carried out. Items have the order of the command; the failure
/// of one does not affect the others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The id in force, of this bootstrap or of an earlier one.
    Bootstrapped {
        cluster_id: String,
    },
    BrokerRegistered {
        id: BrokerId,
    },
    TopicsCreated(Vec<Result<CreatedTopic, Rejection>>),
    TopicsDeleted(Vec<Result<DeletedTopic, Rejection>>),
    PartitionsCreated(Vec<Result<ExtendedTopic, Rejection>>),
    ConfigsAltered(Vec<Result<(), Rejection>>),
    ProducerIdsAllocated(ProducerIdBlock),
    FeaturesUpdated,
}

/// A topic that was created, or that `validate_only` found legal to create.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CreatedTopic {
    pub name: TopicName,
    pub id: TopicId,
    pub partitions: i32,
    pub replication_factor: i16,
    pub configs: Configs,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeletedTopic {
    pub name: TopicName,
    pub id: TopicId,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtendedTopic {
    pub name: TopicName,
    pub id: TopicId,
    pub partitions: i32,
}

/// A block of producer ids, which one broker alone gives to producers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerIdBlock {
    pub first: ProducerId,
    pub count: u32,
}

impl ProducerIdBlock {
    /// The size of Kafka's blocks.
    pub const COUNT: u32 = 1000;
}

/// Why a command, or one item of it, was not carried out. The display text is written for clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Rejection {
    #[error("{reason}")]
    InvalidTopicName { name: String, reason: String },
    #[error("Topic '{name}' already exists.")]
    TopicAlreadyExists { name: TopicName },
    #[error("Topic '{name}' collides with existing topic '{existing}': '.' and '_' are one character in metric names.")]
    NameCollision { name: TopicName, existing: TopicName },
    #[error("The topic id {id} is in use already.")]
    TopicIdInUse { id: TopicId },
    #[error("This server does not host a topic named '{name}'.")]
    UnknownTopic { name: String },
    #[error("This server does not host a topic with the id {id}.")]
    UnknownTopicId { id: TopicId },
    #[error("The request names '{name}' more than once.")]
    DuplicateItem { name: String },
    #[error("The number of partitions must be at least 1; {wanted} was asked for.")]
    InvalidPartitions { wanted: i32 },
    #[error("Topic '{name}' has {current} partition(s) already; {wanted} would not be an increase.")]
    NotAnIncrease { name: TopicName, current: i32, wanted: i32 },
    #[error("{wanted} partitions in one topic are more than the limit of {max}.")]
    TooManyPartitionsInTopic { wanted: u64, max: u32 },
    #[error("{wanted} partitions in the cluster are more than the limit of {max}.")]
    TooManyPartitionsInCluster { wanted: u64, max: u32 },
    #[error(
        "Unable to replicate the partition {wanted} time(s): the replication factor must be at least 1, and {brokers} broker(s) \
         are registered."
    )]
    InvalidReplicationFactor { wanted: i16, brokers: u32 },
    #[error("Invalid replica assignment for partition {partition}: {reason}")]
    InvalidReplicaAssignment { partition: i32, reason: String },
    #[error("Invalid value {} for configuration {name}: {reason}", value.as_deref().unwrap_or("null"))]
    InvalidConfig { name: String, value: Option<String>, reason: String },
    #[error("Invalid value {} for configuration {name}: {reason}", value.as_deref().unwrap_or("null"))]
    InvalidBrokerConfig { name: String, value: Option<String>, reason: String },
    #[error("{max} groups have configs, and no more are allowed to.")]
    TooManyConfiguredGroups { max: u32 },
    #[error("Broker {broker} is not registered.")]
    UnknownBroker { broker: BrokerId },
    #[error("The cluster is not bootstrapped yet.")]
    NotBootstrapped,
    #[error("Feature '{feature}' cannot change to level {level}: {reason}.")]
    InvalidFeatureUpdate { feature: String, level: i16, reason: InvalidUpdateReason },
    #[error("All broker ids are given away.")]
    BrokerIdsExhausted,
    #[error("All producer ids are given away.")]
    ProducerIdsExhausted,
}

/// Why a feature keeps its finalized level.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum InvalidUpdateReason {
    #[error("a level is not negative")]
    NegativeLevel,
    #[error("it has level {current}, and a lower one must be asked for as a downgrade")]
    NoUpgrade { current: i16 },
    #[error("it has level {current}, which a downgrade cannot raise")]
    NoDowngrade { current: i16 },
}
