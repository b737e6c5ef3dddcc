//! Every advertised version of every advertised API, and the rules of the protocol that hold before any API does. The cases are
//! in `src/versions`; a pair that the broker advertises and that no case speaks fails here.
#![allow(clippy::unwrap_used)]

use kafka_protocol::messages::{ApiKey, ApiVersionsResponse, RequestKind};
use kafka_protocol::protocol::Decodable;
use rustmq_compat_tests::shared;
use rustmq_compat_tests::versions::{Session, batch, case, produce_request};
use rustmq_compat_tests::wire::Wire;
use std::panic::{AssertUnwindSafe, catch_unwind};

const UNSUPPORTED_VERSION: i16 = 35;

/// The versions of a key to ask: what RustMQ advertises, all of it; of Kafka's, what `kafka-protocol` can word, and the old
/// versions of Produce.
fn versions(session: &Session, key: ApiKey) -> std::ops::RangeInclusive<i16> {
    let (least, greatest) = session.advertised()[&(key as i16)];
    if !session.is_kafka() {
        return least..=greatest;
    }
    let worded = Session::worded(key);
    let from = if key == ApiKey::Produce { least } else { least.max(*worded.start()) };
    from..=greatest.min(*worded.end())
}

/// The versions of a key whose case fails; each has said why.
fn failures(key: i16, is_kafka: bool) -> Vec<String> {
    let known = ApiKey::try_from(key).ok().and_then(|key| Some((key, case(key)?)));
    let Some((key, case)) = known else {
        // Kafka advertises more than we do; the other way round there is no excuse.
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
    // Key 18, version 99, correlation 1, a client id of one byte, and whatever version 99 may hold.
    wire.send_frame(&[0, 18, 0, 99, 0, 0, 0, 1, 0, 1, b'c', 0, 1, 2, 3]).unwrap();
    let mut frame = wire.receive_frame().unwrap();
    assert_eq!(frame.split_to(4)[..], [0, 0, 0, 1], "the correlation id, in a header that is never flexible");
    let answer = ApiVersionsResponse::decode(&mut frame, 0).unwrap();
    assert!(frame.is_empty(), "{frame:?} after the end");
    assert_eq!(answer.error_code, UNSUPPORTED_VERSION);
    let listed = |key: i16| {
        let found = answer.api_keys.iter().find(|api| api.api_key == key)?;
        Some((found.min_version, found.max_version))
    };
    assert_eq!(listed(18).as_ref(), session.advertised().get(&18), "what to ask instead");
    if !session.is_kafka() {
        assert_eq!(answer.api_keys.len(), session.advertised().len(), "the whole list");
    }
    // The connection goes on.
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
    // Nobody is told when they are stored: each further record says how many there are by now.
    let mut sent = 0;
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while session.append(&topic) < 20 + sent {
        sent += 1;
        assert!(std::time::Instant::now() < deadline, "some of the twenty never arrived");
    }
}
