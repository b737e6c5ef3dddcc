//! The records inside a batch: [`views`] shows them without an allocation, [`read`] decodes them
//! under a bound on their decompressed size, [`BatchBuilder`] builds a batch.
//!
//! The broker's hot path uses only [`inspect`], which copies nothing. The coordinators' own logs
//! are replayed from [`views`]; exact timestamp look-ups and tests decode records.

use bytes::{BufMut, Bytes, BytesMut};

use crate::batch::{self, Attributes, BatchError, BatchHeader, Codec, HEADER_LENGTH, LENGTH_OVERHEAD, MAGIC};
use crate::compression::{self, CompressionError};
use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp, varint};

mod inspection;
mod views;

pub use inspection::{RecordOutline, inspect};
pub use views::{RecordView, RecordViews, body, views};

/// One record. Its key and value share the memory of the (decompressed) batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub key: Option<Bytes>,
    pub value: Option<Bytes>,
    pub headers: Vec<(Bytes, Option<Bytes>)>,
}

#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    #[error(transparent)]
    Batch(#[from] BatchError),
    #[error(transparent)]
    Compression(#[from] CompressionError),
    #[error("record {index} of the batch is malformed: {reason}")]
    Malformed { index: i32, reason: &'static str },
}

/// Decodes the records of `batch`, which holds exactly one batch.
///
/// # Errors
/// [`RecordError::Batch`] for a bad header, [`RecordError::Compression`] if the records do not
/// decompress to at most `size_max` bytes, [`RecordError::Malformed`] for a record that does not
/// fill its place.
pub fn read(batch: &Bytes, size_max: usize) -> Result<Vec<Record>, RecordError> {
    let header = BatchHeader::parse(batch)?;
    let body = body(batch, &header, size_max)?;
    let shared = |bytes: &[u8]| body.slice_ref(bytes);
    let own = |view: RecordView<'_>| Record {
        offset: view.offset,
        timestamp: view.timestamp,
        key: view.key.map(shared),
        value: view.value.map(shared),
        headers: view.headers.iter().map(|(name, value)| (shared(name), value.map(shared))).collect(),
    };
    views(&body, &header).map(|view| view.map(own)).collect()
}

fn write_bytes(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        None => varint::put_signed(out, -1),
        Some(bytes) => {
            varint::put_signed(out, i64::try_from(bytes.len()).expect("a slice is shorter than 2^63"));
            out.put_slice(bytes);
        }
    }
}

/// Builds one record batch. Its offsets count from 0; the log assigns the base offset.
#[derive(Debug)]
pub struct BatchBuilder {
    codec: Codec,
    attributes: Attributes,
    producer: (ProducerId, ProducerEpoch, Sequence),
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    count: i32,
    records: BytesMut,
}

impl BatchBuilder {
    #[must_use]
    pub fn new(codec: Codec) -> Self {
        Self {
            codec,
            attributes: Attributes::default().with_codec(codec),
            producer: (ProducerId::NONE, ProducerEpoch::NONE, Sequence::NONE),
            base_timestamp: Timestamp::NONE,
            max_timestamp: Timestamp::NONE,
            count: 0,
            records: BytesMut::new(),
        }
    }

    /// Marks the batch as written by an idempotent producer.
    #[must_use]
    pub const fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, base_sequence: Sequence) -> Self {
        self.producer = (id, epoch, base_sequence);
        self
    }

    /// Sets the attribute bits, but for the codec.
    #[must_use]
    pub const fn attributes(mut self, attributes: Attributes) -> Self {
        self.attributes = attributes.with_codec(self.codec);
        self
    }

    /// Adds a record. A batch holds at most `i32::MAX` records.
    pub fn push(
        &mut self,
        timestamp: Timestamp,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[(&str, Option<&[u8]>)],
    ) {
        if self.count == 0 {
            self.base_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        let mut one = BytesMut::new();
        one.put_u8(0);
        varint::put_signed(&mut one, timestamp.0 - self.base_timestamp.0);
        varint::put_signed(&mut one, i64::from(self.count));
        write_bytes(&mut one, key);
        write_bytes(&mut one, value);
        varint::put_signed(&mut one, i64::try_from(headers.len()).expect("a slice is shorter than 2^63"));
        for (name, value) in headers {
            write_bytes(&mut one, Some(name.as_bytes()));
            write_bytes(&mut one, *value);
        }
        write_bytes(&mut self.records, Some(&one));
        self.count += 1;
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The records' size before compression, in bytes.
    #[must_use]
    pub fn record_bytes(&self) -> usize {
        self.records.len()
    }

    /// Finishes the batch, with base offset 0 and leader epoch -1.
    ///
    /// # Panics
    /// If the batch is empty: no log stores an empty batch.
    #[must_use]
    pub fn build(self) -> Bytes {
        assert!(self.count > 0, "a batch has at least one record");
        let body = compression::compress(self.codec, &self.records);
        let size = HEADER_LENGTH + body.len();
        let mut out = BytesMut::with_capacity(size);
        out.put_i64(0);
        out.put_i32(i32::try_from(size - LENGTH_OVERHEAD).expect("a batch is shorter than 2 GiB"));
        out.put_i32(LeaderEpoch(-1).0);
        out.put_u8(MAGIC);
        out.put_u32(0);
        out.put_u16(self.attributes.0);
        out.put_i32(self.count - 1);
        out.put_i64(self.base_timestamp.0);
        out.put_i64(self.max_timestamp.0);
        out.put_i64(self.producer.0.0);
        out.put_i16(self.producer.1.0);
        out.put_i32(self.producer.2.0);
        out.put_i32(self.count);
        out.put_slice(&body);
        batch::seal(&mut out);
        out.freeze()
    }
}

#[cfg(test)]
mod tests;
