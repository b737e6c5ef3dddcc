//! The record batches that the cases produce: small, plain, and with known timestamps.

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

/// The timestamp of a batch's first record. Each further one is a millisecond later.
pub const FIRST_TIMESTAMP: i64 = 1_790_000_000_000;

/// A batch of `count` records, with base offset 0.
pub fn batch(count: i32) -> Bytes {
    batch_of((0..count).map(|n| Bytes::from(format!("value {n}"))))
}

/// A batch of records with these values.
pub fn batch_of(values: impl Iterator<Item = Bytes>) -> Bytes {
    let records: Vec<Record> = (0..)
        .zip(values)
        .map(|(n, value)| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(n),
            // The encoder takes a gap between sequence and offset for the start of another batch.
            sequence: n - 1,
            timestamp: FIRST_TIMESTAMP + i64::from(n),
            key: Some(Bytes::from_static(b"key")),
            value: Some(value),
            headers: IndexMap::new(),
        })
        .collect();
    let mut buffer = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut buffer, &records, &options).expect("a plain batch has an encoding");
    buffer.freeze()
}

/// Turns the batch into one of an idempotent producer of epoch 0, from a sequence on.
pub fn of_producer(batch: &Bytes, producer_id: i64, sequence: i32) -> Bytes {
    let mut changed = BytesMut::from(&batch[..]);
    changed[43..51].copy_from_slice(&producer_id.to_be_bytes());
    changed[51..53].copy_from_slice(&0_i16.to_be_bytes());
    changed[53..57].copy_from_slice(&sequence.to_be_bytes());
    sealed(changed)
}

/// Marks the batch as compressed with zstd, without changing its records.
pub fn called_zstd(batch: &Bytes) -> Bytes {
    let mut changed = BytesMut::from(&batch[..]);
    changed[22] = changed[22] & !7 | 4;
    sealed(changed)
}

/// Recomputes the CRC.
fn sealed(mut batch: BytesMut) -> Bytes {
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch.freeze()
}

/// The base offset of the first batch in these bytes.
pub fn base_offset(records: &[u8]) -> Option<i64> {
    records.first_chunk().map(|offset| i64::from_be_bytes(*offset))
}
