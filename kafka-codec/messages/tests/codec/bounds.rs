//! Whatever the bytes are, reading them ends, and takes no more memory than they justify.

use bytes::{BufMut, Bytes, BytesMut};
use rustmq_kafka_codec_generator::Direction;
use rustmq_kafka_codec_messages::{ApiKey, DecodeError, MetadataRequest, ProduceRequest, SyncGroupRequest, decode};

use super::any_message::again;
use super::{Kind, PLENTY, for_each_message};

/// A byte of a frame stands for so many bytes of a message at most: an empty name takes one, and
/// a structure around it some hundred.
const BYTES_PER_BYTE_MAX: u64 = 400;

#[test]
fn a_message_that_is_cut_is_refused_at_every_length() {
    for_each_message(1, |kind, sample| {
        for length in 0..sample.bytes.len() {
            let cut = again(kind, sample.bytes.slice(..length), PLENTY);
            assert!(cut.is_err(), "{kind:?} cut to {length}");
        }
    });
}

#[test]
fn any_byte_may_be_wrong() {
    for_each_message(1, |kind, sample| {
        for index in 0..sample.bytes.len().min(300) {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut forged = sample.bytes.to_vec();
                forged[index] = value;
                let size = forged.len() as u64;
                let forged = Bytes::from(forged);
                let taken = allocation_counter::measure(|| drop(again(kind, forged, PLENTY))).bytes_max;
                assert!(taken <= BYTES_PER_BYTE_MAX * (size + 100), "{kind:?} {index} {value}: {taken} of {size}");
            }
        }
    });
}

#[test]
fn elements_are_counted_all_over_a_message() {
    for_each_message(5, |kind, sample| {
        assert!(again(kind, sample.bytes.clone(), sample.elements).is_ok(), "{kind:?}");
        if let Some(elements_max) = sample.elements.checked_sub(1) {
            let refused = again(kind, sample.bytes, elements_max);
            assert_eq!(refused, Err(DecodeError::TooManyElements { elements_max }), "{kind:?}");
        }
    });
}

#[test]
fn absurd_counts_are_refused_before_memory_is_taken() {
    let metadata = |version| Kind { key: ApiKey::Metadata, direction: Direction::Request, version };
    let taken = allocation_counter::measure(|| {
        for count in [i32::MAX, 1 << 30, -2, i32::MIN] {
            let mut body = BytesMut::new();
            body.put_i32(count);
            let refused = again(metadata(1), body.freeze(), usize::MAX);
            assert!(
                matches!(refused, Err(DecodeError::Truncated { .. } | DecodeError::Length { .. })),
                "{count}: {refused:?}"
            );
        }
        let compact = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f]);
        assert_eq!(again(metadata(9), compact, usize::MAX), Err(DecodeError::Truncated { field: "topics" }));
        let longer = Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(again(metadata(9), longer, usize::MAX), Err(DecodeError::Varint { field: "topics" }));
    });
    assert!(taken.bytes_max < 1000, "{taken:?}");
}

/// What a list claims to hold is made room for as its elements arrive.
#[test]
fn a_list_takes_memory_as_its_elements_arrive() {
    let mut body = BytesMut::new();
    body.put_i32(1_000_000);
    // The first topic ends the message: it claims a name that is not there.
    body.put_i16(i16::MAX);
    body.put_bytes(0, 1_000_000);
    body[6..].fill(0xff);
    let body = body.freeze();
    let taken = allocation_counter::measure(|| {
        let refused = decode::<MetadataRequest>(1, body.clone(), usize::MAX);
        assert_eq!(refused, Err(DecodeError::NotUtf8 { field: "name" }));
    });
    assert!(taken.bytes_max < 100_000, "{taken:?}");
}

#[test]
fn a_tag_of_another_size_than_its_value_is_refused() {
    let fetch = Kind { key: ApiKey::Fetch, direction: Direction::Request, version: 17 };
    let mut body = BytesMut::new();
    body.put_bytes(0, 12);
    body.put_u8(0);
    body.put_bytes(0, 8);
    // One topic with one partition, which ends with its tagged field 0, a directory's id.
    body.put_u8(2);
    body.put_bytes(0, 16);
    body.put_u8(2);
    body.put_bytes(0, 32);
    body.put_slice(&[1, 0, 15]);
    body.put_bytes(0, 30);
    let refused = again(fetch, body.freeze(), PLENTY);
    assert_eq!(refused, Err(DecodeError::TagSize { tag: 0, size: 15, read: 16 }));
}

#[test]
fn records_are_views_of_the_frame() {
    let mut body = BytesMut::new();
    // No transaction, acks, timeout; one topic with one partition, and its records.
    body.put_slice(&[0xff, 0xff, 0, 1, 0, 0, 0, 9, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 100]);
    body.put_bytes(7, 100);
    let frame = body.freeze();
    let request: ProduceRequest = decode(3, frame.clone(), PLENTY).unwrap();
    let records = request.topic_data[0].partition_data[0].records.as_ref().unwrap();
    assert_eq!((records.len(), records.as_ptr()), (100, frame[frame.len() - 100..].as_ptr()));
}

#[test]
fn other_bytes_keep_nothing_of_the_frame() {
    let mut body = BytesMut::new();
    // Group, generation, member; one assignment: of the member, with its bytes.
    body.put_slice(&[0, 1, b'g', 0, 0, 0, 1, 0, 1, b'm', 0, 0, 0, 1, 0, 1, b'm', 0, 0, 0, 100]);
    body.put_bytes(7, 100);
    let frame = body.freeze();
    let request: SyncGroupRequest = decode(0, frame.clone(), PLENTY).unwrap();
    assert_eq!(request.assignments[0].assignment, frame[frame.len() - 100..]);
    assert!(frame.is_unique());
}
