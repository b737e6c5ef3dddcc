//! ListOffsets: offsets by place or time.

use std::collections::BTreeSet;

use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, TopicName};
use rustmq_broker_service::{OffsetAt, OffsetQuery};
use rustmq_model::{PartitionId, Timestamp};

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: ListOffsetsRequest = call.decode()?;
    let version = call.version();
    let repeated = repeated(&request);
    let is_repeated = |topic: &TopicName, partition: i32| repeated.contains(&(topic.clone(), partition));
    let mut queries = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            if is_repeated(&topic.name, partition.partition_index) {
                continue;
            }
            let Some(at) = place(partition.timestamp, version) else { continue };
            queries.push(OffsetQuery {
                topic: words::named(topic.name.as_str()),
                partition: PartitionId(partition.partition_index),
                current_leader_epoch: words::leader_epoch(partition.current_leader_epoch),
                at,
            });
        }
    }
    let isolation = words::isolation(request.isolation_level);
    let mut results = call.shared.broker.list_offsets(isolation, queries).await.into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = ListOffsetsPartitionResponse::default()
                .with_partition_index(partition.partition_index)
                .with_offset(-1)
                .with_timestamp(-1);
            if is_repeated(&topic.name, partition.partition_index) {
                return answer.with_error_code(error_map::INVALID_REQUEST);
            }
            if place(partition.timestamp, version).is_none() {
                return answer.with_error_code(error_map::UNSUPPORTED_VERSION);
            }
            match results.next() {
                Some(Ok(Some(found))) => {
                    let epoch = if version >= 4 { found.leader_epoch.0 } else { -1 };
                    answer.with_offset(found.offset.0).with_timestamp(found.timestamp.0).with_leader_epoch(epoch)
                }
                Some(Ok(None)) => answer,
                Some(Err(error)) => answer.with_error_code(error_map::code(&error)),
                None => answer.with_error_code(error_map::UNKNOWN_TOPIC_OR_PARTITION),
            }
        });
        let partitions = words::once(partitions.collect(), |answer| answer.partition_index);
        ListOffsetsTopicResponse::default().with_partitions(partitions).with_name(topic.name)
    });
    let response = ListOffsetsResponse::default().with_topics(topics.collect());
    call.answer(&response)
}

/// Partitions that the request asks for more than once. They are refused: the answer has a place
/// for one offset of each.
fn repeated(request: &ListOffsetsRequest) -> BTreeSet<(TopicName, i32)> {
    let mut seen = BTreeSet::new();
    let asked = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.clone(), partition.partition_index)));
    asked.filter(|partition| !seen.insert(partition.clone())).collect()
}

/// Negative timestamps name places. `None` for one that does not exist, or not yet in the request's
/// version.
const fn place(timestamp: i64, version: i16) -> Option<OffsetAt> {
    let (at, since) = match timestamp {
        -1 => (OffsetAt::Latest, 1),
        -2 => (OffsetAt::Earliest, 1),
        -3 => (OffsetAt::LargestTimestamp, 7),
        -4 => (OffsetAt::EarliestLocal, 8),
        -5 => (OffsetAt::LatestTiered, 9),
        ..0 => return None,
        time => (OffsetAt::Timestamp(Timestamp(time)), 1),
    };
    if version >= since { Some(at) } else { None }
}
