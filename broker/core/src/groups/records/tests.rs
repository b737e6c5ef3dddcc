#![allow(clippy::unwrap_used)]
use proptest::prelude::*;

use super::*;

fn offset(value: &[u8]) -> CommittedOffset {
    decode_offset_commit_value(value).unwrap()
}

#[test]
fn older_versions_of_an_offset_are_read() {
    let expected = CommittedOffset {
        offset: Offset(5),
        leader_epoch: None,
        metadata: "m".to_owned(),
        committed_at: Timestamp(9),
        expires_at: None,
        topic_id: TopicId::ZERO,
    };
    let v0 = b"\0\0\0\0\0\0\0\0\0\x05\0\x01m\0\0\0\0\0\0\0\x09";
    assert_eq!(offset(v0), expected);
    let v1 = b"\0\x01\0\0\0\0\0\0\0\x05\0\x01m\0\0\0\0\0\0\0\x09\0\0\0\0\0\0\0\x0b";
    assert_eq!(offset(v1), CommittedOffset { expires_at: Some(Timestamp(11)), ..expected.clone() });
    let v1_without_expiry = b"\0\x01\0\0\0\0\0\0\0\x05\0\x01m\0\0\0\0\0\0\0\x09\xff\xff\xff\xff\xff\xff\xff\xff";
    assert_eq!(offset(v1_without_expiry), expected);
    let v2 = b"\0\x02\0\0\0\0\0\0\0\x05\0\x01m\0\0\0\0\0\0\0\x09";
    assert_eq!(offset(v2), expected);
    let v3 = b"\0\x03\0\0\0\0\0\0\0\x05\0\0\0\x07\0\x01m\0\0\0\0\0\0\0\x09";
    assert_eq!(offset(v3), CommittedOffset { leader_epoch: Some(LeaderEpoch(7)), ..expected.clone() });
    // No tagged field, and an unknown one.
    let v4 = b"\0\x04\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\x02m\0\0\0\0\0\0\0\x09\0";
    assert_eq!(offset(v4), expected);
    let v4_unknown_tag = b"\0\x04\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\x02m\0\0\0\0\0\0\0\x09\x01\x63\x02ab";
    assert_eq!(offset(v4_unknown_tag), expected);
    let v5 = decode_offset_commit_value(b"\0\x05");
    assert_eq!(v5, Err(RecordError::UnknownVersion { schema: "OffsetCommitValue", version: 5 }));
}

#[test]
fn other_versions_of_a_group_are_read() {
    let expected = |state_since, instance: Option<&str>, rebalance_timeout_ms| GroupMetadata {
        protocol_type: "t".to_owned(),
        generation: 3,
        protocol: Some("p".to_owned()),
        leader: None,
        state_since: Timestamp(state_since),
        members: vec![MemberMetadata {
            member: "m".to_owned(),
            instance: instance.map(str::to_owned),
            client_id: "c".to_owned(),
            client_host: "h".to_owned(),
            rebalance_timeout_ms,
            session_timeout_ms: 6,
            subscription: Bytes::from_static(b"s"),
            assignment: Bytes::new(),
        }],
    };
    let decode = |value: &'static [u8]| decode_group_metadata_value(&Bytes::from_static(value)).unwrap();
    let v0 = b"\0\0\0\x01t\0\0\0\x03\0\x01p\xff\xff\0\0\0\x01\0\x01m\0\x01c\0\x01h\0\0\0\x06\0\0\0\x01s\0\0\0\0";
    assert_eq!(decode(v0), expected(-1, None, -1));
    let v1 =
        b"\0\x01\0\x01t\0\0\0\x03\0\x01p\xff\xff\0\0\0\x01\0\x01m\0\x01c\0\x01h\0\0\0\x05\0\0\0\x06\0\0\0\x01s\0\0\0\0";
    assert_eq!(decode(v1), expected(-1, None, 5));
    let v2 = b"\0\x02\0\x01t\0\0\0\x03\0\x01p\xff\xff\0\0\0\0\0\0\0\x09\
        \0\0\0\x01\0\x01m\0\x01c\0\x01h\0\0\0\x05\0\0\0\x06\0\0\0\x01s\0\0\0\0";
    assert_eq!(decode(v2), expected(9, None, 5));
    let v4 = b"\0\x04\x02t\0\0\0\x03\x02p\0\0\0\0\0\0\0\0\x09\x02\x02m\x02i\x02c\x02h\0\0\0\x05\0\0\0\x06\x02s\x01\0\0";
    assert_eq!(decode(v4), expected(9, Some("i"), 5));
}

#[test]
fn absurd_counts_are_refused_before_anything_is_allocated() {
    let group = b"\0\x03\0\x01t\0\0\0\x03\0\x01p\xff\xff\0\0\0\0\0\0\0\x09\x7f\xff\xff\xff";
    assert_eq!(decode_group_metadata_value(&Bytes::from_static(group)), Err(RecordError::InvalidLength));
    let tags = b"\0\x04\0\0\0\0\0\0\0\x05\xff\xff\xff\xff\x01\0\0\0\0\0\0\0\x09\xff\xff\xff\xff\x0f";
    assert_eq!(decode_offset_commit_value(tags), Err(RecordError::InvalidLength));
    let long = "x".repeat(40_000);
    assert_eq!(encode_group_metadata_key(&long), Err(RecordError::TooLong { length: 40_000 }));
}

#[test]
fn kinds_of_other_group_types_are_passed_over() {
    for kind in (3_i16..=20).filter(|kind| ConsumerRecordKind::from_number(*kind).is_none()) {
        let mut key = BytesMut::new();
        key.put_i16(kind);
        key.put_slice(b"\x05group");
        assert_eq!(decode_key(&key), Ok(RecordKey::Other { kind }));
    }
}

prop_compose! {
    fn any_offset()(offset in any::<i64>(), epoch in proptest::option::of(0_i32..), metadata in ".{0,40}",
                    at in any::<i64>(), topic_id in any::<u128>()) -> CommittedOffset {
        CommittedOffset {
            offset: Offset(offset), leader_epoch: epoch.map(LeaderEpoch), metadata, committed_at: Timestamp(at),
            expires_at: None, topic_id: TopicId(topic_id),
        }
    }
}

prop_compose! {
    fn any_member()(names in proptest::collection::vec(".{0,20}", 3), instance in proptest::option::of(".{0,20}"),
                    timeouts in any::<(i32, i32)>(), subscription in proptest::collection::vec(any::<u8>(), 0..50),
                    assignment in proptest::collection::vec(any::<u8>(), 0..50)) -> MemberMetadata {
        MemberMetadata {
            member: names[0].clone(), instance, client_id: names[1].clone(), client_host: names[2].clone(),
            rebalance_timeout_ms: timeouts.0, session_timeout_ms: timeouts.1,
            subscription: Bytes::from(subscription), assignment: Bytes::from(assignment),
        }
    }
}

proptest! {
    #[test]
    fn an_offset_survives_the_round_trip(offset in any_offset()) {
        let value = encode_offset_commit_value(&offset).unwrap();
        prop_assert_eq!(decode_offset_commit_value(&value).unwrap(), offset);
    }

    #[test]
    fn a_group_survives_the_round_trip(
        names in (".{0,20}", proptest::option::of(".{0,20}"), proptest::option::of(".{0,20}")),
        generation in any::<i32>(), since in any::<i64>(),
        members in proptest::collection::vec(any_member(), 0..5),
    ) {
        let (protocol_type, protocol, leader) = names;
        let state_since = Timestamp(since);
        let group = GroupMetadata { protocol_type, generation, protocol, leader, state_since, members };
        let value = encode_group_metadata_value(&group).unwrap();
        prop_assert_eq!(decode_group_metadata_value(&value).unwrap(), group);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), version in 0_u8..5) {
        let mut bytes = bytes;
        if bytes.len() > 1 {
            (bytes[0], bytes[1]) = (0, version);
        }
        let bytes = Bytes::from(bytes);
        let _ = decode_key(&bytes);
        let _ = decode_group_metadata_value(&bytes);
        let _ = decode_offset_commit_value(&bytes);
    }
}
