//! The header of a segment, in its block 0: the WAL, the generation and the sizes. It is written
//! and synced before the first group.

use super::format_version::FormatVersion;
use super::little_endian::{Reader, Writer};
use super::position::{SegmentGeneration, SegmentShape, WalId, WalSession};

pub const HEADER_LENGTH: u32 = 64;
const MAGIC: [u8; 8] = *b"RMQWSEG1";
const CRC_AT: usize = 60;

const _: () = assert!(HEADER_LENGTH <= SegmentShape::BLOCK_SIZE_MIN, "a header lies in one block");

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    pub version: FormatVersion,
    pub wal: WalId,
    pub generation: SegmentGeneration,
    /// The session that started the segment.
    pub session: WalSession,
    pub shape: SegmentShape,
    /// The number of segments directly before this one that were in use when it was started.
    pub before: u32,
}

/// The reason why block 0 is not the header of a segment. Only with `Absent` and `Damaged` may the
/// slot be unused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentHeaderError {
    #[error("there is no segment header")]
    Absent,
    #[error("the segment header's checksum is wrong")]
    Damaged,
    #[error(
        "the segment has format version {version}, which a newer RustMQ wrote; this build reads versions up to {}",
        FormatVersion::CURRENT.number()
    )]
    Version { version: u16 },
    #[error("the segment header's fields are out of bounds")]
    Fields,
}

impl SegmentHeader {
    /// The oldest generation that was in use when the segment was started. Only a newer header can
    /// say that a segment from here on was freed, since a freed slot keeps its header until it is
    /// started again.
    #[must_use]
    pub const fn floor(&self) -> SegmentGeneration {
        SegmentGeneration(self.generation.0.saturating_sub(self.before as u64))
    }

    /// Writes the header over the whole block 0.
    pub fn encode(&self, block: &mut [u8]) {
        let length = block.len();
        let mut out = Writer::new(block);
        out.put(&MAGIC);
        out.u16(self.version.number());
        out.put(&[0; 2]);
        out.u32(self.shape.block_size());
        out.put(&self.wal.0);
        out.u64(self.generation.0);
        out.u64(self.session.0);
        out.u64(u64::from(self.shape.length()));
        out.u32(self.before);
        out.zeros_to(length);
        let crc = crc32c::crc32c(&block[..CRC_AT]);
        block[CRC_AT..CRC_AT + 4].copy_from_slice(&crc.to_le_bytes());
    }

    /// # Errors
    /// The reason why the block is no header; see [`SegmentHeaderError`] for its meaning.
    pub fn parse(block: &[u8]) -> Result<Self, SegmentHeaderError> {
        let Some(bytes) = block.first_chunk::<64>() else { return Err(SegmentHeaderError::Absent) };
        if bytes[..8] != MAGIC {
            return Err(SegmentHeaderError::Absent);
        }
        if crc32c::crc32c(&bytes[..CRC_AT]).to_le_bytes() != bytes[CRC_AT..] {
            return Err(SegmentHeaderError::Damaged);
        }
        let number = u16::from_le_bytes([bytes[8], bytes[9]]);
        let version = FormatVersion::from_number(number).ok_or(SegmentHeaderError::Version { version: number })?;
        Self::parse_fields(version, &bytes[10..]).ok_or(SegmentHeaderError::Fields)
    }

    fn parse_fields(version: FormatVersion, bytes: &[u8]) -> Option<Self> {
        let mut fields = Reader::new(bytes);
        fields.u16()?;
        let block_size = fields.u32()?;
        let wal = WalId(fields.bytes()?);
        let generation = SegmentGeneration(fields.u64().filter(|generation| *generation > 0)?);
        let session = WalSession(fields.u64()?);
        let shape = SegmentShape::new(u64::from(block_size), fields.u64()?).ok()?;
        let before = fields.u32().filter(|before| u64::from(*before) < generation.0)?;
        Some(Self { version, wal, generation, session, shape, before })
    }
}
