//! Administrative requests that no client library sends: requests that contradict themselves, and
//! timeouts that expire before anything can be done.
#![allow(clippy::unwrap_used)]

use kafka_protocol::messages::{
    ApiKey, CreatePartitionsRequest, CreateTopicsRequest, DeleteRecordsRequest, DeleteTopicsRequest, MetadataRequest,
    RequestKind, ResponseKind, TopicName, create_partitions_request, create_topics_request, delete_records_request,
    delete_topics_request, metadata_request,
};
use kafka_protocol::protocol::StrBytes;
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::shared;
use rustmq_compat_tests::versions::{Session, Topic};
use uuid::Uuid;

const OK: i16 = 0;
const OFFSET_OUT_OF_RANGE: i16 = 1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const REQUEST_TIMED_OUT: i16 = 7;
const INVALID_REQUEST: i16 = 42;
const PATIENT: i32 = 30_000;

/// Returns the answer to a request in the newest version.
macro_rules! ask {
    ($session:expr, $kind:ident, $request:expr) => {{
        let version = $session.newest(ApiKey::$kind);
        let answer = $session.call(ApiKey::$kind, version, &RequestKind::$kind($request));
        let ResponseKind::$kind(answer) = answer else { panic!("another answer than {}", stringify!($kind)) };
        answer
    }};
}

fn name(text: &str) -> TopicName {
    TopicName(StrBytes::from_string(text.to_owned()))
}

/// The number of partitions of a topic; `None` if there is no such topic.
fn partitions(session: &mut Session, topic: &TopicName) -> Option<usize> {
    let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(topic.clone()));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(false);
    let found = ask!(session, Metadata, request).topics.remove(0);
    (found.error_code == OK).then_some(found.partitions.len())
}

/// The code of one creation.
fn create(session: &mut Session, topic: &TopicName, timeout_ms: i32, validate_only: bool) -> i16 {
    let wanted = create_topics_request::CreatableTopic::default()
        .with_name(topic.clone())
        .with_num_partitions(1)
        .with_replication_factor(1);
    let request = CreateTopicsRequest::default()
        .with_topics(vec![wanted])
        .with_timeout_ms(timeout_ms)
        .with_validate_only(validate_only);
    ask!(session, CreateTopics, request).topics.remove(0).error_code
}

/// The code of one extension.
fn grow(session: &mut Session, topic: &TopicName, count: i32, timeout_ms: i32, validate_only: bool) -> i16 {
    let wanted = create_partitions_request::CreatePartitionsTopic::default()
        .with_name(topic.clone())
        .with_count(count)
        .with_assignments(None);
    let request = CreatePartitionsRequest::default()
        .with_topics(vec![wanted])
        .with_timeout_ms(timeout_ms)
        .with_validate_only(validate_only);
    ask!(session, CreatePartitions, request).results.remove(0).error_code
}

/// How a DeleteTopics request names one topic.
fn by(name: Option<&TopicName>, id: Uuid) -> delete_topics_request::DeleteTopicState {
    delete_topics_request::DeleteTopicState::default().with_name(name.cloned()).with_topic_id(id)
}

/// The name, id and code of each topic in the answer.
fn delete(
    session: &mut Session,
    topics: Vec<delete_topics_request::DeleteTopicState>,
    timeout_ms: i32,
) -> Vec<(Option<TopicName>, Uuid, i16)> {
    let request = DeleteTopicsRequest::default().with_topics(topics).with_timeout_ms(timeout_ms);
    let answers = ask!(session, DeleteTopics, request).responses;
    answers.into_iter().map(|answer| (answer.name, answer.topic_id, answer.error_code)).collect()
}

/// The code and the low watermark of one deletion in partition 0.
fn delete_records(session: &mut Session, topic: &TopicName, before: i64, timeout_ms: i32) -> (i16, i64) {
    let wanted = delete_records_request::DeleteRecordsPartition::default().with_partition_index(0).with_offset(before);
    let wanted =
        delete_records_request::DeleteRecordsTopic::default().with_name(topic.clone()).with_partitions(vec![wanted]);
    let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(timeout_ms);
    let found = ask!(session, DeleteRecords, request).topics.remove(0).partitions.remove(0);
    (found.error_code, found.low_watermark)
}

/// Returns when all earlier changes are visible: makes one more change, and waits until it is
/// visible.
fn catch_up(session: &mut Session) {
    session.topic(1);
}

#[test]
fn a_topic_is_deleted_by_its_name_or_its_id_and_not_by_both() {
    let session = &mut Session::open();
    let (one, other, third) = (session.topic(1), session.topic(1), session.topic(1));
    // The topics that the request selects, and the codes of the answers.
    let Topic { name, id } = &one;
    let cases = [
        ("its name and the id of another", vec![by(Some(name), other.id)], vec![INVALID_REQUEST]),
        ("its name and its id", vec![by(Some(name), *id)], vec![INVALID_REQUEST]),
        ("its name and an unknown id", vec![by(Some(name), Uuid::from_u128(0xdead))], vec![INVALID_REQUEST]),
        ("nothing", vec![by(None, Uuid::nil())], vec![INVALID_REQUEST]),
        ("its name twice", vec![by(Some(name), Uuid::nil()); 2], vec![INVALID_REQUEST]),
        ("its id twice", vec![by(None, *id); 2], vec![INVALID_REQUEST]),
    ];
    for (what, topics, codes) in cases {
        let answers = delete(session, topics.clone(), PATIENT);
        let (asked, told) = (&topics[0], &answers[0]);
        assert_eq!((&told.0, told.1), (&asked.name, asked.topic_id), "{what}");
        assert_eq!(answers.iter().map(|answer| answer.2).collect::<Vec<_>>(), codes, "{what}");
    }
    // Two names for one topic; Kafka answers them together.
    let answers = delete(session, vec![by(Some(name), Uuid::nil()), by(None, *id)], PATIENT);
    assert!(answers.iter().all(|answer| answer.2 == INVALID_REQUEST), "its name, and its id: {answers:?}");
    // A refused deletion leaves the others.
    let mut answers = delete(session, vec![by(Some(name), other.id), by(Some(&third.name), Uuid::nil())], PATIENT);
    answers.sort_by_key(|answer| answer.2);
    let expected = [(Some(third.name.clone()), third.id, OK), (Some(name.clone()), other.id, INVALID_REQUEST)];
    assert_eq!(answers, expected);
    assert!(shared().knows(|| partitions(session, &third.name).is_none()));
    for kept in [&one, &other] {
        assert_eq!(partitions(session, &kept.name), Some(1), "nothing was deleted");
    }
}

#[test]
fn a_topic_is_given_one_count_of_partitions_at_a_time() {
    let session = &mut Session::open();
    let topic = session.topic(1);
    let wanted = |count| {
        create_partitions_request::CreatePartitionsTopic::default()
            .with_name(topic.name.clone())
            .with_count(count)
            .with_assignments(None)
    };
    let request = CreatePartitionsRequest::default().with_topics(vec![wanted(2), wanted(3)]).with_timeout_ms(PATIENT);
    let codes: Vec<i16> =
        ask!(session, CreatePartitions, request).results.iter().map(|result| result.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST]);
    catch_up(session);
    assert_eq!(partitions(session, &topic.name), Some(1));
}

#[test]
fn the_clusters_own_topics_are_not_made_by_clients() {
    let session = &mut Session::open();
    for validate_only in [true, false] {
        assert_eq!(create(session, &name("__cluster_metadata"), PATIENT, validate_only), INVALID_REQUEST);
    }
    // Kafka lets a client create these; here the client could not undo it, and the coordinators
    // need them.
    let expected = if session.is_kafka() { OK } else { INVALID_REQUEST };
    for coordinators in ["__transaction_state", "__share_group_state"] {
        assert_eq!(create(session, &name(coordinators), PATIENT, true), expected, "{coordinators}");
    }
    // Nor does a metadata request create it.
    let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(name("__cluster_metadata")));
    let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
    for _ in 0..2 {
        let found = ask!(session, Metadata, request.clone()).topics.remove(0);
        assert_eq!(found.error_code, UNKNOWN_TOPIC_OR_PARTITION);
        catch_up(session);
    }
}

#[test]
fn a_request_without_time_is_not_carried_out() {
    let session = &mut Session::open();
    let topic = session.topic(1);
    let absent = name(&unique("without-time"));
    for timeout_ms in [0, -1, i32::MIN] {
        for validate_only in [true, false] {
            let code = create(session, &absent, timeout_ms, validate_only);
            assert_eq!(code, REQUEST_TIMED_OUT, "CreateTopics within {timeout_ms} ms");
            let code = grow(session, &topic.name, 3, timeout_ms, validate_only);
            assert_eq!(code, REQUEST_TIMED_OUT, "CreatePartitions within {timeout_ms} ms");
        }
        let answers = delete(session, vec![by(Some(&topic.name), Uuid::nil())], timeout_ms);
        assert_eq!(answers[0].2, REQUEST_TIMED_OUT, "DeleteTopics within {timeout_ms} ms");
    }
    catch_up(session);
    assert_eq!((partitions(session, &absent), partitions(session, &topic.name)), (None, Some(1)));
}

#[test]
fn a_request_that_timed_out_has_done_nothing() {
    let session = &mut Session::open();
    for round in 0..20 {
        let topic = name(&unique("short-time"));
        let created = create(session, &topic, 1, false);
        assert!([OK, REQUEST_TIMED_OUT].contains(&created), "{created}");
        catch_up(session);
        assert_eq!(partitions(session, &topic), (created == OK).then_some(1), "round {round}: {created}");
        if created != OK {
            assert_eq!(create(session, &topic, PATIENT, false), OK);
        }
        session.wait_for_topic(&topic);
        let grown = grow(session, &topic, 2, 1, false);
        assert!([OK, REQUEST_TIMED_OUT].contains(&grown), "{grown}");
        catch_up(session);
        let count = if grown == OK { 2 } else { 1 };
        assert_eq!(partitions(session, &topic), Some(count), "round {round}: {grown}");
        let deleted = delete(session, vec![by(Some(&topic), Uuid::nil())], 1).remove(0).2;
        assert!([OK, REQUEST_TIMED_OUT].contains(&deleted), "{deleted}");
        catch_up(session);
        let count = (deleted != OK).then_some(count);
        assert_eq!(partitions(session, &topic), count, "round {round}: {deleted}");
    }
}

#[test]
fn records_are_deleted_whatever_the_timeout() {
    let session = &mut Session::open();
    let topic = session.topic(1);
    for _ in 0..4 {
        session.append(&topic);
    }
    for (before, timeout_ms, expected) in
        [(1, 0, (OK, 1)), (2, -1, (OK, 2)), (3, 1, (OK, 3)), (9, 0, (OFFSET_OUT_OF_RANGE, -1)), (-1, 0, (OK, 4))]
    {
        let found = delete_records(session, &topic.name, before, timeout_ms);
        assert_eq!(found, expected, "before {before} within {timeout_ms} ms");
    }
}
