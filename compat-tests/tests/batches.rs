//! The treatment of record batches that no client library would write: headers with false fields,
//! records that consumers could not read, and look-ups by time if the log starts inside a batch.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, BrokerId, DeleteRecordsRequest, ListOffsetsRequest, RequestKind, ResponseKind, delete_records_request,
    list_offsets_request,
};
use rustmq_compat_tests::versions::crafted::{Codec, DeclaredFields, crafted, record};
use rustmq_compat_tests::versions::{Session, Topic, produce_request};
use std::time::{SystemTime, UNIX_EPOCH};

const UNKNOWN_SERVER_ERROR: i16 = -1;
const INVALID_RECORD: i16 = 87;
const LATEST: i64 = -1;
const LARGEST_TIMESTAMP: i64 = -3;
const NO_HEADERS: &[u8] = &[0];
const LOG_APPEND_TIME: u16 = 8;

fn now() -> i64 {
    i64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

fn produce(session: &mut Session, topic: &Topic, batch: Bytes) -> i16 {
    let version = session.newest(ApiKey::Produce);
    let request = RequestKind::Produce(produce_request(version, topic, 0, -1, batch));
    let ResponseKind::Produce(answer) = session.call(ApiKey::Produce, version, &request) else { panic!() };
    answer.responses[0].partition_responses[0].error_code
}

/// The offset and the timestamp that ListOffsets returns.
fn find(session: &mut Session, topic: &Topic, at: i64) -> (i64, i64) {
    let partition = list_offsets_request::ListOffsetsPartition::default().with_timestamp(at);
    let wanted = list_offsets_request::ListOffsetsTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]);
    let version = session.newest(ApiKey::ListOffsets);
    let answer = session.call(ApiKey::ListOffsets, version, &RequestKind::ListOffsets(request));
    let ResponseKind::ListOffsets(answer) = answer else { panic!() };
    let found = &answer.topics[0].partitions[0];
    assert_eq!(found.error_code, 0, "ListOffsets at {at}");
    (found.offset, found.timestamp)
}

fn delete_before(session: &mut Session, topic: &Topic, offset: i64) {
    let partition = delete_records_request::DeleteRecordsPartition::default().with_offset(offset);
    let wanted = delete_records_request::DeleteRecordsTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(vec![partition]);
    let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
    let version = session.newest(ApiKey::DeleteRecords);
    let answer = session.call(ApiKey::DeleteRecords, version, &RequestKind::DeleteRecords(request));
    let ResponseKind::DeleteRecords(answer) = answer else { panic!() };
    assert_eq!(answer.topics[0].partitions[0].error_code, 0);
}

#[test]
fn records_that_consumers_could_not_read_are_refused() {
    let mut session = Session::open();
    let topic = session.topic(1);
    let (first, second) = (record(0, 0, NO_HEADERS), record(1, 0, NO_HEADERS));
    let two = [first.clone(), second].concat();
    // A header count of one, then a name of length -1 and a value of one byte; a header count of
    // -1.
    let (nameless, negative) = (record(0, 0, &[2, 1, 2, b'v']), record(0, 0, &[1]));
    let cases = [
        ("two records", &two, 2, 0),
        ("one record of two", &first, 2, INVALID_RECORD),
        ("two records of one", &two, 1, INVALID_RECORD),
        ("a header without a name", &nameless, 1, INVALID_RECORD),
        ("a negative header count", &negative, 1, INVALID_RECORD),
    ];
    for codec in Codec::ALL {
        let stated = |count| {
            let now = now();
            DeclaredFields { codec, attributes: 0, base_timestamp: now, max_timestamp: now, count }
        };
        for (what, records, count, code) in &cases {
            let batch = crafted(stated(*count), &codec.store(records));
            assert_eq!(produce(&mut session, &topic, batch), *code, "{codec:?}: {what}");
        }
        if codec != Codec::None {
            let whole = codec.store(&two);
            for (what, body) in [("cut", &whole[..whole.len() - 9]), ("garbage", &[0xff; 40][..])] {
                let code = produce(&mut session, &topic, crafted(stated(2), body));
                assert_eq!(code, UNKNOWN_SERVER_ERROR, "{codec:?}: {what}");
            }
        }
    }
    let accepted = 2 * i64::try_from(Codec::ALL.len()).unwrap();
    assert_eq!(find(&mut session, &topic, LATEST), (accepted, -1), "what was refused takes no offset");
}

#[test]
fn the_largest_timestamp_of_a_batch_is_that_of_its_records() {
    let mut session = Session::open();
    let records = [record(0, 0, NO_HEADERS), record(1, 50, NO_HEADERS), record(2, 20, NO_HEADERS)].concat();
    for codec in Codec::ALL {
        let base_timestamp = now() - 1_000;
        let largest = base_timestamp + 50;
        for stated in [-1, 0, base_timestamp, base_timestamp + 20, largest + 1, i64::MAX] {
            let topic = session.topic(1);
            let stated = DeclaredFields { codec, attributes: 0, base_timestamp, max_timestamp: stated, count: 3 };
            assert_eq!(produce(&mut session, &topic, crafted(stated, &codec.store(&records))), 0, "{stated:?}");
            for (at, found) in [
                (base_timestamp, (0, base_timestamp)),
                (base_timestamp + 1, (1, largest)),
                (largest, (1, largest)),
                (largest + 1, (-1, -1)),
                (LARGEST_TIMESTAMP, (1, largest)),
            ] {
                assert_eq!(find(&mut session, &topic, at), found, "at {at} with {stated:?}");
            }
        }
    }
}

#[test]
fn the_timestamp_type_is_the_topics() {
    let mut session = Session::open();
    let topic = session.topic(1);
    let now = now();
    let stated = DeclaredFields {
        codec: Codec::None,
        attributes: LOG_APPEND_TIME,
        base_timestamp: now - 10,
        max_timestamp: now,
        count: 1,
    };
    assert_eq!(produce(&mut session, &topic, crafted(stated, &record(0, 0, NO_HEADERS))), 0);
    assert_eq!(find(&mut session, &topic, now - 10), (0, now - 10), "the record's own time");
}

#[test]
fn the_largest_timestamp_is_that_of_a_record_which_is_left() {
    let mut session = Session::open();
    let (rising, falling) = (session.topic(1), session.topic(1));
    let base_timestamp = now() - 1_000;
    let stated =
        |max_timestamp| DeclaredFields { codec: Codec::None, attributes: 0, base_timestamp, max_timestamp, count: 3 };
    let up = [record(0, 0, NO_HEADERS), record(1, 20, NO_HEADERS), record(2, 50, NO_HEADERS)].concat();
    let down = [record(0, 50, NO_HEADERS), record(1, 20, NO_HEADERS), record(2, 0, NO_HEADERS)].concat();
    for (topic, records) in [(&rising, up), (&falling, down)] {
        assert_eq!(produce(&mut session, topic, crafted(stated(base_timestamp + 50), &records)), 0);
        delete_before(&mut session, topic, 1);
    }
    assert_eq!(find(&mut session, &rising, LARGEST_TIMESTAMP), (2, base_timestamp + 50));
    // Kafka searches below the log start here, and returns a deleted record.
    let left = if session.is_kafka() { (0, base_timestamp + 50) } else { (1, base_timestamp + 20) };
    assert_eq!(find(&mut session, &falling, LARGEST_TIMESTAMP), left);
}
