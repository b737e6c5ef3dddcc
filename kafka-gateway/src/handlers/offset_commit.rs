//! OffsetCommit: positions of a group or of a simple consumer.

use std::time::Duration;

use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse};
use rustmq_broker_service::groups::{GroupId, InstanceId, MemberId};
use rustmq_broker_service::{CommitEntry, GroupCommit};
use rustmq_model::{Offset, PartitionId};

use crate::api::{Call, CallError};
use crate::connection::Handling;
use crate::error_map;
use crate::words;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: OffsetCommitRequest = call.decode()?;
    let mut offsets = Vec::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            offsets.push(CommitEntry {
                topic: words::named(topic.name.as_str()),
                partition: PartitionId(partition.partition_index),
                offset: Offset(partition.committed_offset),
                leader_epoch: words::leader_epoch(partition.committed_leader_epoch),
                metadata: partition.committed_metadata.as_deref().unwrap_or_default().to_owned(),
            });
        }
    }
    let wait = call.shared.broker.commit_offsets(GroupCommit {
        group: GroupId::new(request.group_id.as_str()),
        member: MemberId::new(request.member_id.as_str()),
        instance: request.group_instance_id.as_deref().map(InstanceId::new),
        generation: request.generation_id_or_member_epoch,
        // -1 leaves it to the broker; so do versions that cannot say.
        retention: u64::try_from(request.retention_time_ms).ok().map(Duration::from_millis),
        offsets,
    });
    Ok(call.answer_later(async move {
        let mut results = wait.await.into_iter();
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let code = results.next().map_or(error_map::UNKNOWN_TOPIC_OR_PARTITION, |one| error_map::outcome(&one));
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(code)
            });
            OffsetCommitResponseTopic::default().with_partitions(partitions.collect()).with_name(topic.name)
        });
        OffsetCommitResponse::default().with_topics(topics.collect())
    }))
}
