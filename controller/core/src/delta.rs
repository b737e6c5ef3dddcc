//! The changes of the state, as facts. A copy of the state that replays them has the same state:
//! the machine itself changes in no other way.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustmq_model::{BrokerId, PartitionId, TopicId, TopicName};
use serde::{Deserialize, Serialize};

use crate::{Broker, Configs, Partition, Topic};

/// One change of the cluster's metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delta {
    ClusterBootstrapped {
        cluster_id: String,
        features: BTreeMap<String, i16>,
    },
    /// The broker, which is new or has a new registration.
    BrokerRegistered(Arc<Broker>),
    TopicCreated(Arc<Topic>),
    TopicDeleted {
        id: TopicId,
        name: TopicName,
    },
    /// The topic with its new partitions, the first of which is `first`.
    PartitionsAdded {
        topic: Arc<Topic>,
        first: PartitionId,
    },
    PartitionChanged {
        topic_id: TopicId,
        partition: PartitionId,
        now: Partition,
    },
    /// The topic with its new explicit configs.
    TopicConfigChanged(Arc<Topic>),
    /// All dynamic configs of the scope after the change.
    BrokerConfigChanged {
        scope: BrokerConfigScope,
        configs: Configs,
    },
    /// All configs of the group after the change.
    GroupConfigChanged {
        group: String,
        configs: Configs,
    },
    /// All finalized features after the change, with their epoch.
    FeaturesChanged {
        features: BTreeMap<String, i16>,
        epoch: i64,
    },
    /// Producer ids below `next` are allocated.
    ProducerIdsAllocated {
        next: i64,
    },
}

/// The brokers that a dynamic config is set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BrokerConfigScope {
    Default,
    Broker(BrokerId),
}
