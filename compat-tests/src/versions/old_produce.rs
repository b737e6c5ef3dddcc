//! Produce versions 0 to 2, advertised for librdkafka's sake and not served. `kafka-protocol` begins with 3, so both sides are
//! written by hand. Kafka closes the connection; RustMQ answers each partition with UNSUPPORTED_VERSION.

use super::session::{Session, Topic};
use bytes::{Buf, BufMut};
use kafka_protocol::messages::ApiKey;

const UNSUPPORTED_VERSION: i16 = 35;
const CORRELATION: i32 = 7;

pub fn is_refused(session: &mut Session, version: i16, topic: &Topic) {
    let mut frame = Vec::new();
    frame.put_i16(ApiKey::Produce as i16);
    frame.put_i16(version);
    frame.put_i32(CORRELATION);
    frame.put_i16(-1); // no client id
    frame.put_i16(1); // acks
    frame.put_i32(30_000);
    frame.put_i32(1);
    put_text(&mut frame, &topic.name);
    frame.put_i32(1);
    frame.put_i32(0); // the partition
    frame.put_i32(0); // its records
    let answer = session.call_raw(ApiKey::Produce, version, &frame);
    if session.is_kafka() {
        assert!(answer.is_err(), "Produce v{version} is answered");
        return;
    }
    let mut answer = answer.unwrap_or_else(|error| panic!("Produce v{version}: {error:#}"));
    let mut expected = Vec::new();
    expected.put_i32(CORRELATION);
    expected.put_i32(1);
    put_text(&mut expected, &topic.name);
    expected.put_i32(1);
    expected.put_i32(0);
    expected.put_i16(UNSUPPORTED_VERSION);
    expected.put_i64(-1);
    if version >= 2 {
        expected.put_i64(-1); // log append time
    }
    if version >= 1 {
        expected.put_i32(0); // throttle time
    }
    assert_eq!(answer.copy_to_bytes(answer.remaining()), expected, "Produce v{version}");
}

fn put_text(frame: &mut Vec<u8>, text: &str) {
    frame.put_i16(i16::try_from(text.len()).expect("names of scenarios are short"));
    frame.put_slice(text.as_bytes());
}
