//! OffsetCommit and OffsetFetch in version 10, which name topics by their ids. `kafka-protocol`
//! encodes these requests up to version 9 and decodes the answers of all versions, so the requests
//! are built by hand.

use super::groups::Member;
use super::session::{Session, Topic};
use bytes::{BufMut, Bytes};
use kafka_protocol::messages::{ApiKey, OffsetCommitResponse, OffsetFetchResponse};
use kafka_protocol::protocol::Decodable;

pub const FROM: i16 = 10;
const CORRELATION: i32 = 9;
const NULL: u8 = 0;
const NO_TAGS: u8 = 0;

/// The code of one partition's commit.
pub fn commit(session: &mut Session, who: &Member, topic: &Topic, partition: i32, offset: i64, note: &str) -> i16 {
    let mut frame = header(ApiKey::OffsetCommit);
    put_text(&mut frame, &who.group);
    frame.put_i32(who.generation);
    put_text(&mut frame, &who.id);
    frame.put_u8(NULL); // no instance
    put_count(&mut frame, 1);
    frame.put_slice(topic.id.as_bytes());
    put_count(&mut frame, 1);
    frame.put_i32(partition);
    frame.put_i64(offset);
    frame.put_i32(0); // the leader epoch
    put_text(&mut frame, note);
    frame.put_slice(&[NO_TAGS; 3]); // of the partition, of the topic, of the request
    let mut answer = answer(session, ApiKey::OffsetCommit, &frame);
    let decoded = OffsetCommitResponse::decode(&mut answer, FROM).expect("OffsetCommit v10");
    assert!(answer.is_empty(), "OffsetCommit v10 has {} bytes after its end", answer.len());
    assert_eq!((decoded.topics.len(), decoded.topics[0].topic_id), (1, topic.id), "OffsetCommit v10");
    assert_eq!(decoded.topics[0].partitions[0].partition_index, partition, "OffsetCommit v10");
    decoded.topics[0].partitions[0].error_code
}

/// Some partitions of a topic; `None` for all that the group has committed.
pub type Asked<'a> = Option<(&'a Topic, &'a [i32])>;

/// The answer for some groups.
pub fn fetch(session: &mut Session, groups: &[(&str, Asked<'_>)]) -> OffsetFetchResponse {
    let mut frame = header(ApiKey::OffsetFetch);
    put_count(&mut frame, groups.len());
    for (group, asked) in groups {
        put_text(&mut frame, group);
        frame.put_u8(NULL); // no member
        frame.put_i32(-1); // no epoch
        match asked {
            None => frame.put_u8(NULL),
            Some((topic, partitions)) => {
                put_count(&mut frame, 1);
                frame.put_slice(topic.id.as_bytes());
                put_count(&mut frame, partitions.len());
                for partition in *partitions {
                    frame.put_i32(*partition);
                }
                frame.put_u8(NO_TAGS);
            }
        }
        frame.put_u8(NO_TAGS);
    }
    frame.put_u8(0); // unstable offsets will do
    frame.put_u8(NO_TAGS);
    let mut answer = answer(session, ApiKey::OffsetFetch, &frame);
    let decoded = OffsetFetchResponse::decode(&mut answer, FROM).expect("OffsetFetch v10");
    assert!(answer.is_empty(), "OffsetFetch v10 has {} bytes after its end", answer.len());
    decoded
}

/// A request's header in its flexible version.
fn header(key: ApiKey) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_i16(key as i16);
    frame.put_i16(FROM);
    frame.put_i32(CORRELATION);
    frame.put_i16(-1); // no client id
    frame.put_u8(NO_TAGS);
    frame
}

/// The body of an answer, after its flexible header.
fn answer(session: &mut Session, key: ApiKey, frame: &[u8]) -> Bytes {
    let mut answer = session.call_raw(key, FROM, frame).unwrap_or_else(|error| panic!("{key:?} v10: {error:#}"));
    let header = answer.split_to(5);
    assert_eq!(header[..4], CORRELATION.to_be_bytes(), "{key:?} v10");
    assert_eq!(header[4], NO_TAGS, "{key:?} v10");
    answer
}

fn put_text(frame: &mut Vec<u8>, text: &str) {
    put_count(frame, text.len());
    frame.put_slice(text.as_bytes());
}

/// The length plus one, seven bits in a byte, the lowest first.
fn put_count(frame: &mut Vec<u8>, count: usize) {
    let mut left = count + 1;
    while left >= 0x80 {
        frame.put_u8(u8::try_from(left & 0x7f).expect("seven bits") | 0x80);
        left >>= 7;
    }
    frame.put_u8(u8::try_from(left).expect("seven bits"));
}
