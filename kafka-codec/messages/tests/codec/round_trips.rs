//! What is read is written the same, by this codec and by another one.

use std::collections::BTreeSet;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{ApiKey as OtherKey, RequestKind, ResponseKind};
use rustmq_kafka_codec_generator::Direction;

use super::any_message::again;
use super::{Kind, PLENTY, differ, for_each_message};

const ROUNDS: u64 = 20;

#[test]
fn every_message_of_every_version_comes_back_the_same() {
    for_each_message(ROUNDS, |kind, sample| {
        let found = again(kind, sample.bytes.clone(), PLENTY).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        if found != sample.bytes {
            differ(kind, "written again", &sample.bytes, &found);
        }
    });
}

#[test]
fn tagged_fields_that_nobody_knows_are_passed_over() {
    for_each_message(ROUNDS, |kind, sample| {
        let found = again(kind, sample.with_strangers, PLENTY).unwrap_or_else(|error| panic!("{kind:?}: {error}"));
        if found != sample.bytes {
            differ(kind, "without strangers", &sample.bytes, &found);
        }
    });
}

/// The other codec knows Kafka 4.1. It reads what this one writes, and writes the same.
#[test]
fn another_codec_agrees_where_it_knows_the_version() {
    let mut unknown = BTreeSet::new();
    for_each_message(ROUNDS, |kind, sample| match by_another_codec(kind, sample.bytes.clone()) {
        Some(found) if found != sample.bytes => differ(kind, "by the other codec", &sample.bytes, &found),
        Some(_) => {}
        None => {
            unknown.insert(kind);
        }
    });
    let unknown: Vec<String> =
        unknown.iter().map(|kind| format!("{} {:?} {}", kind.key, kind.direction, kind.version)).collect();
    assert_eq!(unknown, NEWER_THAN_THE_OTHER);
}

/// What came with 4.2 to 4.4, became stable there, or is unstable still.
const NEWER_THAN_THE_OTHER: &[&str] = &[
    "ListOffsets Request 11",
    "ListOffsets Response 11",
    "OffsetCommit Request 10",
    "OffsetFetch Request 10",
    "ApiVersions Request 5",
    "ApiVersions Response 5",
    "InitProducerId Request 6",
    "WriteTxnMarkers Request 2",
    "WriteTxnMarkers Response 2",
    "TxnOffsetCommit Request 6",
    "TxnOffsetCommit Response 6",
    "DescribeLogDirs Request 5",
    "DescribeLogDirs Response 5",
    "DeleteGroups Request 3",
    "DeleteGroups Response 3",
    "ShareFetch Request 2",
    "ShareFetch Response 2",
    "ShareAcknowledge Request 2",
    "ShareAcknowledge Response 2",
    "AddRaftVoter Request 1",
    "AddRaftVoter Response 1",
    "StreamsGroupHeartbeat Request 0",
    "StreamsGroupHeartbeat Request 1",
    "StreamsGroupHeartbeat Response 0",
    "StreamsGroupHeartbeat Response 1",
    "StreamsGroupDescribe Request 0",
    "StreamsGroupDescribe Request 1",
    "StreamsGroupDescribe Response 0",
    "StreamsGroupDescribe Response 1",
    "DescribeShareGroupOffsets Request 1",
    "DescribeShareGroupOffsets Response 1",
    "StreamsGroupTopologyDescriptionUpdate Request 0",
    "StreamsGroupTopologyDescriptionUpdate Response 0",
    "UnregisterController Request 0",
    "UnregisterController Response 0",
];

/// `None` where the other codec does not know the message in this version.
fn by_another_codec(kind: Kind, mut bytes: Bytes) -> Option<Bytes> {
    let key = OtherKey::try_from(kind.key as i16).ok()?;
    let mut found = BytesMut::new();
    let unknown = |error: &dyn std::fmt::Display| format!("{error:#}").contains("version not supported");
    match kind.direction {
        Direction::Request => match RequestKind::decode(key, &mut bytes, kind.version) {
            Ok(message) => message.encode(&mut found, kind.version).unwrap(),
            Err(error) if unknown(&error) => return None,
            Err(error) => panic!("{kind:?}: {error:#}"),
        },
        Direction::Response => match ResponseKind::decode(key, &mut bytes, kind.version) {
            Ok(message) => message.encode(&mut found, kind.version).unwrap(),
            Err(error) if unknown(&error) => return None,
            Err(error) => panic!("{kind:?}: {error:#}"),
        },
    }
    assert!(bytes.is_empty(), "{kind:?}: {} bytes are left", bytes.len());
    Some(found.freeze())
}
