//! A group's offsets: OffsetCommit, OffsetFetch, OffsetDelete, with the metadata string and the
//! leader epoch of an offset.

use super::groups::{Member, member};
use super::session::{Session, Topic, group_id, text, topic_name};
use crate::server::unique;
use kafka_protocol::messages::{
    ApiKey, OffsetDeleteRequest, RequestKind, ResponseKind, TopicName, offset_delete_request,
};
use kafka_protocol::protocol::StrBytes;
use rustmq_kafka_codec_messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use rustmq_kafka_codec_messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use rustmq_kafka_codec_messages::{OffsetCommitRequest, OffsetFetchRequest};
use uuid::Uuid;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const GROUP_ID_NOT_FOUND: i16 = 69;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;
const UNKNOWN_TOPIC_ID: i16 = 100;
const OFFSET: i64 = 11;
const NOTE: &str = "a note, κόσμε";
/// The first version of OffsetFetch for several groups.
const GROUPS_FROM: i16 = 8;
/// The first version of both that names topics by their ids.
const TOPIC_IDS_FROM: i16 = 10;

fn commit(session: &mut Session, version: i16, who: &Member, topic: &Topic, partition: i32, note: &str) -> i16 {
    let wanted = OffsetCommitRequestPartition {
        partition_index: partition,
        committed_offset: OFFSET,
        committed_leader_epoch: 0,
        committed_metadata: Some(note.to_owned()),
    };
    // A version takes the one by which it names topics.
    let wanted =
        OffsetCommitRequestTopic { name: topic.name.to_string(), topic_id: topic.id, partitions: vec![wanted] };
    let request = OffsetCommitRequest {
        group_id: who.group.clone(),
        generation_id_or_member_epoch: who.generation,
        member_id: who.id.to_string(),
        topics: vec![wanted],
        ..OffsetCommitRequest::default()
    };
    let answer = session.ask(version, &request);
    let [answered] = &answer.topics[..] else { panic!("OffsetCommit v{version} of one topic: {answer:?}") };
    if version >= TOPIC_IDS_FROM {
        assert_eq!(answered.topic_id, topic.id, "OffsetCommit v{version}");
    }
    assert_eq!(answered.partitions[0].partition_index, partition, "OffsetCommit v{version}");
    answered.partitions[0].error_code
}

/// Topic, partition, code, offset, leader epoch, note.
type Fetched = (Topic, i32, i16, i64, i32, Option<String>);

/// Some partitions of a topic; `None` asks for all that the group has committed.
type Asked<'a> = Option<(&'a Topic, &'a [i32])>;

/// A group's offsets of some partitions of a topic; of all topics where none is named.
fn fetch(session: &mut Session, version: i16, group: &str, asked: Asked<'_>) -> Vec<Fetched> {
    if version >= GROUPS_FROM {
        return fetch_batched(session, version, group, asked);
    }
    let topics = asked.map(|(topic, partitions)| {
        vec![OffsetFetchRequestTopic { name: topic.name.to_string(), partition_indexes: partitions.to_vec() }]
    });
    let request = OffsetFetchRequest { group_id: group.to_owned(), topics, ..OffsetFetchRequest::default() };
    let answer = session.ask(version, &request);
    assert_eq!(answer.error_code, 0, "OffsetFetch v{version}");
    let partitions = answer.topics.into_iter().flat_map(|topic| {
        let found = Topic { name: topic_name(&topic.name), id: Uuid::nil() };
        topic.partitions.into_iter().map(move |partition| (found.clone(), partition))
    });
    partitions
        .map(|(topic, p)| {
            (topic, p.partition_index, p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata)
        })
        .collect()
}

/// Two groups at once, the second of which nobody made.
fn fetch_batched(session: &mut Session, version: i16, group: &str, asked: Asked<'_>) -> Vec<Fetched> {
    const NOBODYS: &str = "nobody-made-it";
    let topics = asked.map(|(topic, partitions)| {
        vec![OffsetFetchRequestTopics {
            name: topic.name.to_string(),
            topic_id: topic.id,
            partition_indexes: partitions.to_vec(),
        }]
    });
    let of = |group: &str, topics| OffsetFetchRequestGroup {
        group_id: group.to_owned(),
        topics,
        ..OffsetFetchRequestGroup::default()
    };
    let groups = vec![of(group, topics), of(NOBODYS, None)];
    let mut answer = session.ask(version, &OffsetFetchRequest { groups, ..OffsetFetchRequest::default() });
    let none = answer.groups.iter().find(|found| found.group_id == NOBODYS).expect("both are answered");
    assert_eq!((none.error_code, none.topics.len()), (0, 0), "OffsetFetch v{version} of none");
    answer.groups.retain(|found| found.group_id == group);
    assert_eq!((answer.groups.len(), answer.groups[0].error_code), (1, 0), "OffsetFetch v{version}");
    let topics = answer.groups.remove(0).topics.into_iter();
    let partitions = topics.flat_map(|topic| {
        let found = Topic { name: topic_name(&topic.name), id: topic.topic_id };
        topic.partitions.into_iter().map(move |partition| (found.clone(), partition))
    });
    partitions
        .map(|(topic, p)| {
            (topic, p.partition_index, p.error_code, p.committed_offset, p.committed_leader_epoch, p.metadata)
        })
        .collect()
}

/// The offset and the metadata of partition 0.
fn committed(session: &mut Session, group: &str, topic: &Topic) -> (i64, Option<String>) {
    let version = session.newest(ApiKey::OffsetFetch);
    let (_, _, _, offset, _, note) = fetch(session, version, group, Some((topic, &[0]))).remove(0);
    (offset, note)
}

pub fn offset_commit(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    let one = member(session, version);
    assert_eq!(commit(session, version, &one, &topic, 0, NOTE), 0, "OffsetCommit v{version}");
    assert_eq!(committed(session, &one.group, &topic), (OFFSET, Some(NOTE.into())), "OffsetCommit v{version}");
    let late = Member { generation: 9, ..one.clone() };
    let stranger = Member { id: text("nobody"), ..one.clone() };
    let lost = Member { group: unique("versions-none"), ..one.clone() };
    let missing = Topic { name: topic_name("nobody_made_it"), id: Uuid::from_u128(7) };
    let nameless = Topic { id: Uuid::nil(), ..missing.clone() };
    let unknown_topic = if version >= TOPIC_IDS_FROM { UNKNOWN_TOPIC_ID } else { UNKNOWN_TOPIC_OR_PARTITION };
    let unknown_group = if version >= 9 { GROUP_ID_NOT_FOUND } else { ILLEGAL_GENERATION };
    let long = "n".repeat(4097);
    let cases = [
        (&late, &topic, 0, NOTE, ILLEGAL_GENERATION),
        (&stranger, &topic, 0, NOTE, UNKNOWN_MEMBER_ID),
        (&lost, &topic, 0, NOTE, unknown_group),
        (&one, &topic, 5, NOTE, UNKNOWN_TOPIC_OR_PARTITION),
        (&one, &missing, 0, NOTE, unknown_topic),
        (&one, &nameless, 0, NOTE, unknown_topic),
        (&one, &topic, 0, &long, OFFSET_METADATA_TOO_LARGE),
    ];
    for (who, topic, partition, note, code) in cases {
        assert_eq!(commit(session, version, who, topic, partition, note), code, "OffsetCommit v{version}");
    }
    // Without members, as tools and manual assignment commit.
    let simple = Member { group: unique("versions-simple"), id: StrBytes::default(), generation: -1 };
    assert_eq!(commit(session, version, &simple, &topic, 0, ""), 0, "OffsetCommit v{version} without members");
    assert_eq!(committed(session, &simple.group, &topic), (OFFSET, Some(String::new())), "OffsetCommit v{version}");
}

pub fn offset_fetch(session: &mut Session, version: i16) {
    let topic = session.topic(2);
    let simple = Member { group: unique("versions-simple"), id: StrBytes::default(), generation: -1 };
    let newest = session.newest(ApiKey::OffsetCommit);
    assert_eq!(commit(session, newest, &simple, &topic, 0, NOTE), 0, "OffsetCommit v{newest}");
    let epoch = if version >= 5 { 0 } else { -1 };
    let found = fetch(session, version, &simple.group, Some((&topic, &[0, 1])));
    let expected = [(0, 0, OFFSET, epoch, NOTE), (1, 0, -1, -1, "")];
    assert_eq!(found.len(), expected.len(), "OffsetFetch v{version}");
    for (partition, code, offset, epoch, note) in expected {
        let found = found.iter().find(|found| found.1 == partition).expect("each partition is answered");
        assert_eq!((found.2, found.3, found.4), (code, offset, epoch), "OffsetFetch v{version} of {partition}");
        assert_eq!(found.5.as_deref(), Some(note), "OffsetFetch v{version} of {partition}");
        if version >= TOPIC_IDS_FROM {
            assert_eq!(found.0.id, topic.id, "OffsetFetch v{version}");
        } else {
            assert_eq!(found.0.name, topic.name, "OffsetFetch v{version}");
        }
    }
    if version >= TOPIC_IDS_FROM {
        for id in [Uuid::from_u128(7), Uuid::nil()] {
            let missing = Topic { name: TopicName::default(), id };
            let found = fetch(session, version, &simple.group, Some((&missing, &[0])));
            let (topic, partition, code, offset, ..) = &found[0];
            assert_eq!((topic.id, *partition, *code, *offset), (id, 0, UNKNOWN_TOPIC_ID, -1), "OffsetFetch v{version}");
        }
    }
    if version >= 2 {
        let all = fetch(session, version, &simple.group, None);
        assert_eq!(all.len(), 1, "OffsetFetch v{version} of all");
        assert_eq!((all[0].1, all[0].3), (0, OFFSET), "OffsetFetch v{version} of all");
        if version >= TOPIC_IDS_FROM {
            assert_eq!(all[0].0.id, topic.id, "OffsetFetch v{version} of all");
        }
    }
}

pub fn offset_delete(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    let newest = session.newest(ApiKey::OffsetCommit);
    let simple = Member { group: unique("versions-simple"), id: StrBytes::default(), generation: -1 };
    assert_eq!(commit(session, newest, &simple, &topic, 0, NOTE), 0, "OffsetCommit v{newest}");
    let ask = |session: &mut Session, group: &str, partition| {
        let partition = offset_delete_request::OffsetDeleteRequestPartition::default().with_partition_index(partition);
        let wanted = offset_delete_request::OffsetDeleteRequestTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default().with_group_id(group_id(group)).with_topics(vec![wanted]);
        let answer = ask!(session, OffsetDelete, version, request);
        (answer.error_code, answer.topics.first().map(|topic| topic.partitions[0].error_code))
    };
    assert_eq!(ask(session, &simple.group, 5), (0, Some(UNKNOWN_TOPIC_OR_PARTITION)), "OffsetDelete v{version}");
    assert_eq!(ask(session, &simple.group, 0), (0, Some(0)), "OffsetDelete v{version}");
    assert_eq!(committed(session, &simple.group, &topic).0, -1, "OffsetDelete v{version}");
    let none = ask(session, &unique("versions-none"), 0);
    assert_eq!(none, (GROUP_ID_NOT_FOUND, None), "OffsetDelete v{version} of none");
    // A member whose subscription cannot be parsed may have any topic.
    let one = member(session, session.newest(ApiKey::JoinGroup));
    assert_eq!(commit(session, newest, &one, &topic, 0, NOTE), 0, "OffsetCommit v{newest}");
    let held = ask(session, &one.group, 0);
    assert!(
        [(0, Some(0)), (0, Some(GROUP_SUBSCRIBED_TO_TOPIC))].contains(&held),
        "OffsetDelete v{version} of a group with members: {held:?}"
    );
}
