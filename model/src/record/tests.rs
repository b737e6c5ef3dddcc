#![allow(clippy::unwrap_used)]

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::{BatchBuilder, RecordError, RecordOutline, inspect, read};
use crate::batch::{self, BatchHeader, Codec, HEADER_LENGTH, TimestampType};
use crate::compression::{self, CompressionError};
use crate::{Offset, Timestamp};

const CODECS: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

fn sample(codec: Codec) -> Bytes {
    let mut builder = BatchBuilder::new(codec);
    builder.push(Timestamp(500), Some(b"k"), Some(&[7; 10_000]), &[("h", Some(b"v")), ("n", None)]);
    builder.push(Timestamp(400), None, None, &[]);
    builder.build()
}

#[test]
fn records_round_trip_through_every_codec() {
    for codec in CODECS {
        let bytes = sample(codec);
        BatchHeader::parse(&bytes).unwrap().validate(&bytes).unwrap();
        let records = read(&bytes, 1 << 20).unwrap();
        assert_eq!(records.len(), 2, "{codec:?}");
        assert_eq!((records[0].offset, records[0].timestamp), (Offset(0), Timestamp(500)));
        assert_eq!(records[0].value.as_deref(), Some(&[7; 10_000][..]));
        assert_eq!(records[0].headers, [(Bytes::from("h"), Some(Bytes::from("v"))), (Bytes::from("n"), None)]);
        assert_eq!((records[1].timestamp, &records[1].key, &records[1].value), (Timestamp(400), &None, &None));
    }
}

#[test]
fn decompression_stops_at_its_bound() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let outcome = read(&sample(codec), 5_000);
        assert!(
            matches!(outcome, Err(RecordError::Compression(CompressionError::TooLarge { size_max: 5_000 }))),
            "{codec:?}"
        );
    }
}

#[test]
fn snappy_java_framing_is_read() {
    let plain = sample(Codec::None);
    let mut framed = BytesMut::from(&plain[..HEADER_LENGTH]);
    framed[22] |= 2;
    framed.put_slice(b"\x82SNAPPY\0\0\0\0\x01\0\0\0\x01");
    for part in plain[HEADER_LENGTH..].chunks(6_000) {
        let block = snap::raw::Encoder::new().compress_vec(part).unwrap();
        framed.put_u32(u32::try_from(block.len()).unwrap());
        framed.put_slice(&block);
    }
    let length = u32::try_from(framed.len() - 12).unwrap();
    framed[8..12].copy_from_slice(&length.to_be_bytes());
    assert_eq!(read(&framed.freeze(), 1 << 20).unwrap(), read(&plain, 1 << 20).unwrap());
}

#[test]
fn log_append_time_is_every_records_timestamp() {
    let sample = sample(Codec::Lz4);
    let attributes = BatchHeader::parse(&sample).unwrap().attributes;
    let stamped = batch::restate(&sample, attributes.with_timestamp_type(TimestampType::LogAppendTime), Timestamp(77));
    assert!(read(&stamped, 1 << 20).unwrap().iter().all(|record| record.timestamp == Timestamp(77)));
}

/// A batch with `records` as its compressed body and `count` as its record count.
fn around(codec: Codec, records: &[u8], count: i32) -> Bytes {
    enclosing(codec, &compression::compress(codec, &BytesMut::from(records)), count)
}

fn enclosing(codec: Codec, body: &[u8], count: i32) -> Bytes {
    let mut bytes = BytesMut::from(&sample(codec)[..HEADER_LENGTH]);
    bytes[57..61].copy_from_slice(&count.to_be_bytes());
    bytes.put_slice(body);
    let length = u32::try_from(bytes.len() - 12).unwrap();
    bytes[8..12].copy_from_slice(&length.to_be_bytes());
    bytes.freeze()
}

fn outlines(batch: &[u8]) -> Result<Vec<RecordOutline>, RecordError> {
    let mut outlines = Vec::new();
    inspect(batch, &BatchHeader::parse(batch).unwrap(), 4 << 20, |outline| outlines.push(outline))?;
    Ok(outlines)
}

#[test]
fn an_inspection_sees_times_and_keys_through_every_codec() {
    let first = RecordOutline { index: 0, timestamp: Timestamp(500), has_key: true };
    let second = RecordOutline { index: 1, timestamp: Timestamp(400), has_key: false };
    for codec in CODECS {
        assert_eq!(outlines(&sample(codec)).unwrap(), [first, second], "{codec:?}");
    }
}

#[test]
fn an_inspection_of_many_windows_sees_every_record() {
    for codec in CODECS {
        let mut builder = BatchBuilder::new(codec);
        let count = 20_000;
        for index in 0..count {
            let name = index.to_string();
            builder.push(Timestamp(index), Some(name.as_bytes()), Some(&[0; 30]), &[("name", Some(name.as_bytes()))]);
        }
        let times = outlines(&builder.build()).unwrap().into_iter().map(|outline| outline.timestamp.0);
        assert!(times.eq(0..count), "{codec:?}");
    }
}

#[test]
fn unreadable_records_are_refused_with_every_codec() {
    // Attributes, timestamp delta 0, offset delta 0, key "k", value "v", no headers.
    const SOUND: &[u8] = &[0, 0, 0, 2, b'k', 2, b'v', 0];
    let one = |record: &[u8]| [&[u8::try_from(record.len() * 2).unwrap()], record].concat();
    let unsound: &[(&str, Vec<u8>, i32)] = &[
        ("no record", vec![], 1),
        ("one record less than counted", one(SOUND), 2),
        ("one record more than counted", [one(SOUND), one(SOUND)].concat(), 1),
        ("an empty record", vec![0], 1),
        ("a negative length", vec![1], 1),
        ("a length beyond the batch", [&[18], SOUND].concat(), 1),
        ("a length that cuts the record", [&[14], SOUND].concat(), 1),
        ("bytes after the headers", one(&[0, 0, 0, 2, b'k', 2, b'v', 0, 0]), 1),
        ("another place", one(&[0, 0, 2, 2, b'k', 2, b'v', 0]), 1),
        ("a negative place", one(&[0, 0, 1, 2, b'k', 2, b'v', 0]), 1),
        ("a key beyond the record", one(&[0, 0, 0, 20, b'k', 2, b'v', 0]), 1),
        ("a value beyond the record", one(&[0, 0, 0, 2, b'k', 20, b'v', 0]), 1),
        ("a key of length -2", one(&[0, 0, 0, 3, 2, b'v', 0]), 1),
        ("a header without a name", one(&[0, 0, 0, 2, b'k', 2, b'v', 2, 1, 1]), 1),
        ("a negative header count", one(&[0, 0, 0, 2, b'k', 2, b'v', 1]), 1),
        ("more headers than there are", one(&[0, 0, 0, 2, b'k', 2, b'v', 4, 2, b'h', 1]), 1),
        ("a varint without end", vec![0xff; 11], 1),
    ];
    for codec in CODECS {
        assert_eq!(outlines(&around(codec, &one(SOUND), 1)).unwrap().len(), 1, "{codec:?}");
        for (what, records, count) in unsound {
            let outcome = outlines(&around(codec, records, *count));
            assert!(matches!(outcome, Err(RecordError::Malformed { .. })), "{codec:?}, {what}: {outcome:?}");
        }
    }
}

#[test]
fn a_body_that_is_cut_or_foreign_does_not_decompress() {
    for codec in [Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd] {
        let sound = sample(codec);
        for cut in [1, 4, 7] {
            let outcome = outlines(&enclosing(codec, &sound[HEADER_LENGTH..sound.len() - cut], 2));
            assert!(is_malformed(&outcome), "{codec:?} cut by {cut}: {outcome:?}");
        }
        let outcome = outlines(&enclosing(codec, &[0xff; 40], 2));
        assert!(is_malformed(&outcome), "{codec:?}: {outcome:?}");
    }
}

fn is_malformed(outcome: &Result<Vec<RecordOutline>, RecordError>) -> bool {
    matches!(outcome, Err(RecordError::Compression(CompressionError::Malformed { .. })))
}

#[test]
fn an_inspection_stops_at_its_bound_without_the_memory_for_it() {
    let mut zeros = BatchBuilder::new(Codec::Zstd);
    zeros.push(Timestamp(0), None, Some(&vec![0; 64 << 20]), &[]);
    let bomb = zeros.build();
    for (codec, batch) in [(Codec::Zstd, bomb), (Codec::Gzip, sample(Codec::Gzip)), (Codec::Lz4, sample(Codec::Lz4))] {
        let outcome = inspect_with(&batch, 5_000);
        let stopped = matches!(outcome, Err(RecordError::Compression(CompressionError::TooLarge { size_max: 5_000 })));
        assert!(stopped, "{codec:?}: {outcome:?}");
    }
    // A raw snappy block that states a decompressed size of 256 MiB.
    let outcome = inspect_with(&enclosing(Codec::Snappy, &[0x80, 0x80, 0x80, 0x80, 1, 0, 0], 1), 1 << 30);
    assert!(matches!(outcome, Err(RecordError::Compression(CompressionError::Malformed { .. }))), "{outcome:?}");
}

fn inspect_with(batch: &[u8], size_max: usize) -> Result<(), RecordError> {
    inspect(batch, &BatchHeader::parse(batch).unwrap(), size_max, |_| {})
}

proptest! {
    #[test]
    fn damaged_records_never_panic(at in HEADER_LENGTH..200usize, value: u8, codec in 0usize..5) {
        let mut bytes = BytesMut::from(&sample(CODECS[codec])[..]);
        if let Some(byte) = bytes.get_mut(at) {
            *byte = value;
        }
        let _ = read(&bytes.freeze(), 1 << 16);
    }

    #[test]
    fn random_bodies_never_panic(body in proptest::collection::vec(any::<u8>(), 0..300), codec in 0u8..5, count in -2i32..1_000_000) {
        let mut bytes = BytesMut::from(&sample(Codec::None)[..HEADER_LENGTH]);
        bytes[22] = codec;
        bytes[57..61].copy_from_slice(&count.to_be_bytes());
        bytes.put_slice(&body);
        let length = u32::try_from(bytes.len() - 12).unwrap();
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        let _ = read(&bytes.freeze(), 1 << 16);
    }
}
