//! Offsets in transactions: AddOffsetsToTxn, TxnOffsetCommit, and what OffsetFetch shows meanwhile.

use super::session::{Session, Topic};
use super::transactions::{INVALID_PRODUCER_EPOCH, PRODUCER_FENCED, Producer};
use crate::server::unique;
use rustmq_kafka_codec_messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use rustmq_kafka_codec_messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use rustmq_kafka_codec_messages::{
    AddOffsetsToTxnRequest, FindCoordinatorRequest, OffsetFetchRequest, TxnOffsetCommitRequest,
};

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const ILLEGAL_GENERATION: i16 = 22;
const INVALID_TXN_STATE: i16 = 48;
const GROUP_ID_NOT_FOUND: i16 = 69;
const UNSTABLE_OFFSET_COMMIT: i16 = 88;
const TRANSACTION_ABORTABLE: i16 = 120;
const OFFSET: i64 = 21;
/// The first version of AddOffsetsToTxn that tells a fenced producer from others.
const FENCED_FROM: i16 = 2;
/// The first versions of TxnOffsetCommit with the member, with the later codes of transactions,
/// that adds the group, and that names topics by their ids.
const MEMBER_FROM: i16 = 3;
const ABORTABLE_FROM: i16 = 4;
const ADDS_FROM: i16 = 5;
const TOPIC_IDS_FROM: i16 = 6;

/// A group whose coordinator is there.
fn group(session: &mut Session) -> String {
    let group = unique("versions-offsets");
    let keys = vec![group.clone()];
    let find = FindCoordinatorRequest { coordinator_keys: keys, ..FindCoordinatorRequest::default() };
    session.settled(|session| session.ask(4, &find), |found| found.coordinators[0].error_code);
    group
}

fn add(session: &mut Session, version: i16, producer: &Producer, group: &str) -> i16 {
    let request = AddOffsetsToTxnRequest {
        transactional_id: producer.transactional_id.clone(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        group_id: group.to_owned(),
    };
    session.settled(|session| session.ask(version, &request), |answer| answer.error_code).error_code
}

/// Commits in one partition. Returns its code.
fn commit(session: &mut Session, version: i16, request: &TxnOffsetCommitRequest) -> i16 {
    let answer =
        session.settled(|session| session.ask(version, request), |answer| answer.topics[0].partitions[0].error_code);
    let [topic] = &answer.topics[..] else { panic!("TxnOffsetCommit v{version} of one topic: {answer:?}") };
    if version >= TOPIC_IDS_FROM {
        assert_eq!(topic.topic_id, request.topics[0].topic_id, "TxnOffsetCommit v{version}");
    } else {
        assert_eq!(topic.name, request.topics[0].name, "TxnOffsetCommit v{version}");
    }
    assert_eq!(topic.partitions[0].partition_index, request.topics[0].partitions[0].partition_index);
    topic.partitions[0].error_code
}

fn commit_request(producer: &Producer, group: &str, topic: &Topic, partition_index: i32) -> TxnOffsetCommitRequest {
    let partition = TxnOffsetCommitRequestPartition {
        partition_index,
        committed_offset: OFFSET,
        committed_metadata: Some("a note".to_owned()),
        ..TxnOffsetCommitRequestPartition::default()
    };
    // A version takes the one by which it names topics.
    let topic =
        TxnOffsetCommitRequestTopic { name: topic.name.to_string(), topic_id: topic.id, partitions: vec![partition] };
    TxnOffsetCommitRequest {
        transactional_id: producer.transactional_id.clone(),
        group_id: group.to_owned(),
        producer_id: producer.id,
        producer_epoch: producer.epoch,
        topics: vec![topic],
        ..TxnOffsetCommitRequest::default()
    }
}

/// Code and offset of partition 0.
fn fetch(session: &mut Session, group: &str, topic: &Topic, require_stable: bool) -> (i16, i64) {
    let topic = OffsetFetchRequestTopics {
        name: topic.name.to_string(),
        partition_indexes: vec![0],
        ..OffsetFetchRequestTopics::default()
    };
    let group_id = group.to_owned();
    let group = OffsetFetchRequestGroup { group_id, topics: Some(vec![topic]), ..OffsetFetchRequestGroup::default() };
    let request = OffsetFetchRequest { groups: vec![group], require_stable, ..OffsetFetchRequest::default() };
    let answer = session.ask(8, &request);
    assert_eq!(answer.groups[0].error_code, 0);
    let partition = &answer.groups[0].topics[0].partitions[0];
    (partition.error_code, partition.committed_offset)
}

/// Asks until the marker is there.
fn fetch_stable(session: &mut Session, group: &str, topic: &Topic) -> i64 {
    loop {
        let (code, offset) = fetch(session, group, topic, true);
        if code == 0 {
            return offset;
        }
        assert_eq!(code, UNSTABLE_OFFSET_COMMIT);
    }
}

pub fn add_offsets_to_txn(session: &mut Session, version: i16) {
    let group = group(session);
    let producer = Producer::new(session);
    assert_eq!(add(session, version, &producer, &group), 0, "AddOffsetsToTxn v{version}");
    assert_eq!(add(session, version, &producer, &group), 0, "AddOffsetsToTxn v{version} again");
    let other = Producer { epoch: 5, transactional_id: producer.transactional_id.clone(), ..producer };
    let fenced = if version >= FENCED_FROM { PRODUCER_FENCED } else { INVALID_PRODUCER_EPOCH };
    assert_eq!(add(session, version, &other, &group), fenced, "AddOffsetsToTxn v{version} in another epoch");
}

pub fn txn_offset_commit(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    let outside = if version >= ABORTABLE_FROM { TRANSACTION_ABORTABLE } else { INVALID_TXN_STATE };
    for committed in [true, false] {
        let (group, producer) = (group(session), Producer::new(session));
        let request = commit_request(&producer, &group, &topic, 0);
        if version < ADDS_FROM {
            let code = commit(session, version, &request);
            assert_eq!(code, outside, "TxnOffsetCommit v{version} of a group that is not added");
            assert_eq!(add(session, 3, &producer, &group), 0);
        }
        assert_eq!(commit(session, version, &request), 0, "TxnOffsetCommit v{version}");
        assert_eq!(fetch(session, &group, &topic, false), (0, -1), "TxnOffsetCommit v{version} is open");
        let unstable = fetch(session, &group, &topic, true);
        assert_eq!(unstable, (UNSTABLE_OFFSET_COMMIT, -1), "TxnOffsetCommit v{version} is open");
        let absent = commit_request(&producer, &group, &topic, 9);
        assert_eq!(commit(session, version, &absent), UNKNOWN_TOPIC_OR_PARTITION, "TxnOffsetCommit v{version}");
        let other = TxnOffsetCommitRequest { producer_epoch: 5, ..request.clone() };
        assert_eq!(commit(session, version, &other), INVALID_PRODUCER_EPOCH, "TxnOffsetCommit v{version}");
        if version >= MEMBER_FROM {
            let mut stated = request;
            (stated.generation_id_or_member_epoch, stated.member_id) = (3, "nobody".to_owned());
            let refused = commit(session, version, &stated);
            assert!([ILLEGAL_GENERATION, 25, GROUP_ID_NOT_FOUND].contains(&refused), "v{version}: {refused}");
        }
        let of_end = if version >= ADDS_FROM { 5 } else { 3 };
        assert_eq!(producer.end(session, of_end, committed).error_code, 0);
        let expected = if committed { OFFSET } else { -1 };
        assert_eq!(fetch_stable(session, &group, &topic), expected, "TxnOffsetCommit v{version}: {committed}");
    }
}
