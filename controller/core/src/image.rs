//! The form of the state in a snapshot: the state without its indexes, with a version number.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustmq_model::BrokerId;
use serde::{Deserialize, Serialize};

use crate::{Broker, ClusterState, Configs, Topic};

/// Raise this when a reader of the old version could misread the new one.
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct ClusterImage {
    version: u32,
    cluster_id: Option<String>,
    features: BTreeMap<String, i16>,
    /// Absent in snapshots of clusters whose features have never changed.
    #[serde(default, skip_serializing_if = "is_unchanged")]
    features_epoch: i64,
    brokers: Vec<Arc<Broker>>,
    topics: Vec<Arc<Topic>>,
    broker_defaults: Configs,
    broker_configs: Vec<(BrokerId, Configs)>,
    /// Absent in snapshots of clusters whose groups have no configs.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    group_configs: Vec<(String, Configs)>,
    next_producer_id: i64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_unchanged(epoch: &i64) -> bool {
    *epoch == 0
}

/// Why an image cannot become a state.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ImageError {
    #[error("the metadata snapshot has version {found}; this program reads version {VERSION}")]
    Version { found: u32 },
    #[error("the metadata snapshot holds the topic '{name}' twice, or two topics of one id")]
    RepeatedTopic { name: String },
}

impl From<ClusterState> for ClusterImage {
    fn from(state: ClusterState) -> Self {
        Self {
            version: VERSION,
            cluster_id: state.cluster_id,
            features: state.features,
            features_epoch: state.features_epoch,
            brokers: state.brokers.into_values().collect(),
            topics: state.topics.into_values().collect(),
            broker_defaults: state.broker_defaults,
            broker_configs: state.broker_configs.into_iter().collect(),
            group_configs: state.group_configs.into_iter().collect(),
            next_producer_id: state.next_producer_id,
        }
    }
}

impl TryFrom<ClusterImage> for ClusterState {
    type Error = ImageError;

    fn try_from(image: ClusterImage) -> Result<Self, ImageError> {
        if image.version != VERSION {
            return Err(ImageError::Version { found: image.version });
        }
        let mut state = Self {
            cluster_id: image.cluster_id,
            features: image.features,
            features_epoch: image.features_epoch,
            brokers: image.brokers.into_iter().map(|broker| (broker.id, broker)).collect(),
            broker_defaults: image.broker_defaults,
            broker_configs: image.broker_configs.into_iter().collect(),
            group_configs: image.group_configs.into_iter().collect(),
            next_producer_id: image.next_producer_id,
            ..Self::default()
        };
        for topic in image.topics {
            state.partition_count += topic.partitions.len() as u64;
            state.unified_names.extend(topic.name.unified().map(|unified| (unified, topic.name.clone())));
            let name_taken = state.topic_ids.insert(topic.name.clone(), topic.id).is_some();
            if let Some(topic) = state.topics.insert(topic.id, Arc::clone(&topic)).or(name_taken.then_some(topic)) {
                return Err(ImageError::RepeatedTopic { name: topic.name.as_str().to_owned() });
            }
        }
        Ok(state)
    }
}
