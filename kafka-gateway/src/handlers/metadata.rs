//! Metadata: the brokers with the addresses that this client can dial, and topics by name or id.

use std::collections::BTreeMap;

use rustmq_broker_service::{
    AutoCreation, ClusterMetadata, PartitionMetadata, TopicAnswer, TopicMetadata, TopicRef, TopicSelection,
};
use rustmq_kafka_codec_messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use rustmq_kafka_codec_messages::{MetadataRequest, MetadataResponse};
use rustmq_model::{BrokerId, Endpoint};

use crate::call::{Call, CallError, Handling, Peer, RequestBody};
use crate::error_map;
use crate::words;

/// The first version in which a topic may have no name.
const NULL_NAMES_FROM: i16 = 12;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: MetadataRequest = call.decode(body)?;
    let version = call.version();
    let auto_creation =
        if version < 4 || request.allow_auto_topic_creation { AutoCreation::Allowed } else { AutoCreation::Refused };
    let topics = call.session.topics(selection(&request, version)?, auto_creation).await;
    let cluster = call.session.cluster();
    let brokers = endpoints(&cluster, call.shared.broker.id(), &call.peer).into_iter().map(|(id, (endpoint, rack))| {
        MetadataResponseBroker { node_id: id, host: endpoint.host, port: i32::from(endpoint.port), rack }
    });
    let topic_operations = words::operations_if(request.include_topic_authorized_operations, words::TOPIC_OPERATIONS);
    let cluster_operations =
        words::operations_if(request.include_cluster_authorized_operations, words::CLUSTER_OPERATIONS);
    let response = MetadataResponse {
        brokers: brokers.collect(),
        controller_id: cluster.controller.0,
        cluster_id: Some(cluster.cluster_id),
        cluster_authorized_operations: cluster_operations,
        topics: topics.into_iter().map(|answer| topic(answer, version, topic_operations)).collect(),
        ..MetadataResponse::default()
    };
    call.answer(&response)
}

/// The topics that the request selects.
fn selection(request: &MetadataRequest, version: i16) -> Result<TopicSelection, CallError> {
    Ok(match &request.topics {
        None => TopicSelection::All,
        // In version 0 an empty list stands for all topics.
        Some(topics) if topics.is_empty() && version == 0 => TopicSelection::All,
        Some(topics) => TopicSelection::These(
            topics
                .iter()
                .map(|topic| match &topic.name {
                    Some(name) if topic.topic_id.is_nil() => TopicRef::Name(name.clone()),
                    _ => words::topic_ref("", words::topic_id(topic.topic_id)),
                })
                .collect(),
        ),
    })
}

/// The address and rack of every broker, by id. This broker has the address at which the client has
/// reached it.
pub fn endpoints(cluster: &ClusterMetadata, this: BrokerId, peer: &Peer) -> BTreeMap<i32, (Endpoint, Option<String>)> {
    let of = |node: &rustmq_broker_service::BrokerNode| {
        let endpoint = if node.id == this { peer.endpoint.clone() } else { node.listeners.values().next()?.clone() };
        Some((node.id.0, (endpoint, node.rack.clone())))
    };
    cluster.brokers.iter().filter_map(of).collect()
}

fn topic(answer: TopicAnswer, version: i16, operations: i32) -> MetadataResponseTopic {
    let mut topic = MetadataResponseTopic::default();
    match answer.metadata {
        Ok(TopicMetadata { name, id, is_internal, partitions }) => {
            topic.name = Some(name.as_str().to_owned());
            topic.is_internal = is_internal;
            topic.topic_id = words::uuid(id);
            topic.partitions = partitions.iter().map(partition).collect();
            topic.topic_authorized_operations = operations;
        }
        Err(error) => {
            topic.error_code = error_map::code(&error);
            match answer.topic {
                TopicRef::Name(name) => topic.name = Some(name),
                TopicRef::Id(id) => {
                    topic.topic_id = words::uuid(id);
                    // The request has no name for the topic: null in the versions that allow it.
                    topic.name = (version < NULL_NAMES_FROM).then(String::new);
                }
            }
        }
    }
    topic
}

fn partition(partition: &PartitionMetadata) -> MetadataResponsePartition {
    MetadataResponsePartition {
        error_code: if partition.leader.is_none() { error_map::LEADER_NOT_AVAILABLE } else { error_map::NONE },
        partition_index: partition.partition.0,
        leader_id: partition.leader.map_or(words::NO_BROKER, |leader| leader.0),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: words::broker_ids(&partition.replicas),
        isr_nodes: words::broker_ids(&partition.isr),
        offline_replicas: words::broker_ids(&partition.offline),
    }
}
