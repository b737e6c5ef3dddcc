//! OffsetCommit: commits offsets of a group or of a simple consumer. From version 10 on topics are
//! named by their ids.

use std::time::Duration;

use rustmq_broker_service::groups::{GroupError, GroupId, InstanceId, MemberId};
use rustmq_broker_service::{CommitEntry, GroupCommit, GroupOffsetError, TopicRef};
use rustmq_kafka_codec_messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use rustmq_kafka_codec_messages::{OffsetCommitRequest, OffsetCommitResponse};
use rustmq_model::{Offset, PartitionId};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// The first version in which a group that does not exist has an error of its own.
const GROUP_ID_NOT_FOUND_FROM: i16 = 9;
/// The first version that members of consumer groups may use.
const MEMBER_EPOCHS_FROM: i16 = 9;
/// The first version that names topics by their ids.
const TOPIC_IDS_FROM: i16 = 10;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let mut request: OffsetCommitRequest = call.decode(body)?;
    let version = call.version();
    let offsets = entries(&mut request, version);
    let wait = call.session.commit_offsets(GroupCommit {
        group: GroupId::new(&request.group_id),
        member: MemberId::new(&request.member_id),
        instance: request.group_instance_id.as_deref().map(InstanceId::new),
        generation: request.generation_id_or_member_epoch,
        supports_member_epochs: version >= MEMBER_EPOCHS_FROM,
        // Without a time, which is -1, and in versions without the field, the broker's setting
        // holds.
        retention: u64::try_from(request.retention_time_ms).ok().map(Duration::from_millis),
        offsets,
    });
    Ok(call.answer_later(async move {
        let mut results = wait.await.into_iter();
        let topics = request.topics.into_iter().map(|topic| {
            let partitions = topic.partitions.iter().map(|partition| {
                let result = results.next().expect("each partition of the request has a result");
                let error_code = code(&result, version);
                OffsetCommitResponsePartition { partition_index: partition.partition_index, error_code }
            });
            let partitions = partitions.collect();
            OffsetCommitResponseTopic { name: topic.name, topic_id: topic.topic_id, partitions }
        });
        OffsetCommitResponse { topics: topics.collect(), ..OffsetCommitResponse::default() }
    }))
}

/// The offsets to commit, in the order of the request. Takes the metadata strings out of it.
fn entries(request: &mut OffsetCommitRequest, version: i16) -> Vec<CommitEntry> {
    let mut entries = Vec::new();
    for topic in &mut request.topics {
        for partition in &mut topic.partitions {
            entries.push(CommitEntry {
                topic: match version {
                    ..TOPIC_IDS_FROM => words::named(&topic.name),
                    _ => TopicRef::Id(words::topic_id(topic.topic_id)),
                },
                partition: PartitionId(partition.partition_index),
                offset: Offset(partition.committed_offset),
                leader_epoch: words::leader_epoch(partition.committed_leader_epoch),
                metadata: partition.committed_metadata.take().unwrap_or_default(),
            });
        }
    }
    entries
}

/// Older versions have ILLEGAL_GENERATION for a group that does not exist.
fn code(result: &Result<(), GroupOffsetError>, version: i16) -> i16 {
    match result {
        Err(GroupOffsetError::Group(GroupError::GroupIdNotFound)) if version < GROUP_ID_NOT_FOUND_FROM => {
            error_map::group_code(&GroupError::IllegalGeneration)
        }
        _ => error_map::outcome(result),
    }
}
