//! The header of a group: what one commit writes from one buffer.

use super::damage::{GroupDamage, GroupError};
use super::format_version::{FormatVersion, Unknown};
use super::little_endian::{Reader, Writer};
use super::position::{SegmentGeneration, SegmentShape, WalId, WalPosition, WalSession};

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
    /// No frames: only says how far the log is durable, and which session goes on.
    Proof,
    /// Written by a repair over damage; the damage is its body.
    Hole,
}

impl GroupKind {
    const fn code(self) -> u32 {
        match self {
            Self::Data => 1,
            Self::Index => 2,
            Self::Proof => 3,
            Self::Hole => 4,
        }
    }

    const fn from_code(code: u32) -> Option<Self> {
        Some(match code {
            1 => Self::Data,
            2 => Self::Index,
            3 => Self::Proof,
            4 => Self::Hole,
            _ => return None,
        })
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupHeader {
    pub kind: GroupKind,
    /// Of its frames.
    pub version: FormatVersion,
    /// Bytes of header and frames, before padding.
    pub length: u32,
    pub generation: SegmentGeneration,
    pub session: WalSession,
    /// Where the group stands in its segment.
    pub offset: u32,
    pub frame_count: u32,
    /// The end of what was durable when the group was written.
    pub durable: WalPosition,
}

impl GroupHeader {
    /// Writes the header into the first 64 bytes of the group.
    pub fn encode(&self, wal: WalId, out: &mut [u8]) {
        let out = &mut out[..HEADER_LENGTH as usize];
        let mut fields = Writer::new(out);
        fields.put(&MAGIC);
        fields.u32(self.length);
        fields.u64(self.generation.0);
        fields.u64(self.session.0);
        fields.u32(self.offset);
        fields.u32(self.frame_count);
        fields.u64(self.durable.generation.0);
        fields.u32(self.durable.offset);
        fields.u32(self.kind.code());
        fields.u16(match self.version {
            FormatVersion::V1 => UNVERSIONED,
            version @ FormatVersion::V2 => version.number(),
        });
        fields.zeros_to(CRC_AT);
        let crc = checksum(wal, &out[..CRC_AT]);
        out[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    }

    /// Reads the header that `bytes` start with, if it is one of this WAL. Says nothing about the place.
    pub fn parse(wal: WalId, bytes: &[u8]) -> Result<Self, GroupError> {
        let (span, fields) = parse_span(wal, bytes)?;
        Self::parse_content(span, fields)
    }

    /// Reads the header of a group that is due at `at`, and checks that it belongs there.
    pub fn parse_at(wal: WalId, shape: SegmentShape, at: WalPosition, bytes: &[u8]) -> Result<Self, GroupError> {
        let (span, fields) = parse_span(wal, bytes)?;
        Self::parse_content(span.due_at(shape, at)?, fields)
    }

    fn parse_content(span: GroupSpan, mut fields: Reader<'_>) -> Result<Self, GroupError> {
        let (Some(code), Some(number)) = (fields.u32(), fields.u16()) else {
            return Err(GroupDamage::Truncated.into());
        };
        let version = match number {
            UNVERSIONED => FormatVersion::V1,
            number => {
                let unknown = Unknown::GroupVersion { version: number };
                FormatVersion::from_number(number).ok_or(GroupError::Unknown(unknown))?
            }
        };
        let kind = GroupKind::from_code(code).ok_or(GroupError::Unknown(Unknown::GroupKind { code }))?;
        let GroupSpan { length, generation, session, offset, frame_count, durable } = span;
        Ok(Self { kind, version, length, generation, session, offset, frame_count, durable })
    }

    #[must_use]
    pub const fn span(&self) -> GroupSpan {
        let Self { length, generation, session, offset, frame_count, durable, .. } = *self;
        GroupSpan { length, generation, session, offset, frame_count, durable }
    }

    #[must_use]
    pub const fn position(&self) -> WalPosition {
        WalPosition { generation: self.generation, offset: self.offset }
    }
}

/// Where a group stands, and how far it says that the log was durable. These fields, and the
/// checksum, are the same in every version: so the group of a newer build is told from damage, and
/// from what an earlier life of the slot left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupSpan {
    pub length: u32,
    pub generation: SegmentGeneration,
    pub session: WalSession,
    pub offset: u32,
    pub frame_count: u32,
    pub durable: WalPosition,
}

impl GroupSpan {
    /// Reads the header that `bytes` start with, if it is one of this WAL, in whatever version.
    pub fn parse(wal: WalId, bytes: &[u8]) -> Result<Self, GroupDamage> {
        parse_span(wal, bytes).map(|(span, _)| span)
    }

    /// The same of a group that is due at `at`.
    pub fn parse_at(wal: WalId, shape: SegmentShape, at: WalPosition, bytes: &[u8]) -> Result<Self, GroupDamage> {
        Self::parse(wal, bytes)?.due_at(shape, at)
    }

    fn due_at(self, shape: SegmentShape, at: WalPosition) -> Result<Self, GroupDamage> {
        let belongs = self.generation == at.generation && self.offset == at.offset;
        let room = shape.trailer().saturating_sub(at.offset);
        let fits = self.length >= HEADER_LENGTH && self.length <= room;
        // A claim about the durable end is about what came before: never about the group's own
        // bytes.
        let plausible = self.durable <= at;
        if belongs && fits && plausible { Ok(self) } else { Err(GroupDamage::Fields) }
    }
}

/// With the fields that follow, which differ from version to version.
fn parse_span(wal: WalId, bytes: &[u8]) -> Result<(GroupSpan, Reader<'_>), GroupDamage> {
    let Some(bytes) = bytes.first_chunk::<64>() else { return Err(GroupDamage::Truncated) };
    if bytes[..MAGIC.len()] != MAGIC {
        return Err(GroupDamage::Absent);
    }
    if checksum(wal, &bytes[..CRC_AT]).to_le_bytes() != bytes[CRC_AT..] {
        return Err(GroupDamage::Checksum);
    }
    let mut fields = Reader::new(&bytes[MAGIC.len()..]);
    let span = read_span(&mut fields).ok_or(GroupDamage::Truncated)?;
    Ok((span, fields))
}

fn read_span(fields: &mut Reader<'_>) -> Option<GroupSpan> {
    Some(GroupSpan {
        length: fields.u32()?,
        generation: SegmentGeneration(fields.u64()?),
        session: WalSession(fields.u64()?),
        offset: fields.u32()?,
        frame_count: fields.u32()?,
        durable: WalPosition { generation: SegmentGeneration(fields.u64()?), offset: fields.u32()? },
    })
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
