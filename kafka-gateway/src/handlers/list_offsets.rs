//! ListOffsets: offsets by place or time.

use std::collections::BTreeSet;

use rustmq_broker_service::{OffsetAt, OffsetQuery};
use rustmq_kafka_codec_messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use rustmq_kafka_codec_messages::{ListOffsetsRequest, ListOffsetsResponse};
use rustmq_model::{PartitionId, Timestamp};

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

/// The first version whose answer has the epoch of the record's leader.
const LEADER_EPOCH_FROM: i16 = 4;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: ListOffsetsRequest = call.decode()?;
    let version = call.version();
    let repeated = repeated(&request);
    let is_repeated = |topic: &str, partition: i32| repeated.contains(&(topic, partition));
    let mut queries = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            if is_repeated(&topic.name, partition.partition_index) {
                continue;
            }
            let Some(at) = place(partition.timestamp, version) else { continue };
            queries.push(OffsetQuery {
                topic: words::named(&topic.name),
                partition: PartitionId(partition.partition_index),
                current_leader_epoch: words::leader_epoch(partition.current_leader_epoch),
                at,
            });
        }
    }
    let isolation = words::isolation(request.isolation_level);
    let mut results = call.session.list_offsets(isolation, queries).await.into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let index = partition.partition_index;
            if is_repeated(&topic.name, index) {
                return refused(index, error_map::INVALID_REQUEST);
            }
            if place(partition.timestamp, version).is_none() {
                return refused(index, error_map::UNSUPPORTED_VERSION);
            }
            match results.next() {
                Some(Ok(Some(found))) => ListOffsetsPartitionResponse {
                    partition_index: index,
                    offset: found.offset.0,
                    timestamp: found.timestamp.0,
                    leader_epoch: if version >= LEADER_EPOCH_FROM { found.leader_epoch.0 } else { -1 },
                    ..ListOffsetsPartitionResponse::default()
                },
                Some(Ok(None)) => refused(index, error_map::NONE),
                Some(Err(error)) => refused(index, error_map::code(&error)),
                None => refused(index, error_map::UNKNOWN_TOPIC_OR_PARTITION),
            }
        });
        let partitions = words::once(partitions.collect(), |answer| answer.partition_index);
        ListOffsetsTopicResponse { name: topic.name.clone(), partitions }
    });
    let response = ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() };
    call.answer(&response)
}

/// An answer without an offset.
fn refused(partition_index: i32, error_code: i16) -> ListOffsetsPartitionResponse {
    ListOffsetsPartitionResponse {
        partition_index,
        error_code,
        offset: -1,
        timestamp: -1,
        ..ListOffsetsPartitionResponse::default()
    }
}

/// Partitions that the request asks for more than once. They are refused: the answer has a place
/// for one offset of each.
fn repeated(request: &ListOffsetsRequest) -> BTreeSet<(&str, i32)> {
    let mut seen = BTreeSet::new();
    let asked = request
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (topic.name.as_str(), partition.partition_index)));
    asked.filter(|partition| !seen.insert(*partition)).collect()
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
