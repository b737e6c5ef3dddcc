//! OffsetDelete: forgets committed offsets of topics that a group is not subscribed to (KIP-496).

use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{OffsetDeleteRequest, OffsetDeleteResponse};
use rustmq_broker_service::groups::GroupId;
use rustmq_model::PartitionId;

use crate::call::{Call, CallError, Handling};
use crate::error_map;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: OffsetDeleteRequest = call.decode()?;
    let mut partitions = Vec::new();
    for topic in &request.topics {
        let indexes = topic.partitions.iter().map(|partition| PartitionId(partition.partition_index));
        partitions.extend(indexes.map(|partition| (topic.name.to_string(), partition)));
    }
    let wait = call.shared.broker.delete_offsets(GroupId::new(request.group_id.as_str()), partitions);
    Ok(call.answer_later(async move {
        let outcomes = match wait.await {
            Ok(outcomes) => outcomes,
            Err(error) => return OffsetDeleteResponse::default().with_error_code(error_map::group_code(&error)),
        };
        let mut outcomes = outcomes.into_iter();
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let outcome = outcomes.next();
                let code = outcome.map_or(error_map::UNKNOWN_TOPIC_OR_PARTITION, |one| error_map::outcome(&one));
                OffsetDeleteResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code)
            });
            OffsetDeleteResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
        });
        OffsetDeleteResponse::default().with_topics(topics.collect())
    }))
}
