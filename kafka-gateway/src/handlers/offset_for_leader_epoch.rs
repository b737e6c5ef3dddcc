//! OffsetForLeaderEpoch: the end offsets of leader epochs.

use rustmq_broker_service::EpochQuery;
use rustmq_kafka_codec_messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use rustmq_kafka_codec_messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};
use rustmq_model::PartitionId;

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: OffsetForLeaderEpochRequest = call.decode(body)?;
    let mut queries = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            queries.push(EpochQuery {
                topic: words::named(&topic.topic),
                partition: PartitionId(partition.partition),
                current_leader_epoch: words::leader_epoch(partition.current_leader_epoch),
                epoch: words::leader_epoch(partition.leader_epoch),
            });
        }
    }
    let mut results = call.session.epoch_ends(&queries).into_iter();
    let topics = request.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|partition| {
            let answer = EpochEndOffset {
                partition: partition.partition,
                leader_epoch: words::NO_LEADER_EPOCH,
                end_offset: words::NO_OFFSET,
                ..EpochEndOffset::default()
            };
            match results.next().expect("each partition of the request has a result") {
                Ok(Some(end)) => EpochEndOffset { leader_epoch: end.epoch.0, end_offset: end.end_offset.0, ..answer },
                Ok(None) => answer,
                Err(error) => EpochEndOffset { error_code: error_map::code(&error), ..answer },
            }
        });
        OffsetForLeaderTopicResult { partitions: partitions.collect(), topic: topic.topic }
    });
    let response = OffsetForLeaderEpochResponse { topics: topics.collect(), ..OffsetForLeaderEpochResponse::default() };
    call.answer(&response)
}
