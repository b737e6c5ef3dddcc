//! OffsetDelete: deletes committed offsets of topics to which the group is not subscribed
//! (KIP-496).

use rustmq_broker_service::groups::GroupId;
use rustmq_kafka_codec_messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use rustmq_kafka_codec_messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use rustmq_model::PartitionId;

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: OffsetDeleteRequest = call.decode(body)?;
    let mut partitions = Vec::new();
    for topic in &request.topics {
        let indexes = topic.partitions.iter().map(|partition| PartitionId(partition.partition_index));
        partitions.extend(indexes.map(|partition| (words::topic_name(&topic.name), partition)));
    }
    let wait = call.session.delete_offsets(GroupId::new(&request.group_id), partitions);
    Ok(call.answer_later(async move {
        let outcomes = match wait.await {
            Ok(outcomes) => outcomes,
            Err(error) => {
                return OffsetDeleteResponse {
                    error_code: error_map::group_code(&error),
                    ..OffsetDeleteResponse::default()
                };
            }
        };
        let mut outcomes = outcomes.into_iter();
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let outcome = outcomes.next();
                let code = outcome.map_or(error_map::UNKNOWN_TOPIC_OR_PARTITION, |one| error_map::outcome(&one));
                OffsetDeleteResponsePartition { partition_index: partition.partition_index, error_code: code }
            });
            OffsetDeleteResponseTopic { partitions: partitions.collect(), name: topic.name }
        });
        OffsetDeleteResponse { topics: topics.collect(), ..OffsetDeleteResponse::default() }
    }))
}
