//! Produce versions 0 to 2, which are advertised for librdkafka's sake and refused: they end the
//! connection. `kafka-protocol` begins with version 3, so the request is built by hand.

use super::session::{Session, Topic};
use bytes::BufMut;
use kafka_protocol::messages::ApiKey;

pub fn is_refused(session: &mut Session, version: i16, topic: &Topic) {
    let mut frame = Vec::new();
    frame.put_i16(ApiKey::Produce as i16);
    frame.put_i16(version);
    frame.put_i32(7); // correlation
    frame.put_i16(-1); // no client id
    frame.put_i16(1); // acks
    frame.put_i32(30_000);
    frame.put_i32(1);
    put_text(&mut frame, &topic.name);
    frame.put_i32(1);
    frame.put_i32(0); // the partition
    frame.put_i32(0); // its records
    assert!(session.closes(ApiKey::Produce, version, &frame), "Produce v{version} is answered");
}

fn put_text(frame: &mut Vec<u8>, text: &str) {
    frame.put_i16(i16::try_from(text.len()).expect("names of scenarios are short"));
    frame.put_slice(text.as_bytes());
}
