//! What changed, as facts. Replaying them onto a copy of the state brings it to the same state: the
//! machine itself changes in no other way.

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
    /// New, or with a new registration.
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
    /// All dynamic configs now set in the scope.
    BrokerConfigChanged {
        scope: BrokerConfigScope,
        configs: Configs,
    },
    /// All features now finalized, with their epoch.
    FeaturesChanged {
        features: BTreeMap<String, i16>,
        epoch: i64,
    },
    /// Producer ids below `next` are given away.
    ProducerIdsAllocated {
        next: i64,
    },
}

/// Which brokers a dynamic config is set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum BrokerConfigScope {
    Default,
    Broker(BrokerId),
}
