#![allow(clippy::unwrap_used)]
use bytes::{Bytes, BytesMut};
use rustmq_controller_core::configs::{CleanupPolicy, EffectiveTopicConfig, TimestampType as TopicTimestampType};
use rustmq_model::batch::{BatchHeader, Codec, TimestampType};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{ProducerEpoch, ProducerId, Sequence, Timestamp, record};

use super::validate;
use crate::error::BrokerError;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const DECOMPRESSED_MAX: usize = 1 << 20;

fn config() -> EffectiveTopicConfig {
    EffectiveTopicConfig {
        cleanup_policy: CleanupPolicy { delete: true, compact: false },
        retention_ms: None,
        retention_bytes: None,
        max_message_bytes: 1 << 20,
        message_timestamp_type: TopicTimestampType::CreateTime,
        message_timestamp_before_max_ms: u64::MAX,
        message_timestamp_after_max_ms: 3_600_000,
        min_insync_replicas: 1,
    }
}

fn batch(records: &[(Timestamp, Option<&[u8]>)]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::Lz4);
    for (timestamp, key) in records {
        builder.push(*timestamp, *key, Some(b"value"), &[]);
    }
    builder.build()
}

fn check(bytes: Bytes, config: &EffectiveTopicConfig) -> Result<(), BrokerError> {
    validate(bytes, config, NOW, DECOMPRESSED_MAX).map(|_| ())
}

#[test]
fn a_good_batch_passes_as_it_is() {
    let bytes = batch(&[(NOW, None), (Timestamp::NONE, Some(b"k"))]);
    let valid = validate(bytes.clone(), &config(), NOW, DECOMPRESSED_MAX).unwrap();
    assert_eq!((valid.bytes, valid.log_append_time), (bytes, Timestamp::NONE));
}

#[test]
fn damage_is_told_apart_from_what_is_not_allowed() {
    let good = batch(&[(NOW, None)]);
    let changed = |at: usize, to: u8| {
        let mut bytes = BytesMut::from(good.as_ref());
        bytes[at] = to;
        bytes.freeze()
    };
    let corrupt = |bytes: Bytes| assert!(matches!(check(bytes, &config()), Err(BrokerError::CorruptBatch { .. })));
    corrupt(changed(good.len() - 1, 0xee));
    corrupt(good.slice(..good.len() - 1));
    corrupt(good.slice(..20));
    let invalid = |bytes: Bytes| assert!(matches!(check(bytes, &config()), Err(BrokerError::InvalidRecord { .. })));
    invalid(Bytes::new());
    invalid(changed(16, 1));
    invalid(changed(7, 9));
    invalid([good.clone(), good.clone()].concat().into());
}

#[test]
fn a_batch_over_the_limit_is_refused_with_both_numbers() {
    let bytes = batch(&[(NOW, None)]);
    let config = EffectiveTopicConfig { max_message_bytes: 70, ..config() };
    let size = bytes.len();
    assert_eq!(check(bytes, &config), Err(BrokerError::RecordTooLarge { size, max: 70 }));
}

#[test]
fn a_compacted_topic_names_each_record_without_a_key() {
    let config = EffectiveTopicConfig { cleanup_policy: CleanupPolicy { delete: false, compact: true }, ..config() };
    assert_eq!(check(batch(&[(NOW, Some(b"k"))]), &config), Ok(()));
    let Err(BrokerError::InvalidRecord { records, .. }) =
        check(batch(&[(NOW, None), (NOW, Some(b"k")), (NOW, None)]), &config)
    else {
        panic!("records without a key must be refused")
    };
    assert_eq!(records.iter().map(|fault| fault.index).collect::<Vec<_>>(), vec![0, 2]);
}

#[test]
fn timestamps_must_lie_within_the_bounds() {
    let late = Timestamp(NOW.0 + 3_600_001);
    let edge = Timestamp(NOW.0 + 3_600_000);
    assert_eq!(check(batch(&[(edge, None)]), &config()), Ok(()));
    let refused = |bytes: Bytes, config: &EffectiveTopicConfig| match check(bytes, config) {
        Err(BrokerError::InvalidTimestamp { records, .. }) => records.into_iter().map(|fault| fault.index).collect(),
        other => panic!("{other:?}"),
    };
    let indices: Vec<i32> = refused(batch(&[(NOW, None), (late, None)]), &config());
    assert_eq!(indices, vec![1]);
    let bounded = EffectiveTopicConfig { message_timestamp_before_max_ms: 1000, ..config() };
    let early = Timestamp(NOW.0 - 1001);
    assert_eq!(refused(batch(&[(early, None), (NOW, None), (Timestamp::NONE, None)]), &bounded), vec![0]);
}

#[test]
fn log_append_time_is_stamped_under_a_renewed_crc() {
    let config = EffectiveTopicConfig { message_timestamp_type: TopicTimestampType::LogAppendTime, ..config() };
    let valid = validate(batch(&[(Timestamp(5), None), (Timestamp(9), None)]), &config, NOW, DECOMPRESSED_MAX).unwrap();
    assert_eq!(valid.log_append_time, NOW);
    let header = BatchHeader::parse(&valid.bytes).unwrap();
    assert_eq!(header, valid.header);
    assert_eq!(header.validate(&valid.bytes), Ok(()));
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert!(record::read(&valid.bytes, DECOMPRESSED_MAX).unwrap().iter().all(|record| record.timestamp == NOW));
}

#[test]
fn a_producer_without_a_sequence_is_refused() {
    let mut builder = BatchBuilder::new(Codec::None).producer(ProducerId(7), ProducerEpoch(0), Sequence::NONE);
    builder.push(NOW, None, None, &[]);
    assert!(matches!(check(builder.build(), &config()), Err(BrokerError::InvalidRecord { .. })));
}
