//! Bytes that no client would send. The broker answers with a Kafka error or closes the connection,
//! keeps running, serves its other connections, and takes at most a stated amount of memory for
//! them.

use super::bystander::{resident_kib, turn};
use super::frame;
use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, MetadataRequest, RequestKind, ResponseKind, metadata_request,
};
use kafka_protocol::protocol::StrBytes;
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rustmq_compat_tests::versions::{Session, Topic, batch, produce_request};
use rustmq_compat_tests::wire::Wire;
use rustmq_compat_tests::{Target, shared};

/// The most memory that hostile bytes may leave with the broker. Kafka's memory is not checked: its
/// heap has a fixed size.
const GROWTH_MAX_KIB: u64 = 96 << 10;

/// Runs a scenario beside an older connection, which must be served throughout.
fn unharmed(scenario: impl FnOnce(&mut dyn FnMut())) {
    let _turn = turn();
    let mut session = Session::open();
    let topic = session.topic(1);
    let mut stored = session.append(&topic);
    let before = resident_kib(shared());
    scenario(&mut || {
        stored += 1;
        assert_eq!(session.append(&topic), stored, "the bystander goes on");
        let grown = resident_kib(shared()).saturating_sub(before);
        let is_bounded = grown <= GROWTH_MAX_KIB || shared().target() == Target::Kafka;
        assert!(is_bounded, "the broker has grown by {grown} KiB");
    });
}

fn connect() -> Wire {
    Wire::connect(shared().port()).unwrap()
}

/// Waits until the broker has closed an idle connection. Kafka leaves some open that it will never
/// answer.
fn dealt_with(wire: Wire) {
    if shared().target() == Target::RustMq {
        wire.finish().unwrap();
    }
}

/// Requests to mutate: old and flexible encodings, and records.
fn samples(topic: &Topic) -> Vec<(ApiKey, i16, Vec<u8>)> {
    let named = metadata_request::MetadataRequestTopic::default().with_name(Some(topic.name.clone()));
    let metadata = RequestKind::Metadata(MetadataRequest::default().with_topics(Some(vec![named])));
    let name = StrBytes::from_static_str("hostile");
    let introduced =
        ApiVersionsRequest::default().with_client_software_name(name.clone()).with_client_software_version(name);
    let mut samples = vec![
        (ApiKey::Metadata, 4, frame(ApiKey::Metadata, 4, &metadata)),
        (ApiKey::Metadata, 12, frame(ApiKey::Metadata, 12, &metadata)),
        (ApiKey::ApiVersions, 3, frame(ApiKey::ApiVersions, 3, &RequestKind::ApiVersions(introduced))),
    ];
    for version in [3, 9, 13] {
        let request = RequestKind::Produce(produce_request(version, topic, 0, -1, batch(2)));
        samples.push((ApiKey::Produce, version, frame(ApiKey::Produce, version, &request)));
    }
    samples
}

#[test]
fn frames_that_cannot_be_requests_close_their_connection() {
    let hostile: [(&str, &[u8]); 8] = [
        ("a frame of 2 GiB", &[0x7f, 0xff, 0xff, 0xff]),
        ("a negative length", &[0xff, 0xff, 0xff, 0xff]),
        ("a frame shorter than any header", &[0, 0, 0, 2, 0, 3]),
        ("a client id beyond the frame", &[0, 0, 0, 10, 0, 3, 0, 1, 0, 0, 0, 1, 0x7f, 0xff]),
        ("two thousand million topics", &[0, 0, 0, 14, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
        (
            "as many in a flexible version",
            &[0, 0, 0, 16, 0, 3, 0, 9, 0, 0, 0, 1, 0xff, 0xff, 0, 0xff, 0xff, 0xff, 0xff, 0x07],
        ),
        ("a negative count", &[0, 0, 0, 14, 0, 3, 0, 4, 0, 0, 0, 1, 0xff, 0xff, 0x80, 0, 0, 0]),
        ("another protocol", b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
    ];
    unharmed(|bystander| {
        for (name, bytes) in hostile {
            let mut wire = connect();
            wire.send_raw(bytes).unwrap();
            // In some versions, Kafka takes a negative count for null, and answers.
            assert!(name == "a negative count" || wire.is_closed(), "{name} is answered");
            bystander();
        }
    });
}

#[test]
fn announced_frames_take_no_memory_before_they_arrive() {
    // With this small heap, Kafka answers nobody any more after a hundred of them.
    let connections = if shared().target() == Target::Kafka { 2 } else { 100 };
    unharmed(|bystander| {
        let mut waiting: Vec<Wire> = (0..connections).map(|_| connect()).collect();
        for wire in &mut waiting {
            // 90 MiB each, of which only a few bytes arrive.
            wire.send_raw(&(90_u32 << 20).to_be_bytes()).unwrap();
            wire.send_raw(&[0, 3, 0, 1, 0, 0]).unwrap();
        }
        bystander();
        drop(waiting);
        bystander();
    });
}

#[test]
fn every_cut_of_a_request_is_survived() {
    let mut session = Session::open();
    let topic = session.topic(1);
    unharmed(|bystander| {
        for (key, version, content) in samples(&topic) {
            for length in 0..content.len() {
                let mut cut = connect();
                if length % 2 == 0 {
                    // Ends inside the frame.
                    cut.send_raw(&u32::try_from(content.len()).unwrap().to_be_bytes()).unwrap();
                    cut.send_raw(&content[..length]).unwrap();
                } else {
                    // A whole frame with half a request.
                    cut.send_frame(&content[..length]).unwrap();
                }
                dealt_with(cut);
            }
            bystander();
            assert!(!content.is_empty(), "{key:?} v{version}");
        }
    });
}

#[test]
fn counts_and_lengths_of_any_size_are_survived() {
    let mut session = Session::open();
    let topic = session.topic(1);
    unharmed(|bystander| {
        for (_, _, content) in samples(&topic) {
            for at in 8..content.len().saturating_sub(4) {
                for absurd in [[0x7f, 0xff, 0xff, 0xff], [0xff; 4], [0x80, 0, 0, 0], [0xff, 0xff, 0xff, 0x07]] {
                    let mut spoiled = content.clone();
                    spoiled[at..at + 4].copy_from_slice(&absurd);
                    let mut wire = connect();
                    wire.send_frame(&spoiled).unwrap();
                    dealt_with(wire);
                }
            }
            bystander();
        }
    });
}

#[test]
fn noise_is_survived() {
    const ROUNDS: u64 = 2_000;
    const SEED: u64 = 20_260_101;
    let mut session = Session::open();
    let topic = session.topic(1);
    let keys: Vec<(i16, (i16, i16))> = session.advertised().iter().map(|(key, range)| (*key, *range)).collect();
    unharmed(|bystander| {
        let mut noise = StdRng::seed_from_u64(SEED);
        let samples = samples(&topic);
        for round in 0..ROUNDS {
            let mut body = vec![0; noise.random_range(0..300)];
            noise.fill_bytes(&mut body);
            let mut wire = connect();
            let sent = match round % 3 {
                0 => wire.send_raw(&body),
                1 => {
                    // A valid header, and a body of noise.
                    let (key, (least, greatest)) = keys[noise.random_range(0..keys.len())];
                    let version = noise.random_range(least..=greatest);
                    let mut content = [key.to_be_bytes(), version.to_be_bytes()].concat();
                    content.extend_from_slice(&[0, 0, 0, 1, 0xff, 0xff, 0]);
                    content.extend(body);
                    wire.send_frame(&content)
                }
                _ => {
                    let (_, _, mut content) = samples[noise.random_range(0..samples.len())].clone();
                    for _ in 0..noise.random_range(1..5) {
                        let at = noise.random_range(0..content.len());
                        content[at] = noise.random();
                    }
                    wire.send_frame(&content)
                }
            };
            // A connection that is closed before everything is sent is an answer, too.
            drop(sent);
            dealt_with(wire);
            if round % 100 == 99 {
                bystander();
            }
        }
    });
}

/// A batch of one record with some bytes changed. Its checksum is correct again, unless the
/// checksum was changed.
fn spoiled(at: usize, bytes: &[u8], renew: bool) -> Bytes {
    const CRC: usize = 17;
    const CRC_COVERS_FROM: usize = 21;
    let mut records = batch(1).to_vec();
    records[at..at + bytes.len()].copy_from_slice(bytes);
    if renew {
        let crc = crc32c::crc32c(&records[CRC_COVERS_FROM..]);
        records[CRC..CRC_COVERS_FROM].copy_from_slice(&crc.to_be_bytes());
    }
    records.into()
}

#[test]
fn batches_that_lie_are_refused_and_the_next_is_taken() {
    const CORRUPT_MESSAGE: i16 = 2;
    const INVALID_RECORD: i16 = 87;
    let whole = batch(1);
    let cases = [
        ("a wrong checksum", spoiled(17, &[1, 2, 3, 4], false), [CORRUPT_MESSAGE, CORRUPT_MESSAGE]),
        ("a batch of before Kafka 0.11", spoiled(16, &[1], false), [CORRUPT_MESSAGE, INVALID_RECORD]),
        ("a batch of the future", spoiled(16, &[3], false), [CORRUPT_MESSAGE, INVALID_RECORD]),
        ("a length beyond the records", spoiled(8, &[0, 1, 0, 0], false), [CORRUPT_MESSAGE, INVALID_RECORD]),
        ("a negative length", spoiled(8, &[0xff; 4], false), [CORRUPT_MESSAGE, INVALID_RECORD]),
        ("more records than it holds", spoiled(57, &[0x7f, 0xff, 0xff, 0xff], true), [INVALID_RECORD, CORRUPT_MESSAGE]),
        ("fewer than none", spoiled(57, &[0xff; 4], true), [INVALID_RECORD, CORRUPT_MESSAGE]),
        ("another last offset than its count", spoiled(23, &[0, 0, 0, 9], true), [INVALID_RECORD, CORRUPT_MESSAGE]),
        ("half a batch", whole.slice(..whole.len() / 2), [CORRUPT_MESSAGE, INVALID_RECORD]),
        ("two batches", [&whole[..], &whole[..]].concat().into(), [INVALID_RECORD, INVALID_RECORD]),
    ];
    unharmed(|bystander| {
        let mut session = Session::open();
        let topic = session.topic(1);
        let version = session.newest(ApiKey::Produce);
        for (name, records, codes) in cases {
            let request = RequestKind::Produce(produce_request(version, &topic, 0, -1, records));
            let ResponseKind::Produce(answer) = session.call(ApiKey::Produce, version, &request) else {
                panic!("another answer than Produce")
            };
            let partition = &answer.responses[0].partition_responses[0];
            assert!(codes.contains(&partition.error_code), "{name} is answered with {}", partition.error_code);
            assert_eq!(partition.base_offset, -1, "{name}");
            bystander();
        }
        assert_eq!(session.append(&topic), 0, "nothing of it was stored");
    });
}

#[test]
fn a_client_that_never_reads_is_bounded() {
    unharmed(|bystander| {
        let mut silent = connect();
        let content = frame(ApiKey::ApiVersions, 0, &RequestKind::ApiVersions(ApiVersionsRequest::default()));
        // Far less than the broker may have in flight; the kernel's buffers hold the answers.
        for _ in 0..200 {
            silent.send_frame(&content).unwrap();
        }
        bystander();
        for _ in 0..200 {
            silent.receive_frame().unwrap();
        }
        bystander();
    });
}
