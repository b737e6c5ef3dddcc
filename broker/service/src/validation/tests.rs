#![allow(clippy::unwrap_used)]
use bytes::{Bytes, BytesMut};
use rustmq_controller_core::configs::{CleanupPolicy, EffectiveTopicConfig, TimestampType as TopicTimestampType};
use rustmq_model::batch::{self, Attributes, BatchHeader, Codec, HEADER_LENGTH, TimestampType};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{ProducerEpoch, ProducerId, Sequence, Timestamp, record};

use super::{
    BYTES_AT_ONCE, BatchRefusal, CompressedRecords, InspectionLimits, InvalidBatch, ValidBatch, validate,
    validate_within,
};
use crate::produce::ProduceError;

const NOW: Timestamp = Timestamp(1_700_000_000_000);
const DECOMPRESSED_MAX: usize = 1 << 20;
const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

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
    batch_in(Codec::Lz4, records)
}

fn batch_in(codec: Codec, records: &[(Timestamp, Option<&[u8]>)]) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    for (timestamp, key) in records {
        builder.push(*timestamp, *key, Some(b"value"), &[]);
    }
    builder.build()
}

fn limits(compressed: CompressedRecords) -> InspectionLimits {
    InspectionLimits { compressed, decompressed_bytes_max: DECOMPRESSED_MAX }
}

fn accepted(bytes: &Bytes, config: &EffectiveTopicConfig) -> ValidBatch {
    validate_within(bytes, config, NOW, limits(CompressedRecords::Checked)).unwrap()
}

fn check(bytes: &Bytes, config: &EffectiveTopicConfig) -> Result<(), BatchRefusal> {
    validate_within(bytes, config, NOW, limits(CompressedRecords::Checked)).map(|_| ())
}

/// The same batch with another statement of its largest timestamp, and these attributes added.
fn stating(bytes: &Bytes, max_timestamp: Timestamp, added: u16) -> Bytes {
    let attributes = BatchHeader::parse(bytes).unwrap().attributes;
    batch::restate(bytes, Attributes(attributes.0 | added), max_timestamp)
}

#[test]
fn a_good_batch_passes_as_it_is() {
    let bytes = batch(&[(NOW, None), (Timestamp::NONE, Some(b"k"))]);
    let valid = accepted(&bytes, &config());
    assert_eq!((valid.bytes.as_ptr(), valid.log_append_time), (bytes.as_ptr(), Timestamp::NONE));
}

#[test]
fn the_largest_timestamp_is_that_of_the_records_whatever_the_header_states() {
    let earlier = Timestamp(NOW.0 - 9);
    for codec in CODECS {
        let honest = batch_in(codec, &[(earlier, None), (NOW, None), (earlier, None)]);
        let undated = batch_in(codec, &[(Timestamp::NONE, None)]);
        for stated in [-1, 0, earlier.0, NOW.0 + 1, i64::MAX, i64::MIN] {
            let valid = accepted(&stating(&honest, Timestamp(stated), 0), &config());
            assert_eq!(valid.header, BatchHeader::parse(&valid.bytes).unwrap());
            assert_eq!(valid.bytes, honest, "{codec:?} stating {stated}");
            let valid = accepted(&stating(&undated, Timestamp(stated), 0), &config());
            assert_eq!(valid.header.max_timestamp, Timestamp::NONE, "{codec:?} stating {stated}");
        }
    }
}

#[test]
fn a_trusted_header_is_read_past_where_it_cannot_be_right() {
    let trusting = limits(CompressedRecords::Trusted);
    let honest = batch(&[(NOW, None), (Timestamp(NOW.0 + 5), None)]);
    let stored = |stated: i64| {
        let valid = validate_within(&stating(&honest, Timestamp(stated), 0), &config(), NOW, trusting).unwrap();
        valid.header.max_timestamp.0 - NOW.0
    };
    assert_eq!([NOW.0, NOW.0 + 3].map(stored), [0, 3], "a time that may be the largest");
    assert_eq!([-1, 0, NOW.0 - 1, i64::MAX].map(stored), [5; 4]);
    let plain = batch_in(Codec::None, &[(NOW, None), (Timestamp(NOW.0 + 5), None)]);
    let valid = validate_within(&stating(&plain, NOW, 0), &config(), NOW, trusting).unwrap();
    assert_eq!(valid.bytes, plain, "what is not compressed is looked at in any case");
}

#[test]
fn attributes_that_are_the_brokers_are_not_taken_from_a_producer() {
    const LOG_APPEND_TIME: u16 = 8;
    const DELETE_HORIZON: u16 = 64;
    let honest = batch(&[(NOW, None)]);
    for added in [LOG_APPEND_TIME, DELETE_HORIZON, LOG_APPEND_TIME | DELETE_HORIZON] {
        assert_eq!(accepted(&stating(&honest, NOW, added), &config()).bytes, honest, "attributes {added}");
    }
    let stamping = EffectiveTopicConfig { message_timestamp_type: TopicTimestampType::LogAppendTime, ..config() };
    let claimed = check(&stating(&honest, NOW, LOG_APPEND_TIME), &stamping);
    assert!(matches!(claimed, Err(BatchRefusal::ClaimsAppendTime)), "{claimed:?}");
}

#[test]
fn records_that_consumers_could_not_read_are_refused() {
    let counting = |bytes: &Bytes, count: u8| {
        let mut lying = BytesMut::from(bytes.as_ref());
        (lying[26], lying[60]) = (count - 1, count);
        batch::seal(&mut lying);
        lying.freeze()
    };
    for codec in CODECS {
        let honest = batch_in(codec, &[(NOW, None), (NOW, None)]);
        for count in [1, 3] {
            let outcome = check(&counting(&honest, count), &config());
            assert!(matches!(outcome, Err(BatchRefusal::Invalid(_))), "{codec:?}, {count}: {outcome:?}");
        }
        if codec == Codec::None {
            continue;
        }
        let mut cut = BytesMut::from(&honest[..honest.len() - 3]);
        let length = u32::try_from(cut.len() - 12).unwrap();
        cut[8..12].copy_from_slice(&length.to_be_bytes());
        let mut garbage = BytesMut::from(honest.as_ref());
        garbage[HEADER_LENGTH..].fill(0xff);
        for mut broken in [cut, garbage] {
            batch::seal(&mut broken);
            let broken = broken.freeze();
            let outcome = check(&broken, &config());
            assert!(matches!(outcome, Err(BatchRefusal::Undecodable { .. })), "{codec:?}: {outcome:?}");
            let trusting = validate_within(&broken, &config(), NOW, limits(CompressedRecords::Trusted));
            assert_eq!(trusting.unwrap().bytes, broken, "{codec:?}");
        }
    }
}

#[tokio::test]
async fn a_batch_that_grows_far_is_looked_at_apart_and_within_its_bound() {
    let mut zeros = BatchBuilder::new(Codec::Zstd);
    zeros.push(NOW, None, Some(&vec![0; 2 * BYTES_AT_ONCE]), &[]);
    let zeros = zeros.build();
    let within = InspectionLimits { compressed: CompressedRecords::Checked, decompressed_bytes_max: 3 * BYTES_AT_ONCE };
    let valid = validate(stating(&zeros, Timestamp(0), 0), &config(), NOW, within).await.unwrap();
    assert_eq!(valid.bytes, zeros);
    for max in [BYTES_AT_ONCE / 2, BYTES_AT_ONCE * 3 / 2] {
        let limits = InspectionLimits { decompressed_bytes_max: max, ..within };
        let refused = validate(zeros.clone(), &config(), NOW, limits).await;
        assert_eq!(refused.unwrap_err(), ProduceError::Batch(BatchRefusal::DecompressedTooLarge { max }));
    }
}

#[test]
fn damage_is_told_apart_from_what_is_not_allowed() {
    let good = batch(&[(NOW, None)]);
    let changed = |at: usize, to: u8| {
        let mut bytes = BytesMut::from(good.as_ref());
        bytes[at] = to;
        bytes.freeze()
    };
    let corrupt = |bytes: Bytes| assert!(matches!(check(&bytes, &config()), Err(BatchRefusal::Damaged(_))));
    corrupt(changed(good.len() - 1, 0xee));
    corrupt(good.slice(..good.len() - 1));
    corrupt(good.slice(..20));
    let invalid = |bytes: Bytes| assert!(matches!(check(&bytes, &config()), Err(BatchRefusal::Invalid(_))));
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
    assert_eq!(check(&bytes, &config), Err(BatchRefusal::TooLarge { size, max: 70 }));
}

#[test]
fn a_compacted_topic_names_each_record_without_a_key() {
    let config = EffectiveTopicConfig { cleanup_policy: CleanupPolicy { delete: false, compact: true }, ..config() };
    assert_eq!(check(&batch(&[(NOW, Some(b"k"))]), &config), Ok(()));
    let Err(BatchRefusal::Invalid(InvalidBatch::RecordsWithoutKey { records })) =
        check(&batch(&[(NOW, None), (NOW, Some(b"k")), (NOW, None)]), &config)
    else {
        panic!("records without a key must be refused")
    };
    assert_eq!(records.iter().map(|fault| fault.index).collect::<Vec<_>>(), vec![0, 2]);
}

#[test]
fn timestamps_must_lie_within_the_bounds() {
    let late = Timestamp(NOW.0 + 3_600_001);
    let edge = Timestamp(NOW.0 + 3_600_000);
    assert_eq!(check(&batch(&[(edge, None)]), &config()), Ok(()));
    let refused = |bytes: Bytes, config: &EffectiveTopicConfig| match check(&bytes, config) {
        Err(BatchRefusal::TimestampsOutOfRange { records }) => records.into_iter().map(|fault| fault.index).collect(),
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
    let valid = accepted(&batch(&[(Timestamp(5), None), (Timestamp(9), None)]), &config);
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
    let refused = check(&builder.build(), &config());
    let (producer, sequence, epoch) = (ProducerId(7), Sequence::NONE, ProducerEpoch(0));
    assert_eq!(refused, Err(InvalidBatch::WithoutSequence { producer, sequence, epoch }.into()));
}
