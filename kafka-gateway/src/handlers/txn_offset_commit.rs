//! TxnOffsetCommit: commits offsets of a group that become visible with the producer's transaction.
//! From version 3 on the producer may state the member that has read the records (KIP-447), from
//! version 5 on the request adds the group to the transaction (KIP-890), and from version 6 on
//! topics are named by their ids.

use rustmq_broker_service::groups::{GroupId, InstanceId, MemberId};
use rustmq_broker_service::{CommitEntry, GroupCommit, TopicRef, TransactionalCommit, TransactionalOffsetError};
use rustmq_kafka_codec_messages::txn_offset_commit_request::TxnOffsetCommitRequestTopic;
use rustmq_kafka_codec_messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use rustmq_kafka_codec_messages::{ApiKey, TxnOffsetCommitRequest, TxnOffsetCommitResponse};
use rustmq_model::{Offset, PartitionId, ProducerEpoch, ProducerId, ProducerKey, TransactionVersion, TransactionalId};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// The first version whose clients speak transaction version 2.
const ADDS_PARTITION_FROM: i16 = 5;
/// The first version that names topics by their ids.
const TOPIC_IDS_FROM: i16 = 6;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let mut request: TxnOffsetCommitRequest = call.decode(body)?;
    let version = call.version();
    let codes = match TransactionalId::new(&request.transactional_id) {
        Ok(id) => {
            let offsets = entries(&mut request.topics, version);
            let commit = GroupCommit {
                group: GroupId::new(&request.group_id),
                member: MemberId::new(&request.member_id),
                instance: request.group_instance_id.as_deref().map(InstanceId::new),
                generation: request.generation_id_or_member_epoch,
                supports_member_epochs: true,
                retention: None,
                offsets,
            };
            let commit = TransactionalCommit {
                id,
                producer: ProducerKey {
                    id: ProducerId(request.producer_id),
                    epoch: ProducerEpoch(request.producer_epoch),
                },
                version: if version >= ADDS_PARTITION_FROM { TransactionVersion::V2 } else { TransactionVersion::V0 },
                commit,
            };
            let results = call.session.commit_offsets_in_transaction(commit).await;
            let code = |error: TransactionalOffsetError| error_map::code_in(ApiKey::TxnOffsetCommit, version, &error);
            results.into_iter().map(|result| result.err().map_or(error_map::NONE, code)).collect()
        }
        Err(error) => {
            let count = request.topics.iter().map(|topic| topic.partitions.len()).sum();
            vec![error_map::code(&error); count]
        }
    };
    call.answer(&TxnOffsetCommitResponse { topics: by_topic(request.topics, codes), ..Default::default() })
}

/// The offsets to commit, in the order of the request. Takes the metadata strings out of it.
fn entries(topics: &mut [TxnOffsetCommitRequestTopic], version: i16) -> Vec<CommitEntry> {
    let mut entries = Vec::new();
    for topic in topics {
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

/// The codes of the partitions, by topic. They have the order of the request.
fn by_topic(topics: Vec<TxnOffsetCommitRequestTopic>, codes: Vec<i16>) -> Vec<TxnOffsetCommitResponseTopic> {
    let mut codes = codes.into_iter();
    let topics = topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().zip(&mut codes).map(|(partition, error_code)| {
            TxnOffsetCommitResponsePartition { partition_index: partition.partition_index, error_code }
        });
        let partitions = partitions.collect();
        TxnOffsetCommitResponseTopic { name: topic.name, topic_id: topic.topic_id, partitions }
    });
    topics.collect()
}
