//! The Kafka record batch v2 (KIP-98), the one format of both wires, the log and the objects: a
//! view of its header, its validation, and the few fields that a broker rewrites.
//!
//! The broker keeps records as the client compressed them; [`crate::record`] decodes them for
//! callers that need keys or exact timestamps.
//!
//! ```text
//!  0  8  base offset                 \
//!  8  4  batch length (from byte 12)  | outside the CRC:
//! 12  4  partition leader epoch       | the broker's to write
//! 16  1  magic = 2                   /
//! 17  4  CRC32C of bytes 21..
//! 21  2  attributes    0-2 codec, 3 timestamp type, 4 transactional, 5 control, 6 delete horizon
//! 23  4  last offset delta
//! 27  8  base timestamp
//! 35  8  max timestamp
//! 43  8  producer id
//! 51  2  producer epoch
//! 53  4  base sequence
//! 57  4  record count
//! 61     records
//! ```

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use crate::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

/// The length of a batch's header, in bytes; the records follow it.
pub const HEADER_LENGTH: usize = 61;
/// The bytes that the length field does not count: the base offset and the length field itself.
pub const LENGTH_OVERHEAD: usize = 12;
/// The only batch format that clients write today; Kafka 4.0 dropped the older ones (KIP-724).
pub const MAGIC: u8 = 2;
/// The bytes that the batch's CRC does not cover: all up to the CRC, and the CRC itself.
pub const UNCHECKED_LENGTH: usize = 21;

const LENGTH_AT: usize = 8;
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

const CODEC_MASK: u16 = 0x07;
const LOG_APPEND_TIME: u16 = 0x08;
const TRANSACTIONAL: u16 = 0x10;
const CONTROL: u16 = 0x20;
const DELETE_HORIZON: u16 = 0x40;

// The CRC covers everything behind itself, from the attributes on.
const _: () = assert!(UNCHECKED_LENGTH == CRC_AT + 4 && ATTRIBUTES_AT == UNCHECKED_LENGTH);
const _: () = assert!(MAX_TIMESTAMP_AT + 8 <= HEADER_LENGTH, "every fixed field lies in the header");

/// How a batch's records are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None,
    Gzip,
    Snappy,
    Lz4,
    Zstd,
}

/// Shows the name that Kafka's configs use.
impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        })
    }
}

/// Whose clock set a batch's timestamps (KIP-32).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// The attribute bits of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub u16);

impl Attributes {
    /// The codec, or `None` for the three codes that Kafka has not assigned.
    #[must_use]
    pub const fn codec(self) -> Option<Codec> {
        match self.0 & CODEC_MASK {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }

    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & TRANSACTIONAL != 0
    }

    #[must_use]
    pub const fn with_transactional(self) -> Self {
        Self(self.0 | TRANSACTIONAL)
    }

    #[must_use]
    pub const fn with_control(self) -> Self {
        Self(self.0 | CONTROL)
    }

    #[must_use]
    pub const fn with_timestamp_type(self, timestamp_type: TimestampType) -> Self {
        match timestamp_type {
            TimestampType::CreateTime => Self(self.0 & !LOG_APPEND_TIME),
            TimestampType::LogAppendTime => Self(self.0 | LOG_APPEND_TIME),
        }
    }

    /// A control batch holds a transaction marker instead of a client's records.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & CONTROL != 0
    }

    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & DELETE_HORIZON != 0
    }

    #[must_use]
    pub const fn without_delete_horizon(self) -> Self {
        Self(self.0 & !DELETE_HORIZON)
    }

    #[must_use]
    pub const fn with_codec(self, codec: Codec) -> Self {
        let code = match codec {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        };
        Self(self.0 & !CODEC_MASK | code)
    }
}

/// Why bytes are not a valid record batch.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    #[error("a record batch has at least {HEADER_LENGTH} bytes; {available} are there")]
    Truncated { available: usize },
    #[error("the batch says it is {stated} bytes long; {available} are there")]
    Length { stated: i64, available: usize },
    #[error(
        "record batch magic {magic} is not supported: produce with a client that writes magic 2 (Kafka 0.11 or later)"
    )]
    Magic { magic: u8 },
    #[error("the batch's CRC is {stated:08x}, its bytes give {computed:08x}")]
    Crc { stated: u32, computed: u32 },
    #[error("the batch's attributes name compression codec {code}, which does not exist")]
    Codec { code: u16 },
    #[error(
        "the batch counts {count} records with last offset delta {last_offset_delta}; the delta must be one less than the count"
    )]
    Count { count: i32, last_offset_delta: i32 },
}

/// A batch's decoded header. Offsets and counts are unchecked: call [`BatchHeader::validate`]
/// before trusting foreign bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    pub base_offset: Offset,
    /// Bytes of the whole batch, base offset and length field included.
    pub size: usize,
    pub leader_epoch: LeaderEpoch,
    pub crc: u32,
    pub attributes: Attributes,
    pub last_offset_delta: i32,
    pub base_timestamp: Timestamp,
    pub max_timestamp: Timestamp,
    pub producer_id: ProducerId,
    pub producer_epoch: ProducerEpoch,
    pub base_sequence: Sequence,
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header of the batch at the start of `bytes`. Checks only that the batch is
    /// complete and that its magic is 2.
    ///
    /// # Errors
    /// [`BatchError::Truncated`] and [`BatchError::Length`] if `bytes` do not hold the whole batch,
    /// [`BatchError::Magic`] for another format.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let available = bytes.len();
        if available < HEADER_LENGTH {
            return Err(BatchError::Truncated { available });
        }
        if bytes[MAGIC_AT] != MAGIC {
            return Err(BatchError::Magic { magic: bytes[MAGIC_AT] });
        }
        let mut fields = &bytes[..HEADER_LENGTH];
        let base_offset = Offset(fields.get_i64());
        let length = fields.get_i32();
        let size = usize::try_from(length).ok().map(|length| length + LENGTH_OVERHEAD);
        let size = size.filter(|size| (HEADER_LENGTH..=available).contains(size));
        let size = size.ok_or(BatchError::Length { stated: i64::from(length) + 12, available })?;
        let leader_epoch = LeaderEpoch(fields.get_i32());
        fields.advance(1);
        Ok(Self {
            base_offset,
            size,
            leader_epoch,
            crc: fields.get_u32(),
            attributes: Attributes(fields.get_u16()),
            last_offset_delta: fields.get_i32(),
            base_timestamp: Timestamp(fields.get_i64()),
            max_timestamp: Timestamp(fields.get_i64()),
            producer_id: ProducerId(fields.get_i64()),
            producer_epoch: ProducerEpoch(fields.get_i16()),
            base_sequence: Sequence(fields.get_i32()),
            record_count: fields.get_i32(),
        })
    }

    /// Checks a producer's batch before the broker stores it: the CRC, a known codec, and a record
    /// count of at least one that agrees with the last offset delta. `batch` holds the bytes that
    /// this header was read from.
    ///
    /// # Errors
    /// [`BatchError::Crc`], [`BatchError::Codec`] or [`BatchError::Count`], by the check that
    /// failed.
    pub fn validate(&self, batch: &[u8]) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&batch[ATTRIBUTES_AT..self.size]);
        if computed != self.crc {
            return Err(BatchError::Crc { stated: self.crc, computed });
        }
        if self.attributes.codec().is_none() {
            return Err(BatchError::Codec { code: self.attributes.0 & CODEC_MASK });
        }
        if self.record_count < 1 || self.last_offset_delta != self.record_count - 1 {
            return Err(BatchError::Count { count: self.record_count, last_offset_delta: self.last_offset_delta });
        }
        Ok(())
    }

    #[must_use]
    pub const fn last_offset(&self) -> Offset {
        self.base_offset.plus(self.last_offset_delta as i64)
    }

    /// One past the last offset of the batch.
    #[must_use]
    pub const fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Whether an idempotent or transactional producer wrote this batch.
    #[must_use]
    pub const fn has_producer(&self) -> bool {
        self.producer_id.0 >= 0
    }

    /// The sequence of the last record. It means nothing in a batch without a producer id.
    #[must_use]
    pub fn last_sequence(&self) -> Sequence {
        self.base_sequence.plus(self.last_offset_delta.max(0))
    }
}

/// Writes the two fields that the log assigns; they lie outside the CRC. `batch` holds at least a
/// header.
pub fn assign(batch: &mut [u8], base_offset: Offset, leader_epoch: LeaderEpoch) {
    batch[..LENGTH_AT].copy_from_slice(&base_offset.0.to_be_bytes());
    batch[LEADER_EPOCH_AT..MAGIC_AT].copy_from_slice(&leader_epoch.0.to_be_bytes());
}

/// Copies `batch` with other attributes and another max timestamp, and computes its CRC anew. The
/// records keep their timestamp deltas: under `LogAppendTime` a reader takes the batch's max
/// timestamp for each record (KIP-32).
#[must_use]
pub fn restate(batch: &[u8], attributes: Attributes, max_timestamp: Timestamp) -> Bytes {
    let mut restated = BytesMut::from(batch);
    restated[ATTRIBUTES_AT..ATTRIBUTES_AT + 2].copy_from_slice(&attributes.0.to_be_bytes());
    restated[MAX_TIMESTAMP_AT..MAX_TIMESTAMP_AT + 8].copy_from_slice(&max_timestamp.0.to_be_bytes());
    seal(&mut restated);
    restated.freeze()
}

/// Computes the CRC of a finished batch and writes it into the batch.
pub fn seal(batch: &mut [u8]) {
    let crc = crc32c::crc32c(&batch[ATTRIBUTES_AT..]);
    batch[CRC_AT..ATTRIBUTES_AT].copy_from_slice(&crc.to_be_bytes());
}

/// Splits concatenated batches, as a fetch response or an object's range holds them. The iterator
/// ends after its first error.
pub fn split(bytes: &Bytes) -> impl Iterator<Item = Result<(BatchHeader, Bytes), BatchError>> + use<> {
    let mut rest = bytes.clone();
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let parsed = BatchHeader::parse(&rest).map(|header| (header, rest.split_to(header.size)));
        if parsed.is_err() {
            rest.clear();
        }
        Some(parsed)
    })
}

#[cfg(test)]
mod tests;
