//! Every advertised version of every advertised API, and the rules of the protocol that precede any
//! API. The cases are in `src/versions`. An advertised pair without a case fails here.
#![allow(clippy::unwrap_used)]

use kafka_protocol::messages::{
    ApiKey, ApiVersionsResponse, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, RequestKind,
    ResponseKind, TopicName, create_partitions_request, create_topics_request,
};
use kafka_protocol::protocol::{Decodable, StrBytes};
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::shared;
use rustmq_compat_tests::versions::{Session, Topic, batch, called_zstd, case, of_producer, produce_request};
use rustmq_compat_tests::wire::Wire;
use std::panic::{AssertUnwindSafe, catch_unwind};

const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;
const OUT_OF_ORDER_SEQUENCE_NUMBER: i16 = 45;

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The versions of a key to test: for RustMQ all advertised ones; for Kafka those that
/// `kafka-protocol` can encode, and the old versions of Produce.
fn versions(session: &Session, key: ApiKey) -> std::ops::RangeInclusive<i16> {
    let (least, greatest) = session.advertised()[&(key as i16)];
    if !session.is_kafka() {
        return least..=greatest;
    }
    let encodable = Session::encodable(key);
    let from = if key == ApiKey::Produce { least } else { least.max(*encodable.start()) };
    from..=greatest.min(*encodable.end())
}

/// The versions of a key whose case fails; each has printed the reason.
fn failures(key: i16, is_kafka: bool) -> Vec<String> {
    let known = ApiKey::try_from(key).ok().and_then(|key| Some((key, case(key)?)));
    let Some((key, case)) = known else {
        // Kafka advertises more than RustMQ; RustMQ must not advertise more than the cases cover.
        return if is_kafka { Vec::new() } else { vec![format!("key {key} is advertised and has no case")] };
    };
    let mut session = Session::open();
    let mut failed = Vec::new();
    for version in versions(&session, key) {
        let ran = catch_unwind(AssertUnwindSafe(|| case(&mut session, version)));
        if ran.is_err() || !session.has_asked(key, version) {
            failed.push(format!("{key:?} v{version}"));
            session = Session::open();
        }
    }
    failed
}

#[test]
fn every_advertised_version_is_answered_as_it_must_be() {
    let session = Session::open();
    let keys: Vec<i16> = session.advertised().keys().copied().collect();
    let is_kafka = session.is_kafka();
    let failed: Vec<String> = std::thread::scope(|scope| {
        let running: Vec<_> = keys.iter().map(|key| scope.spawn(move || failures(*key, is_kafka))).collect();
        running.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert!(failed.is_empty(), "failed, with their messages above: {failed:?}");
}

#[test]
fn a_version_of_api_versions_from_the_future_is_answered_in_version_0() {
    let session = Session::open();
    let mut wire = Wire::connect(shared().port()).unwrap();
    // Key 18, version 99, correlation 1, a client id of one byte, and unknown bytes of version 99.
    wire.send_frame(&[0, 18, 0, 99, 0, 0, 0, 1, 0, 1, b'c', 0, 1, 2, 3]).unwrap();
    let mut frame = wire.receive_frame().unwrap();
    assert_eq!(frame.split_to(4)[..], [0, 0, 0, 1], "the correlation id, in a header that is never flexible");
    let answer = ApiVersionsResponse::decode(&mut frame, 0).unwrap();
    assert!(frame.is_empty(), "{frame:?} after the end");
    assert_eq!(answer.error_code, UNSUPPORTED_VERSION);
    let listed: Vec<_> = answer.api_keys.iter().map(|api| (api.api_key, api.min_version, api.max_version)).collect();
    let (least, greatest) = session.advertised()[&18];
    assert_eq!(listed, [(18, least, greatest)], "what to ask instead, and no more (KIP-511)");
    // The connection continues.
    let request = RequestKind::ApiVersions(kafka_protocol::messages::ApiVersionsRequest::default());
    wire.send(ApiKey::ApiVersions, 0, &request).unwrap();
    wire.receive(ApiKey::ApiVersions, 0).unwrap();
}

#[test]
fn an_unknown_key_or_version_closes_the_connection() {
    let unknown: [&[u8]; 3] = [
        &[0x7f, 0xff, 0, 0, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 3, 0x7f, 0xff, 0, 0, 0, 1, 0xff, 0xff],
        &[0, 3, 0xff, 0xff, 0, 0, 0, 1, 0xff, 0xff],
    ];
    for frame in unknown {
        let mut wire = Wire::connect(shared().port()).unwrap();
        wire.send_frame(frame).unwrap();
        assert!(wire.is_closed(), "{frame:?} is answered");
    }
}

#[test]
fn the_version_after_the_last_of_any_other_api_closes_the_connection() {
    let mut session = Session::open();
    let others: Vec<_> =
        session.advertised().iter().filter(|(key, _)| **key != 18).map(|(key, range)| (*key, range.1)).collect();
    for (key, greatest) in others {
        let Ok(api) = ApiKey::try_from(key) else { continue };
        let mut frame = Vec::new();
        for part in [key, greatest + 1] {
            frame.extend(part.to_be_bytes());
        }
        // Correlation 1, no client id, and zeros for the rest.
        frame.extend([0, 0, 0, 1, 0xff, 0xff]);
        frame.extend([0; 32]);
        assert!(session.closes(api, greatest + 1, &frame), "{api:?} v{} is answered", greatest + 1);
    }
}

#[test]
fn what_a_request_names_twice_is_refused_and_answered_once() {
    let mut session = Session::open();
    let there = session.topic(1);
    let created = |name: &TopicName| {
        create_topics_request::CreatableTopic::default()
            .with_name(name.clone())
            .with_num_partitions(1)
            .with_replication_factor(1)
    };
    let (twice, once) = (TopicName(text(&unique("twice"))), TopicName(text(&unique("once"))));
    for version in 2..=7 {
        let topics = [&twice, &once, &twice, &twice].map(created).to_vec();
        let request =
            CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(30_000).with_validate_only(true);
        let answer = session.call(ApiKey::CreateTopics, version, &RequestKind::CreateTopics(request));
        let ResponseKind::CreateTopics(answer) = answer else { panic!("another answer") };
        let mut found: Vec<_> = answer.topics.iter().map(|topic| (topic.name.clone(), topic.error_code)).collect();
        found.sort();
        assert_eq!(found, [(once.clone(), 0), (twice.clone(), INVALID_REQUEST)], "CreateTopics v{version}");
    }
    for version in 1..=5 {
        let names = vec![there.name.clone(), there.name.clone()];
        let request = DeleteTopicsRequest::default().with_topic_names(names).with_timeout_ms(30_000);
        let answer = session.call(ApiKey::DeleteTopics, version, &RequestKind::DeleteTopics(request));
        let ResponseKind::DeleteTopics(answer) = answer else { panic!("another answer") };
        let codes: Vec<_> = answer.responses.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [INVALID_REQUEST], "DeleteTopics v{version}");
    }
    for version in 0..=3 {
        let more = create_partitions_request::CreatePartitionsTopic::default()
            .with_name(there.name.clone())
            .with_count(2)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![more.clone(), more]).with_timeout_ms(30_000);
        let answer = session.call(ApiKey::CreatePartitions, version, &RequestKind::CreatePartitions(request));
        let ResponseKind::CreatePartitions(answer) = answer else { panic!("another answer") };
        let codes: Vec<_> = answer.results.iter().map(|topic| topic.error_code).collect();
        assert_eq!(codes, [INVALID_REQUEST], "CreatePartitions v{version}");
    }
}

#[test]
fn an_error_under_acks_0_closes_the_connection() {
    let mut session = Session::open();
    let topic = session.topic(1);
    let version = session.nearest(ApiKey::Produce, 9);
    let of = |sequence| of_producer(&batch(1), 424_242, sequence);
    let first = produce_request(version, &topic, 0, -1, of(0));
    session.call(ApiKey::Produce, version, &RequestKind::Produce(first));
    let missing = Topic { name: TopicName(text(&unique("missing"))), ..topic };
    let cases = [
        ("a topic that is not there", version, produce_request(version, &missing, 0, 0, batch(1))),
        ("a partition that is not there", version, produce_request(version, &topic, 7, 0, batch(1))),
        ("zstd in an old version", 6, produce_request(6, &topic, 0, 0, called_zstd(&batch(1)))),
        // Detected only when the log is written.
        ("a gap in the sequence", version, produce_request(version, &topic, 0, 0, of(9))),
    ];
    for (what, version, request) in cases {
        let mut wire = Wire::connect(shared().port()).unwrap();
        wire.send(ApiKey::Produce, version, &RequestKind::Produce(request)).unwrap();
        assert!(wire.is_closed(), "{what} is passed over");
    }
    // Records without an error are stored.
    let mut wire = Wire::connect(shared().port()).unwrap();
    let request = produce_request(version, &topic, 0, 0, of(1));
    wire.send(ApiKey::Produce, version, &RequestKind::Produce(request)).unwrap();
    let request = RequestKind::ApiVersions(kafka_protocol::messages::ApiVersionsRequest::default());
    wire.call(ApiKey::ApiVersions, 0, &request).unwrap();
}

#[test]
fn a_producer_without_state_may_begin_at_any_sequence() {
    let mut session = Session::open();
    let topic = session.topic(1);
    let version = session.newest(ApiKey::Produce);
    for (sequence, code) in [(5, 0), (6, 0), (9, OUT_OF_ORDER_SEQUENCE_NUMBER)] {
        let records = of_producer(&batch(1), 515_151, sequence);
        let request = produce_request(version, &topic, 0, -1, records);
        let answer = session.call(ApiKey::Produce, version, &RequestKind::Produce(request));
        let ResponseKind::Produce(answer) = answer else { panic!("another answer") };
        let partition = &answer.responses[0].partition_responses[0];
        assert_eq!(partition.error_code, code, "{sequence}: {:?}", partition.error_message);
        let is_plain = partition.error_message.as_ref().is_none_or(|text| !text.contains("Sequence("));
        assert!(is_plain, "{:?}", partition.error_message);
    }
}

#[test]
fn what_acks_0_sent_before_it_left_is_kept() {
    let mut session = Session::open();
    let topic = session.topic(1);
    let version = session.newest(ApiKey::Produce);
    let mut wire = Wire::connect(shared().port()).unwrap();
    for _ in 0..20 {
        let request = produce_request(version, &topic, 0, 0, batch(1));
        wire.send(ApiKey::Produce, version, &RequestKind::Produce(request)).unwrap();
    }
    drop(wire);
    // Storing is not reported: each further record returns the number of records so far.
    let mut sent = 0;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while session.append(&topic) < 20 + sent {
        sent += 1;
        assert!(std::time::Instant::now() < deadline, "some of the twenty never arrived");
    }
}
