//! ListOffsets: the offsets at a place in the log, or at a time.

use std::collections::BTreeSet;

use rustmq_broker_service::{FoundOffset, OffsetAt, OffsetQuery, Refusals};
use rustmq_kafka_codec_messages::list_offsets_request::ListOffsetsPartition;
use rustmq_kafka_codec_messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use rustmq_kafka_codec_messages::{ListOffsetsRequest, ListOffsetsResponse};
use rustmq_model::{PartitionId, Timestamp};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// The first version whose response has the leader epoch of the record.
const LEADER_EPOCH_FROM: i16 = 4;

/// The request's name of a partition.
type Named<'a> = (&'a str, i32);

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: ListOffsetsRequest = call.decode(body)?;
    let version = call.version();
    let named = request.topics.iter();
    let named = named.flat_map(|topic| topic.partitions.iter().map(|one| (topic.name.as_str(), one.partition_index)));
    // The response has room for one offset of each partition.
    let repeated: BTreeSet<Named<'_>> = words::repeated(named);
    let judged = request.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            let is_repeated = repeated.contains(&(topic.name.as_str(), partition.partition_index));
            if is_repeated { Err(error_map::INVALID_REQUEST) } else { query(&topic.name, partition, version) }
        })
    });
    let (queries, refusals) = Refusals::split(judged);
    let isolation = words::isolation(request.isolation_level);
    let results = call.session.list_offsets(isolation, queries).await;
    let results = refusals.join(Ok(results.into_iter().map(|result| result.map_err(|error| error_map::code(&error)))));
    let mut results = results.into_iter();
    let topics = request.topics.iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let result = results.next().expect("each partition of the request has a result");
            response(partition.partition_index, result, version)
        });
        let partitions = words::once(partitions.collect(), |answer| answer.partition_index);
        ListOffsetsTopicResponse { name: topic.name.clone(), partitions }
    });
    let response = ListOffsetsResponse { topics: topics.collect(), ..ListOffsetsResponse::default() };
    call.answer(&response)
}

fn query(topic: &str, partition: &ListOffsetsPartition, version: i16) -> Result<OffsetQuery, i16> {
    Ok(OffsetQuery {
        topic: words::named(topic),
        partition: PartitionId(partition.partition_index),
        current_leader_epoch: words::leader_epoch(partition.current_leader_epoch),
        at: place(partition.timestamp, version).ok_or(error_map::UNSUPPORTED_VERSION)?,
    })
}

fn response(
    partition_index: i32,
    result: Result<Option<FoundOffset>, i16>,
    version: i16,
) -> ListOffsetsPartitionResponse {
    let answer = ListOffsetsPartitionResponse {
        partition_index,
        offset: words::NO_OFFSET,
        timestamp: words::NO_TIMESTAMP,
        leader_epoch: words::NO_LEADER_EPOCH,
        ..ListOffsetsPartitionResponse::default()
    };
    match result {
        Ok(Some(found)) => ListOffsetsPartitionResponse {
            offset: found.offset.0,
            timestamp: found.timestamp.0,
            leader_epoch: if version >= LEADER_EPOCH_FROM { found.leader_epoch.0 } else { words::NO_LEADER_EPOCH },
            ..answer
        },
        Ok(None) => answer,
        Err(error_code) => ListOffsetsPartitionResponse { error_code, ..answer },
    }
}

/// The place that a timestamp stands for: negative ones are special. `None` for a special timestamp
/// that does not exist in the request's version.
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
