//! OffsetForLeaderEpoch: where leader epochs ended.

use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use rustmq_broker_service::EpochQuery;
use rustmq_model::PartitionId;

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: OffsetForLeaderEpochRequest = call.decode()?;
    let mut queries = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            queries.push(EpochQuery {
                topic: words::named(topic.topic.as_str()),
                partition: PartitionId(partition.partition),
                current_leader_epoch: words::leader_epoch(partition.current_leader_epoch),
                epoch: words::leader_epoch(partition.leader_epoch),
            });
        }
    }
    let mut results = call.shared.broker.epoch_ends(&queries).into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer =
                EpochEndOffset::default().with_partition(partition.partition).with_leader_epoch(-1).with_end_offset(-1);
            match results.next() {
                Some(Ok(Some(end))) => answer.with_leader_epoch(end.epoch.0).with_end_offset(end.end_offset.0),
                Some(Ok(None)) => answer,
                Some(Err(error)) => answer.with_error_code(error_map::code(&error)),
                None => answer.with_error_code(error_map::UNKNOWN_TOPIC_OR_PARTITION),
            }
        });
        OffsetForLeaderTopicResult::default().with_partitions(partitions.collect()).with_topic(topic.topic)
    });
    let response = OffsetForLeaderEpochResponse::default().with_topics(topics.collect());
    call.answer(&response)
}
