//! The header of a group: what one commit writes from one buffer.

use super::damage::GroupDamage;
use super::format_version::FormatVersion;
use super::little_endian::{Reader, Writer};
use super::position::{Generation, Run, SegmentShape, WalId, WalPosition};

pub const HEADER_LENGTH: u32 = 64;
pub(crate) const MAGIC: [u8; 4] = *b"RMQG";
const CRC_AT: usize = 60;
/// What stands for version 1, which has zeros there.
const UNVERSIONED: u16 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// Frames of partitions.
    Data,
    /// The index frame of a segment that is being sealed; no group follows it in this segment.
    Index,
    /// No frames: only says how far the log is durable, and which run goes on.
    Proof,
    /// Written by a repair over damage; the damage is its body.
    Hole,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    pub kind: GroupKind,
    /// Of its frames.
    pub version: FormatVersion,
    /// Bytes of header and frames, before padding.
    pub length: u32,
    pub generation: Generation,
    pub run: Run,
    /// Where the group stands in its segment.
    pub offset: u32,
    pub frame_count: u32,
    /// The end of what was durable when the group was written.
    pub durable: WalPosition,
}

impl GroupHeader {
    /// Writes the header into the first 64 bytes of the group.
    pub fn encode(&self, wal: WalId, out: &mut [u8]) {
        let kind: u32 = match self.kind {
            GroupKind::Data => 1,
            GroupKind::Index => 2,
            GroupKind::Proof => 3,
            GroupKind::Hole => 4,
        };
        let out = &mut out[..HEADER_LENGTH as usize];
        let mut fields = Writer::new(out);
        fields.put(&MAGIC);
        fields.u32(self.length);
        fields.u64(self.generation.0);
        fields.u64(self.run.0);
        fields.u32(self.offset);
        fields.u32(self.frame_count);
        fields.u64(self.durable.generation.0);
        fields.u32(self.durable.offset);
        fields.u32(kind);
        fields.u16(match self.version {
            FormatVersion::V1 => UNVERSIONED,
            version @ FormatVersion::V2 => version.number(),
        });
        fields.zeros_to(CRC_AT);
        let crc = checksum(wal, &out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the header that `bytes` start with, if it is one of this WAL. Says nothing about the place.
    pub fn parse(wal: WalId, bytes: &[u8]) -> Result<Self, GroupDamage> {
        let Some(bytes) = bytes.first_chunk::<64>() else { return Err(GroupDamage::Truncated) };
        if bytes[..4] != MAGIC {
            return Err(GroupDamage::Absent);
        }
        if checksum(wal, &bytes[..CRC_AT]).to_le_bytes() != bytes[CRC_AT..] {
            return Err(GroupDamage::Checksum);
        }
        Self::parse_fields(&bytes[4..]).ok_or(GroupDamage::Fields)
    }

    fn parse_fields(bytes: &[u8]) -> Option<Self> {
        let mut fields = Reader::new(bytes);
        let length = fields.u32()?;
        let generation = Generation(fields.u64()?);
        let run = Run(fields.u64()?);
        let offset = fields.u32()?;
        let frame_count = fields.u32()?;
        let durable = WalPosition { generation: Generation(fields.u64()?), offset: fields.u32()? };
        let kind = match fields.u32()? {
            1 => GroupKind::Data,
            2 => GroupKind::Index,
            3 => GroupKind::Proof,
            4 => GroupKind::Hole,
            _ => return None,
        };
        let version = match fields.u16()? {
            UNVERSIONED => FormatVersion::V1,
            number => FormatVersion::from_number(number)?,
        };
        Some(Self { kind, version, length, generation, run, offset, frame_count, durable })
    }

    /// Reads the header of a group that is due at `at`, and checks that it belongs there.
    pub fn parse_at(wal: WalId, shape: SegmentShape, at: WalPosition, bytes: &[u8]) -> Result<Self, GroupDamage> {
        let header = Self::parse(wal, bytes)?;
        let belongs = header.generation == at.generation && header.offset == at.offset;
        let room = shape.trailer().saturating_sub(at.offset);
        let fits = header.length >= HEADER_LENGTH && header.length <= room;
        // A claim about the durable end is about what came before: never about the group's own bytes.
        let plausible = header.durable <= at;
        if belongs && fits && plausible { Ok(header) } else { Err(GroupDamage::Fields) }
    }

    #[must_use]
    pub const fn position(&self) -> WalPosition {
        WalPosition { generation: self.generation, offset: self.offset }
    }
}

/// What stands for bytes that the device cannot read: to every reader a damaged group, never a sound one, and never a place that
/// nothing was written to.
pub fn fill_unreadable(bytes: &mut [u8]) {
    bytes.fill(0xFF);
    for sector in bytes.chunks_mut(SegmentShape::BLOCK_SIZE_MIN as usize) {
        let length = sector.len().min(MAGIC.len());
        sector[..length].copy_from_slice(&MAGIC[..length]);
    }
}

fn checksum(wal: WalId, bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&wal.0), bytes)
}
