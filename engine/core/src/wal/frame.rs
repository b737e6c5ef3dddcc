//! Frames: one batch or control record of one partition, inside a group. [`super::group_writer`]
//! encodes frames; [`frames`] reads those of a whole group.

use std::ops::Range;

use rustmq_model::TopicIdPartition;
use rustmq_model::batch::{BatchHeader, LENGTH_OVERHEAD, UNCHECKED_LENGTH};

use super::checkpoint_piece::CheckpointPiece;
use super::control::{Control, DamagedRange};
use super::damage::{FrameDamage, GroupDamage};
use super::format_version::{FormatVersion, PAYLOAD_VERSION, Unknown};
use super::frame_kind::FrameKind;
use super::group::{self, GroupHeader};
use super::little_endian::{Reader, Writer};
use super::position::{SegmentGeneration, SegmentShape, WalId, WalPosition, WalSession};
use crate::tagged_fields::{self, TaggedFieldsError};

pub const HEADER_LENGTH: u32 = 32;
/// Frames start on multiples of this, in bytes.
pub const ALIGNMENT: u32 = 8;
const CRC_AT: usize = 28;

const _: () = assert!(
    HEADER_LENGTH.is_multiple_of(ALIGNMENT) && group::HEADER_LENGTH.is_multiple_of(ALIGNMENT),
    "the frames of a group are aligned"
);

impl SegmentShape {
    /// The largest payload of a frame, in bytes: a group with one such frame takes at most half a
    /// segment.
    #[must_use]
    pub const fn payload_max(self) -> u32 {
        let half = self.length() / 2 / self.block_size() * self.block_size();
        half - group::HEADER_LENGTH - HEADER_LENGTH
    }
}

/// Whether a batch was appended to the log, or relocated within the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    Appended,
    Relocated,
}

/// The start of the checksums of a group's frames: WAL, generation and session. Each frame adds its
/// own offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSeed(u32);

impl FrameSeed {
    #[must_use]
    pub fn new(wal: WalId, generation: SegmentGeneration, session: WalSession) -> Self {
        let crc = crc32c::crc32c(&wal.0);
        let crc = crc32c::crc32c_append(crc, &generation.0.to_le_bytes());
        Self(crc32c::crc32c_append(crc, &session.0.to_le_bytes()))
    }

    fn checksum(self, frame_offset: u32, header: &[u8], checked: [&[u8]; 2]) -> u32 {
        let crc = crc32c::crc32c_append(self.0, &frame_offset.to_le_bytes());
        let crc = crc32c::crc32c_append(crc, &header[..CRC_AT]);
        checked.iter().fold(crc, |crc, bytes| crc32c::crc32c_append(crc, bytes))
    }
}

/// The bytes of a payload that the frame's checksum covers. The batch's own CRC covers a batch
/// after its first 21 bytes, so the frame's checksum covers those 21 bytes and the tagged fields
/// after the batch. `None` if the payload is too short for its batch.
fn checked(is_batch: bool, payload: &[u8]) -> Option<[&[u8]; 2]> {
    if !is_batch {
        return Some([payload, &[]]);
    }
    let fields = payload.first_chunk::<UNCHECKED_LENGTH>()?;
    Some([fields, payload.get(batch_size(fields)?..)?])
}

/// The size of the batch that begins with these bytes, by its own length field.
pub(super) fn batch_size(fields: &[u8; UNCHECKED_LENGTH]) -> Option<usize> {
    let length = u32::from_be_bytes([fields[8], fields[9], fields[10], fields[11]]);
    usize::try_from(length).ok()?.checked_add(LENGTH_OVERHEAD)
}

/// The bytes of a frame with `payload` bytes, with header and padding.
#[must_use]
pub const fn frame_size(payload: usize) -> usize {
    (HEADER_LENGTH as usize + payload).next_multiple_of(ALIGNMENT as usize)
}

/// Writes header and padding around a payload that is already in place, `HEADER_LENGTH` bytes into
/// `frame`. Returns false, and writes no checksum, if the payload should begin with a whole batch
/// and does not.
#[must_use]
pub(super) fn seal(
    seed: FrameSeed,
    offset: u32,
    kind: FrameKind,
    partition: TopicIdPartition,
    payload: u32,
    frame: &mut [u8],
) -> bool {
    let (header, rest) = frame.split_at_mut(HEADER_LENGTH as usize);
    let mut out = Writer::new(header);
    out.u32(payload);
    out.put(&[kind.code(), 0, 0, 0]);
    out.partition(partition);
    let (body, padding) = rest.split_at_mut(payload as usize);
    let Some(checked) = checked(kind.is_batch(), body) else { return false };
    let crc = seed.checksum(offset, header, checked);
    header[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    padding.fill(0);
    true
}

/// The verified content of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameBody {
    /// A batch, which the payload begins with; tagged fields may follow it.
    Batch {
        kind: BatchKind,
        header: BatchHeader,
    },
    Control(Control),
    /// A piece of a checkpoint, and the range of its bytes in the payload. Only the partition log
    /// knows their encoding.
    Checkpoint(CheckpointPiece, Range<usize>),
    /// A segment index, which [`super::index`] reads.
    SegmentIndex,
    Damaged(DamagedRange),
    /// A whole frame that a newer build wrote.
    Unknown(Unknown),
}

/// A verified frame of a group. `payload` borrows the bytes of the group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub partition: TopicIdPartition,
    pub body: FrameBody,
    pub payload: &'a [u8],
    /// The offset of the payload from the group's start.
    pub payload_at: usize,
}

/// Reads the frames of a group. `group` holds the group from its header on, at least
/// `header.length` bytes. Ends after the first damage; a sound group has exactly `frame_count`
/// frames, which fill it.
pub fn frames<'a>(
    wal: WalId,
    header: &GroupHeader,
    group: &'a [u8],
) -> impl Iterator<Item = Result<Frame<'a>, GroupDamage>> + use<'a> {
    let seed = FrameSeed::new(wal, header.generation, header.session);
    let header = *header;
    let length = header.length as usize;
    let mut at = group::HEADER_LENGTH as usize;
    let mut left = header.frame_count;
    let mut ended = false;
    std::iter::from_fn(move || {
        if ended {
            return None;
        }
        if left == 0 {
            ended = true;
            return (at != length && header.kind != group::GroupKind::Hole).then_some(Err(GroupDamage::FrameCount));
        }
        let Some(bytes) = group.get(at..length) else {
            ended = true;
            return Some(Err(GroupDamage::Truncated));
        };
        let offset = header.offset.saturating_add(u32::try_from(at).unwrap_or(u32::MAX));
        let place = WalPosition { generation: header.generation, offset };
        match parse(seed, header.version, place, bytes, at) {
            Ok(frame) => {
                left -= 1;
                // The group's length includes the padding of its last frame.
                at += frame_size(frame.payload.len());
                Some(Ok(frame))
            }
            Err(damage) => {
                ended = true;
                Some(Err(GroupDamage::Frame { offset, damage }))
            }
        }
    })
}

fn parse(
    seed: FrameSeed,
    version: FormatVersion,
    place: WalPosition,
    bytes: &[u8],
    at: usize,
) -> Result<Frame<'_>, FrameDamage> {
    let (header, rest) = bytes.split_at_checked(HEADER_LENGTH as usize).ok_or(FrameDamage::Length)?;
    let mut fields = Reader::new(header);
    let (Some(length), Some([code, _, _, _]), Some(partition), Some(crc)) =
        (fields.u32(), fields.bytes::<4>(), fields.partition(), fields.u32())
    else {
        return Err(FrameDamage::Length);
    };
    let payload = rest.get(..length as usize).ok_or(FrameDamage::Length)?;
    if frame_size(payload.len()) > bytes.len() {
        return Err(FrameDamage::Length);
    }
    let kind = FrameKind::from_code(code);
    if kind.is_none() && version == FormatVersion::V1 {
        return Err(FrameDamage::Kind { code });
    }
    let is_batch = kind.is_some_and(FrameKind::is_batch);
    let checked = checked(is_batch, payload).ok_or(FrameDamage::Batch)?;
    if seed.checksum(place.offset, header, checked) != crc {
        return Err(FrameDamage::Checksum);
    }
    let body = match kind {
        None => FrameBody::Unknown(Unknown::Kind { code }),
        Some(FrameKind::Batch) => batch_body(FrameKind::Batch, BatchKind::Appended, version, payload)?,
        Some(FrameKind::RelocatedBatch) => {
            batch_body(FrameKind::RelocatedBatch, BatchKind::Relocated, version, payload)?
        }
        Some(FrameKind::SegmentIndex) => FrameBody::SegmentIndex,
        Some(kind) => state_body(kind, version, place, payload)?,
    };
    Ok(Frame { partition, body, payload, payload_at: at + HEADER_LENGTH as usize })
}

/// Checks the batch's own CRC and offset range; all else about a producer's batch was checked
/// before it was stored.
fn batch_body(
    frame: FrameKind,
    kind: BatchKind,
    version: FormatVersion,
    payload: &[u8],
) -> Result<FrameBody, FrameDamage> {
    let header = BatchHeader::parse(payload).map_err(|_| FrameDamage::Batch)?;
    let (batch, tagged_fields) = payload.split_at(header.size);
    let crc = crc32c::crc32c(&batch[UNCHECKED_LENGTH..]);
    let is_sound = crc == header.crc && header.base_offset.0 >= 0 && header.last_offset_delta >= 0;
    if !is_sound || (version == FormatVersion::V1 && !tagged_fields.is_empty()) {
        return Err(FrameDamage::Batch);
    }
    with_tagged_fields(frame, FrameBody::Batch { kind, header }, tagged_fields)
}

/// Reads any frame but batches and indexes: version, fixed fields, tagged fields.
fn state_body(
    kind: FrameKind,
    version: FormatVersion,
    place: WalPosition,
    payload: &[u8],
) -> Result<FrameBody, FrameDamage> {
    if version == FormatVersion::V1 && kind == FrameKind::Checkpoint {
        return Ok(FrameBody::Checkpoint(CheckpointPiece::whole(place), 0..payload.len()));
    }
    let mut fields = Reader::new(payload);
    if version == FormatVersion::V2 {
        let version = fields.u8().ok_or(FrameDamage::Payload)?;
        if version != PAYLOAD_VERSION {
            return Ok(FrameBody::Unknown(Unknown::Version { code: kind.code(), version }));
        }
    }
    let body = match kind {
        FrameKind::Checkpoint => {
            CheckpointPiece::parse(place, &mut fields).map(|(piece, bytes)| FrameBody::Checkpoint(piece, bytes))
        }
        FrameKind::DamagedRange => DamagedRange::parse(&mut fields).map(FrameBody::Damaged),
        control => Control::parse(control, version, &mut fields).map(FrameBody::Control),
    };
    let body = body.ok_or(FrameDamage::Payload)?;
    if version == FormatVersion::V1 && fields.remaining() > 0 {
        return Err(FrameDamage::Payload);
    }
    with_tagged_fields(kind, body, fields.rest())
}

/// Returns the body, unless a critical tagged field follows it.
fn with_tagged_fields(kind: FrameKind, body: FrameBody, tagged_fields: &[u8]) -> Result<FrameBody, FrameDamage> {
    match tagged_fields::check_skippable(tagged_fields) {
        Ok(()) => Ok(body),
        Err(TaggedFieldsError::Critical { tag }) => {
            Ok(FrameBody::Unknown(Unknown::TaggedField { code: kind.code(), tag }))
        }
        Err(TaggedFieldsError::Truncated) => Err(FrameDamage::Payload),
    }
}
