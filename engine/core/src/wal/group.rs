//! The header of a group, which is the unit that one commit writes from one buffer.

use super::damage::{GroupDamage, GroupError};
use super::format_version::{FormatVersion, Unknown};
use super::little_endian::{Reader, Writer};
use super::position::{SegmentGeneration, SegmentShape, WalId, WalPosition, WalSession};

pub const HEADER_LENGTH: u32 = 64;
pub(crate) const MAGIC: [u8; 4] = *b"RMQG";
const CRC_AT: usize = 60;

const _: () = assert!(HEADER_LENGTH <= SegmentShape::BLOCK_SIZE_MIN, "a header lies in one block");

/// The version field of version 1, whose groups have zeros there.
const UNVERSIONED: u16 = 0;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GroupKind {
    /// A group of frames of partitions.
    Data,
    /// A group with the index frame of a sealed segment; the last group of its segment.
    Index,
    /// A group without frames: it names the durable end and the session that writes.
    Proof,
    /// A group that a repair writes over damage; the damage is its body.
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
    /// The version of the frames.
    pub version: FormatVersion,
    /// The length of header and frames, in bytes, without padding.
    pub length: u32,
    pub generation: SegmentGeneration,
    pub session: WalSession,
    /// The offset of the group in its segment.
    pub offset: u32,
    pub frame_count: u32,
    /// The end of the durable log when the group was written.
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

    /// Reads the header that `bytes` start with, if it belongs to this WAL. Does not check the
    /// place.
    ///
    /// # Errors
    ///
    /// [`GroupError::Damaged`] if the bytes are no header of this WAL; [`GroupError::Unknown`] if a
    /// newer build wrote it.
    pub fn parse(wal: WalId, bytes: &[u8]) -> Result<Self, GroupError> {
        let (span, fields) = parse_span(wal, bytes)?;
        Self::parse_content(span, fields)
    }

    /// Reads the header of the group that is expected at `at`, and checks that it belongs there.
    ///
    /// # Errors
    ///
    /// Those of [`Self::parse`], and [`GroupDamage::Fields`] if the header belongs elsewhere.
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

/// The place of a group, and the durable end that it names. These fields and the checksum are the
/// same in every version: so a group of a newer build is told from damage, and from a group that an
/// earlier segment left in the slot.
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
    /// Reads the header that `bytes` start with, in any version, if it belongs to this WAL.
    ///
    /// # Errors
    ///
    /// The damage, if the bytes are no header of this WAL.
    pub fn parse(wal: WalId, bytes: &[u8]) -> Result<Self, GroupDamage> {
        parse_span(wal, bytes).map(|(span, _)| span)
    }

    /// Reads the header of the group that is expected at `at`, in any version.
    ///
    /// # Errors
    ///
    /// The damage, if the bytes are no header of this WAL, or belong elsewhere.
    pub fn parse_at(wal: WalId, shape: SegmentShape, at: WalPosition, bytes: &[u8]) -> Result<Self, GroupDamage> {
        Self::parse(wal, bytes)?.due_at(shape, at)
    }

    fn due_at(self, shape: SegmentShape, at: WalPosition) -> Result<Self, GroupDamage> {
        let belongs = self.generation == at.generation && self.offset == at.offset;
        let room = shape.trailer().saturating_sub(at.offset);
        let fits = self.length >= HEADER_LENGTH && self.length <= room;
        // The durable end lies before the group: it never includes the group's own bytes.
        let plausible = self.durable <= at;
        if belongs && fits && plausible { Ok(self) } else { Err(GroupDamage::Fields) }
    }
}

/// Returns the span with a reader of the fields after it, which differ between versions.
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

/// Fills bytes that the device cannot read, so that every reader takes them for a damaged group:
/// never for a sound one, and never for a place that was not written.
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
