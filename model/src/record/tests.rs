#![allow(clippy::unwrap_used)]

use bytes::{BufMut, Bytes, BytesMut};
use proptest::prelude::*;

use super::{BatchBuilder, RecordError, read};
use crate::batch::{BatchHeader, Codec, HEADER_LENGTH, stamp_log_append_time};
use crate::compression::CompressionError;
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
    let stamped = stamp_log_append_time(&sample(Codec::Lz4), Timestamp(77));
    assert!(read(&stamped, 1 << 20).unwrap().iter().all(|record| record.timestamp == Timestamp(77)));
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
