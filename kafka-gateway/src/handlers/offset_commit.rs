//! OffsetCommit: positions of a group or of a simple consumer. From version 10 on topics are named
//! by their ids.

use std::time::Duration;

use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{OffsetCommitRequest, OffsetCommitResponse, TopicName};
use rustmq_broker_service::groups::{GroupError, GroupId, InstanceId, MemberId};
use rustmq_broker_service::{CommitEntry, GroupCommit, GroupOffsetError, TopicRef};
use rustmq_model::{Offset, PartitionId};
use uuid::Uuid;

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::topic_id_requests::{CommitById, TOPIC_IDS_FROM, read_commit};
use crate::words;

/// The first version in which a group that does not exist has an error of its own.
const GROUP_ID_NOT_FOUND_FROM: i16 = 9;

/// A topic of the request: its name, or its id where versions have that instead.
struct Topic {
    name: TopicName,
    id: Uuid,
    partitions: Vec<OffsetCommitRequestPartition>,
}

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let (mut commit, topics) = if call.version() < TOPIC_IDS_FROM { by_name(&call)? } else { by_id(&call)? };
    for topic in &topics {
        for partition in &topic.partitions {
            commit.offsets.push(CommitEntry {
                topic: match call.version() {
                    ..TOPIC_IDS_FROM => words::named(topic.name.as_str()),
                    _ => TopicRef::Id(words::topic_id(topic.id)),
                },
                partition: PartitionId(partition.partition_index),
                offset: Offset(partition.committed_offset),
                leader_epoch: words::leader_epoch(partition.committed_leader_epoch),
                metadata: partition.committed_metadata.as_deref().unwrap_or_default().to_owned(),
            });
        }
    }
    let version = call.version();
    let wait = call.shared.broker.commit_offsets(commit);
    Ok(call.answer_later(async move {
        let mut results = wait.await.into_iter();
        let topics = topics.into_iter().map(|Topic { name, id, partitions }| {
            let partitions = partitions.iter().map(|partition| {
                let result = results.next();
                OffsetCommitResponsePartition::default()
                    .with_partition_index(partition.partition_index)
                    .with_error_code(result.map_or(error_map::UNKNOWN_TOPIC_OR_PARTITION, |one| code(&one, version)))
            });
            OffsetCommitResponseTopic::default().with_partitions(partitions.collect()).with_name(name).with_topic_id(id)
        });
        OffsetCommitResponse::default().with_topics(topics.collect())
    }))
}

/// Who commits, and what.
type Asked = (GroupCommit, Vec<Topic>);

fn by_name(call: &Call) -> Result<Asked, CallError> {
    let request: OffsetCommitRequest = call.decode()?;
    let commit = GroupCommit {
        group: GroupId::new(request.group_id.as_str()),
        member: MemberId::new(request.member_id.as_str()),
        instance: request.group_instance_id.as_deref().map(InstanceId::new),
        generation: request.generation_id_or_member_epoch,
        // -1 leaves it to the broker; so do versions that cannot say.
        retention: u64::try_from(request.retention_time_ms).ok().map(Duration::from_millis),
        offsets: Vec::new(),
    };
    let topics = request.topics.into_iter();
    let topics = topics.map(|topic| Topic { name: topic.name, id: Uuid::nil(), partitions: topic.partitions });
    Ok((commit, topics.collect()))
}

fn by_id(call: &Call) -> Result<Asked, CallError> {
    let request = read_commit(call.body()?).ok_or_else(|| call.undecodable("a null, or a text that is not UTF-8"))?;
    let CommitById { group, generation_or_epoch, member, instance, topics } = request;
    let commit = GroupCommit {
        group: GroupId::new(&group),
        member: MemberId::new(&member),
        instance: instance.as_deref().map(InstanceId::new),
        generation: generation_or_epoch,
        retention: None,
        offsets: Vec::new(),
    };
    let topics = topics.into_iter().map(|(id, partitions)| Topic { name: TopicName::default(), id, partitions });
    Ok((commit, topics.collect()))
}

/// Older clients know a group that does not exist as one that has moved on.
fn code(result: &Result<(), GroupOffsetError>, version: i16) -> i16 {
    match result {
        Err(GroupOffsetError::Group(GroupError::GroupIdNotFound)) if version < GROUP_ID_NOT_FOUND_FROM => {
            error_map::group_code(&GroupError::IllegalGeneration)
        }
        _ => error_map::outcome(result),
    }
}
