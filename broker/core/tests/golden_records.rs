//! Tests of the record codec and of the replay on records that Apache Kafka 4.3.1 wrote: decoding
//! and encoding gives the same bytes.
#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use rustmq_broker_core::coordinator::{
    Coordinator, CoordinatorLimits, CoordinatorMachine, Loader, LogRange, Now, ReplayedRecord, coordinator_partition,
};
use rustmq_broker_core::groups::records::{
    RecordKey, decode_group_metadata_value, decode_key, decode_offset_commit_value, encode_group_metadata_key,
    encode_group_metadata_value, encode_offset_commit_key, encode_offset_commit_value,
};
use rustmq_broker_core::groups::request::OffsetSelection;
use rustmq_broker_core::groups::{ClassicState, GroupConfig, GroupCoordinator, GroupId, Groups};
use rustmq_model::{Instant, LeaderEpoch, Offset, PartitionId, Timestamp, TopicName, TopicPartition};

const FIXTURE: &str = include_str!("fixtures/v1/consumer_offsets.txt");

struct Record {
    partition: PartitionId,
    key: Bytes,
    value: Option<Bytes>,
}

fn unhex(text: &str) -> Bytes {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

fn records() -> Vec<Record> {
    FIXTURE
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| {
            let mut words = line.split_whitespace();
            let partition = PartitionId(words.next().unwrap().parse().unwrap());
            let key = unhex(words.next().unwrap());
            let value = words.next().filter(|word| *word != "-").map(unhex);
            Record { partition, key, value }
        })
        .collect()
}

#[test]
fn every_record_is_encoded_as_kafka_did() {
    for record in records() {
        match decode_key(&record.key).unwrap() {
            RecordKey::OffsetCommit { group, topic, partition } => {
                let partition = TopicPartition { topic: TopicName::new(topic).unwrap(), partition };
                assert_eq!(encode_offset_commit_key(group, &partition).unwrap(), record.key);
                assert_eq!(coordinator_partition(group, 50), record.partition);
                if let Some(value) = &record.value {
                    let offset = decode_offset_commit_value(value).unwrap();
                    assert_eq!(encode_offset_commit_value(&offset).unwrap(), *value);
                }
            }
            RecordKey::GroupMetadata { group } => {
                assert_eq!(encode_group_metadata_key(group).unwrap(), record.key);
                assert_eq!(coordinator_partition(group, 50), record.partition);
                if let Some(value) = &record.value {
                    let metadata = decode_group_metadata_value(value).unwrap();
                    assert_eq!(encode_group_metadata_value(&metadata).unwrap(), *value);
                }
            }
            key @ (RecordKey::ConsumerGroup { .. } | RecordKey::Other { .. }) => panic!("not in the fixture: {key:?}"),
        }
    }
}

#[test]
fn a_cut_record_is_an_error_and_a_changed_one_is_no_panic() {
    for record in records() {
        for length in 0..record.key.len() {
            assert!(decode_key(&record.key[..length]).is_err(), "a key cut at {length}");
        }
        let Some(value) = &record.value else { continue };
        let is_group = matches!(decode_key(&record.key).unwrap(), RecordKey::GroupMetadata { .. });
        for length in 0..value.len() {
            let cut = value.slice(..length);
            let is_refused = if is_group {
                decode_group_metadata_value(&cut).is_err()
            } else {
                decode_offset_commit_value(&cut).is_err()
            };
            assert!(is_refused, "a value cut at {length}");
        }
        for at in 0..value.len() {
            for change in [0x01, 0x40, 0x80, 0xff] {
                let mut changed = value.to_vec();
                changed[at] ^= change;
                let mut groups = Groups::new(GroupConfig::default());
                let _ = groups.replay(record_of(&record.key, Some(&changed)));
                activate(groups).check_invariants();
            }
        }
    }
}

const NOW: Now = Now { instant: Instant::from_nanos(1), wall: Timestamp(1_800_000_000_000) };

fn record_of<'a>(key: &'a [u8], value: Option<&'a [u8]>) -> ReplayedRecord<'a> {
    ReplayedRecord { offset: Offset(0), key, value, producer: None }
}

fn activate(groups: Groups) -> GroupCoordinator {
    let limits =
        CoordinatorLimits { waiting_max: 1, pending_bytes_max: 1, log_bytes: u64::MAX, rewrite_batch_bytes_max: 1 };
    let log = LogRange { log_start: Offset(0), local_start: Offset(0), log_end: Offset(0) };
    let mut coordinator = Coordinator::new(LeaderEpoch(0), limits);
    coordinator.activate(NOW, Loader::new(groups, log, 0).unwrap());
    coordinator
}

#[test]
fn a_replay_of_kafkas_log_gives_kafkas_state() {
    let mut groups = Groups::new(GroupConfig::default());
    let golden = GroupId::new("golden");
    for (index, record) in records().iter().enumerate() {
        groups.replay(record_of(&record.key, record.value.as_deref())).unwrap();
        if index == 1 {
            assert_eq!(groups.group_ids(), [GroupId::new("golden-dynamic")]);
        }
    }
    let coordinator = activate(groups);
    coordinator.check_invariants();
    let groups = coordinator.machine().unwrap();
    // The dynamic member's group was deleted; the static member's session ended after it was gone.
    assert_eq!(groups.group_ids(), std::slice::from_ref(&golden));
    let description = groups.describe(&golden).unwrap();
    assert_eq!((description.state, description.protocol_type.as_str()), (ClassicState::Empty, "consumer"));
    let offsets = groups.fetch_offsets(&golden, &OffsetSelection::All).unwrap();
    let offsets: Vec<_> = offsets.into_iter().map(|(key, value)| (key.to_string(), value.unwrap().offset)).collect();
    assert_eq!(offsets, [("orders-0".to_owned(), Offset(0)), ("orders-1".to_owned(), Offset(20))]);
}

#[test]
fn a_stable_group_comes_back_stable_with_its_static_member() {
    let mut groups = Groups::new(GroupConfig::default());
    for record in records().iter().filter(|record| record.partition == PartitionId(43)).take(2) {
        groups.replay(record_of(&record.key, record.value.as_deref())).unwrap();
    }
    let coordinator = activate(groups);
    coordinator.check_invariants();
    let description = coordinator.machine().unwrap().describe(&GroupId::new("golden")).unwrap();
    assert_eq!((description.state, description.protocol.as_str()), (ClassicState::Stable, "range"));
    let [member] = description.members.as_slice() else { panic!("one member") };
    assert_eq!(member.instance.as_ref().unwrap().as_str(), "inst-1");
    assert_eq!((member.client.id.as_str(), member.client.host.as_str()), ("client-a", "/127.0.0.1"));
    let session = coordinator.poll_timeout().unwrap().since(NOW.instant);
    assert_eq!(session.as_secs(), 45, "the member gets a whole session");
}
