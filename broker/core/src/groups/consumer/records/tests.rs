#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The name of each record, and its bytes as the classes of Kafka 4.4.0 write them.
fn golden() -> BTreeMap<&'static str, Vec<u8>> {
    let lines = include_str!("../fixtures/kafka-4.4.0-records.txt").lines();
    lines
        .map(|line| {
            let (name, hex) = line.split_once(' ').unwrap();
            let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
            (name, (0..hex.len()).step_by(2).map(byte).collect())
        })
        .collect()
}

fn topic(most: u64, least: u64) -> TopicId {
    TopicId(u128::from(most) << 64 | u128::from(least))
}

fn owned(partitions: &[(TopicId, i32, i32)]) -> OwnedPartitions {
    partitions.iter().map(|(topic, partition, epoch)| (*topic, PartitionId(*partition), *epoch)).collect()
}

fn member(regex: Option<&str>, classic: Option<ClassicSubscription>) -> MemberSubscription {
    MemberSubscription {
        client: ClientIdentity { id: "c".to_owned(), host: "/h".to_owned() },
        topics: BTreeSet::from(["a".to_owned()]),
        regex: regex.map(str::to_owned),
        rebalance_timeout_ms: 60_000,
        classic,
        ..MemberSubscription::default()
    }
}

fn current(state: MemberState) -> CurrentAssignment {
    CurrentAssignment {
        epoch: 5,
        previous_epoch: 4,
        state,
        assigned: owned(&[(topic(1, 2), 0, 3), (topic(1, 2), 2, 5)]),
        revoking: owned(&[(topic(3, 4), 5, 2)]),
    }
}

#[test]
fn keys_are_kafkas() {
    let golden = golden();
    for (name, kind) in [
        ("group-key", ConsumerRecordKind::Group),
        ("member-key", ConsumerRecordKind::Member),
        ("target-epoch-key", ConsumerRecordKind::TargetEpoch),
        ("target-key", ConsumerRecordKind::Target),
        ("current-key", ConsumerRecordKind::Current),
    ] {
        assert_eq!(encode_key(kind, "g", "m").unwrap(), golden[name], "{name}");
        assert_eq!(ConsumerRecordKind::from_number(kind as i16), Some(kind));
    }
    assert_eq!([4, 9, 16].map(ConsumerRecordKind::from_number), [None; 3]);
    assert!(encode_key(ConsumerRecordKind::Group, &"x".repeat(40_000), "").is_err());
}

#[test]
fn epochs_are_kafkas() {
    let golden = golden();
    for (name, metadata_hash) in [("group", 0x1122_3344_5566_7788), ("group-without-hash", 0)] {
        let group = GroupEpoch { epoch: 7, metadata_hash };
        assert_eq!(encode_group(group), golden[name], "{name}");
        assert_eq!(decode_group(&golden[name]), Ok(group));
    }
    for (name, time) in [("target-epoch", 1_234_567_890_123), ("target-epoch-without-time", 0)] {
        let target = TargetEpoch { epoch: 6, computed_at: Timestamp(time) };
        assert_eq!(encode_target_epoch(target), golden[name], "{name}");
        assert_eq!(decode_target_epoch(&golden[name]), Ok(target));
    }
}

#[test]
fn assignments_are_kafkas() {
    let golden = golden();
    let partitions = [(topic(1, 2), 0), (topic(1, 2), 2), (topic(3, 4), 5)];
    let target: Assignment = partitions.map(|(topic, partition)| (topic, PartitionId(partition))).into_iter().collect();
    assert_eq!(encode_target(&target), golden["target"]);
    assert_eq!(decode_target(&golden["target"]), Ok(target));

    let expected = current(MemberState::UnrevokedPartitions);
    assert_eq!(encode_current(&expected), golden["current"]);
    assert_eq!(decode_current(&golden["current"]), Ok(expected));
    let older = decode_current(&golden["current-without-epochs"]).unwrap();
    assert_eq!(older.assigned, owned(&[(topic(1, 2), 0, 5)]), "the member's epoch stands for the missing one");
    assert_eq!(older.state, MemberState::Stable);
}

#[test]
fn members_are_kafkas() {
    let golden = golden();
    let protocol = Protocol { name: "range".to_owned(), metadata: Bytes::from_static(&[1, 2, 3]) };
    let classic = ClassicSubscription { session_timeout_ms: 45_000, protocols: vec![protocol] };
    let full = MemberSubscription {
        instance: Some("i".into()),
        rack: Some("r".to_owned()),
        topics: BTreeSet::from(["a".to_owned(), "b".to_owned()]),
        assignor: Some("uniform".to_owned()),
        ..member(Some("x.*"), None)
    };
    for (name, expected) in [("member", full), ("member-plain", member(None, None))] {
        assert_eq!(encode_member(&expected), golden[name], "{name}");
        assert_eq!(decode_member(&golden[name]), Ok(expected));
    }
    let with_classic = member(None, Some(classic));
    assert_eq!(decode_member(&golden["member-classic"]).as_ref(), Ok(&with_classic), "a null pattern is none");
    assert_eq!(decode_member(&encode_member(&with_classic)), Ok(with_classic));
}

#[test]
fn absurd_counts_and_states_of_the_future_are_no_danger() {
    let mut value = encode_current(&current(MemberState::Stable)).to_vec();
    value[10] = 9;
    assert_eq!(decode_current(&value).unwrap().state, MemberState::Unknown);
    value.splice(11..12, [0xff, 0xff, 0xff, 0xff, 0x0f]);
    assert_eq!(decode_current(&value), Err(RecordError::InvalidLength));
    // Three epochs for two partitions.
    let uneven = b"\0\0\0\0\0\x01\0\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\x02\0\0\0\0\x01\0\x09\x03\0\0\0\x01\0\0\0\x02\x01\0";
    assert_eq!(decode_current(uneven), Err(RecordError::InvalidLength));
    assert!(matches!(decode_group(b"\0\x01"), Err(RecordError::UnknownVersion { version: 1, .. })));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for value in [&bytes[..], &[&[0, 0], &bytes[..]].concat()] {
            let _ = decode_group(value);
            let _ = decode_target_epoch(value);
            let _ = decode_target(value);
            let _ = decode_current(value);
            let _ = decode_member(value);
        }
    }

    #[test]
    fn an_assignment_survives_the_round_trip(
        partitions in proptest::collection::vec((0_u64..9, 0_i32..99, any::<i32>()), 0..60), epochs in any::<(i32, i32)>(),
    ) {
        let partitions: Vec<_> = partitions.into_iter().map(|(id, partition, epoch)| (topic(1, id), partition, epoch)).collect();
        let (assigned, revoking) = partitions.split_at(partitions.len() / 2);
        let (assigned, revoking) = (owned(assigned), owned(revoking));
        let target = assigned.assignment();
        let (epoch, previous_epoch) = epochs;
        let current = CurrentAssignment { epoch, previous_epoch, state: MemberState::Stable, assigned, revoking };
        prop_assert_eq!(decode_current(&encode_current(&current)).unwrap(), current);
        prop_assert_eq!(decode_target(&encode_target(&target)).unwrap(), target);
    }
}
