#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};

use super::{BatchError, BatchHeader, Codec, TimestampType, assign, restate, split};
use crate::record::BatchBuilder;
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

fn batch(count: usize) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None).producer(ProducerId(7), ProducerEpoch(1), Sequence(40));
    for index in 0..count {
        builder.push(Timestamp(1_000 + i64::try_from(index).unwrap()), Some(b"key"), Some(b"value"), &[]);
    }
    builder.build()
}

#[test]
fn a_header_reads_back_what_was_built() {
    let bytes = batch(3);
    let header = BatchHeader::parse(&bytes).unwrap();
    header.validate(&bytes).unwrap();
    assert_eq!(header.size, bytes.len());
    assert_eq!((header.record_count, header.last_offset_delta), (3, 2));
    assert_eq!((header.base_timestamp, header.max_timestamp), (Timestamp(1_000), Timestamp(1_002)));
    assert_eq!(header.last_sequence(), Sequence(42));
    assert_eq!(header.next_offset(), Offset(3));
}

#[test]
fn assigned_fields_are_outside_the_crc() {
    let mut bytes = BytesMut::from(&batch(2)[..]);
    assign(&mut bytes, Offset(1_000), LeaderEpoch(5));
    let header = BatchHeader::parse(&bytes).unwrap();
    header.validate(&bytes).unwrap();
    assert_eq!((header.base_offset, header.leader_epoch), (Offset(1_000), LeaderEpoch(5)));
}

#[test]
fn a_restated_batch_has_a_crc_of_its_own() {
    let bytes = batch(2);
    let attributes = BatchHeader::parse(&bytes).unwrap().attributes;
    let stamped = restate(&bytes, attributes.with_timestamp_type(TimestampType::LogAppendTime), Timestamp(9_999));
    let header = BatchHeader::parse(&stamped).unwrap();
    header.validate(&stamped).unwrap();
    assert_eq!(header.attributes.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(header.max_timestamp, Timestamp(9_999));
    assert_eq!(restate(&stamped, attributes, Timestamp(1_001)), bytes, "the rest is unchanged");
}

#[test]
fn bytes_that_are_no_batch_are_refused() {
    let whole = batch(1);
    assert!(matches!(BatchHeader::parse(&whole[..60]), Err(BatchError::Truncated { available: 60 })));
    assert!(matches!(BatchHeader::parse(&whole[..whole.len() - 1]), Err(BatchError::Length { .. })));
    let broken = |at: usize, value: u8| {
        let mut bytes = BytesMut::from(&whole[..]);
        bytes[at] = value;
        bytes
    };
    assert!(matches!(BatchHeader::parse(&broken(16, 1)), Err(BatchError::Magic { magic: 1 })));
    assert!(matches!(BatchHeader::parse(&broken(8, 0xff)), Err(BatchError::Length { .. })));
    let flipped = broken(whole.len() - 1, 0xee);
    assert!(matches!(BatchHeader::parse(&flipped).unwrap().validate(&flipped), Err(BatchError::Crc { .. })));
    for (at, value) in [(22, 0x05), (60, 9), (26, 3)] {
        let mut bytes = broken(at, value);
        super::seal(&mut bytes);
        assert!(BatchHeader::parse(&bytes).unwrap().validate(&bytes).is_err(), "byte {at}");
    }
}

#[test]
fn concatenated_batches_split_and_damage_ends_the_walk() {
    let mut bytes = BytesMut::new();
    bytes.extend_from_slice(&batch(1));
    bytes.extend_from_slice(&batch(4));
    bytes.extend_from_slice(b"rest");
    let parts: Vec<_> = split(&bytes.freeze()).collect();
    assert_eq!(parts.len(), 3);
    assert_eq!(parts[1].as_ref().unwrap().0.record_count, 4);
    assert!(parts[2].is_err());
}
