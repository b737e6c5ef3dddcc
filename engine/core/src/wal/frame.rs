//! Frames: one batch or one control record of one partition, inside a group. Encoding goes through
//! [`super::group_writer`]; reading walks a whole group with [`frames`].

use rustmq_model::batch::{BatchHeader, UNCHECKED_LENGTH};
use rustmq_model::{LeaderEpoch, Offset, ProducerId, Timestamp, TopicIdPartition};

use super::damage::{FrameDamage, GroupDamage};
use super::group::{self, GroupHeader};
use super::little_endian::{Reader, Writer};
use super::position::{Generation, Run, SegmentShape, WalId};

pub const HEADER_LENGTH: u32 = 32;
/// Frames start on multiples of this.
pub const ALIGNMENT: u32 = 8;
const CRC_AT: usize = 28;
/// The bound on one expiry frame's list, far above what a leader forgets at once.
pub const EXPIRY_COUNT_MAX: usize = 65_536;

impl SegmentShape {
    /// The largest payload of a frame: what a group of one such frame takes is at most half a segment.
    #[must_use]
    pub const fn payload_max(self) -> u32 {
        let half = self.length() / 2 / self.block_size() * self.block_size();
        half - group::HEADER_LENGTH - HEADER_LENGTH
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameKind {
    Batch,
    RelocatedBatch,
    Truncate,
    EpochStart,
    Open,
    Close,
    Trim,
    Expiry,
    Checkpoint,
    SegmentIndex,
    DamagedRange,
}

impl FrameKind {
    const fn code(self) -> u8 {
        match self {
            Self::Batch => 1,
            Self::RelocatedBatch => 2,
            Self::Truncate => 3,
            Self::EpochStart => 4,
            Self::Open => 5,
            Self::Close => 6,
            Self::Trim => 7,
            Self::Expiry => 8,
            Self::Checkpoint => 9,
            Self::SegmentIndex => 10,
            Self::DamagedRange => 11,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        Some(match code {
            1 => Self::Batch,
            2 => Self::RelocatedBatch,
            3 => Self::Truncate,
            4 => Self::EpochStart,
            5 => Self::Open,
            6 => Self::Close,
            7 => Self::Trim,
            8 => Self::Expiry,
            9 => Self::Checkpoint,
            10 => Self::SegmentIndex,
            11 => Self::DamagedRange,
            _ => return None,
        })
    }

    const fn is_batch(self) -> bool {
        matches!(self, Self::Batch | Self::RelocatedBatch)
    }
}

/// Whether a batch is new in the log or was only moved within the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchKind {
    Appended,
    Relocated,
}

/// A change of a partition that is not a batch. `Open` starts a partition afresh: what the WAL held of it before is void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    Truncate { end: Offset },
    EpochStart { epoch: LeaderEpoch, start: Offset },
    Open { epoch: LeaderEpoch, log_start: Offset },
    Close,
    Trim { log_start: Offset },
    Expiry { producers: Vec<ProducerId> },
}

impl Control {
    #[must_use]
    pub const fn kind(&self) -> FrameKind {
        match self {
            Self::Truncate { .. } => FrameKind::Truncate,
            Self::EpochStart { .. } => FrameKind::EpochStart,
            Self::Open { .. } => FrameKind::Open,
            Self::Close => FrameKind::Close,
            Self::Trim { .. } => FrameKind::Trim,
            Self::Expiry { .. } => FrameKind::Expiry,
        }
    }

    /// Bytes of the payload.
    #[must_use]
    pub fn payload_length(&self) -> usize {
        match self {
            Self::Truncate { .. } | Self::Trim { .. } => 8,
            Self::EpochStart { .. } | Self::Open { .. } => 12,
            Self::Close => 0,
            Self::Expiry { producers } => 4 + 8 * producers.len(),
        }
    }

    pub(crate) fn encode(&self, payload: &mut [u8]) {
        let mut out = Writer::new(payload);
        match self {
            Self::Truncate { end: offset } | Self::Trim { log_start: offset } => out.i64(offset.0),
            Self::EpochStart { epoch, start: offset } | Self::Open { epoch, log_start: offset } => {
                out.put(&epoch.0.to_le_bytes());
                out.i64(offset.0);
            }
            Self::Close => {}
            Self::Expiry { producers } => {
                assert!(producers.len() <= EXPIRY_COUNT_MAX, "an expiry frame's list is bounded by its writer");
                out.u32(u32::try_from(producers.len()).expect("the list is bounded just above"));
                producers.iter().for_each(|producer| out.i64(producer.0));
            }
        }
    }

    fn parse(kind: FrameKind, payload: &[u8]) -> Option<Self> {
        let mut fields = Reader::new(payload);
        let control = match kind {
            FrameKind::Truncate => Self::Truncate { end: offset(&mut fields)? },
            FrameKind::Trim => Self::Trim { log_start: offset(&mut fields)? },
            FrameKind::EpochStart => {
                Self::EpochStart { epoch: LeaderEpoch(fields.i32()?), start: offset(&mut fields)? }
            }
            FrameKind::Open => Self::Open { epoch: LeaderEpoch(fields.i32()?), log_start: offset(&mut fields)? },
            FrameKind::Close => Self::Close,
            FrameKind::Expiry => {
                let count = usize::try_from(fields.u32()?).ok().filter(|count| *count <= EXPIRY_COUNT_MAX)?;
                if fields.remaining() != 8 * count {
                    return None;
                }
                let producers = (0..count).map(|_| fields.i64().map(ProducerId)).collect::<Option<_>>()?;
                Self::Expiry { producers }
            }
            FrameKind::Batch
            | FrameKind::RelocatedBatch
            | FrameKind::Checkpoint
            | FrameKind::SegmentIndex
            | FrameKind::DamagedRange => return None,
        };
        (fields.remaining() == 0).then_some(control)
    }
}

/// Offsets of a partition whose batches could not be read back when they were to move. The frame moves in their place: what holds it answers for
/// them that they are damaged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    pub first: Offset,
    pub end: Offset,
    /// Not below that of any batch of the range: retention counts its age from here.
    pub max_timestamp: Timestamp,
}

impl DamagedRange {
    pub const PAYLOAD_LENGTH: usize = 24;

    pub(crate) fn encode(&self, payload: &mut [u8]) {
        let mut out = Writer::new(payload);
        out.i64(self.first.0);
        out.i64(self.end.0);
        out.i64(self.max_timestamp.0);
    }

    fn parse(payload: &[u8]) -> Option<Self> {
        let mut fields = Reader::new(payload);
        let (first, end) = (offset(&mut fields)?, offset(&mut fields)?);
        let range = Self { first, end, max_timestamp: Timestamp(fields.i64()?) };
        (fields.remaining() == 0 && first < end).then_some(range)
    }
}

fn offset(fields: &mut Reader<'_>) -> Option<Offset> {
    fields.i64().filter(|offset| *offset >= 0).map(Offset)
}

/// Where the checksums of a group's frames start: WAL, generation and run. The frame's own offset is mixed in per frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameSeed(u32);

impl FrameSeed {
    #[must_use]
    pub fn new(wal: WalId, generation: Generation, run: Run) -> Self {
        let crc = crc32c::crc32c(&wal.0);
        let crc = crc32c::crc32c_append(crc, &generation.0.to_le_bytes());
        Self(crc32c::crc32c_append(crc, &run.0.to_le_bytes()))
    }

    fn checksum(self, frame_offset: u32, header: &[u8], checked: &[u8]) -> u32 {
        let crc = crc32c::crc32c_append(self.0, &frame_offset.to_le_bytes());
        crc32c::crc32c_append(crc32c::crc32c_append(crc, &header[..CRC_AT]), checked)
    }
}

/// Bytes that a frame with `payload` bytes takes, header and padding included.
#[must_use]
pub const fn frame_size(payload: usize) -> usize {
    (HEADER_LENGTH as usize + payload).next_multiple_of(ALIGNMENT as usize)
}

/// Writes header and padding around a payload that is already in place, `HEADER_LENGTH` bytes into `frame`.
pub(crate) fn seal(
    seed: FrameSeed,
    offset: u32,
    kind: FrameKind,
    partition: TopicIdPartition,
    payload: u32,
    frame: &mut [u8],
) {
    let (header, rest) = frame.split_at_mut(HEADER_LENGTH as usize);
    let mut out = Writer::new(header);
    out.u32(payload);
    out.put(&[kind.code(), 0, 0, 0]);
    out.partition(partition);
    let (body, padding) = rest.split_at_mut(payload as usize);
    let checked = if kind.is_batch() { &body[..UNCHECKED_LENGTH] } else { body };
    let crc = seed.checksum(offset, header, checked);
    header[CRC_AT..].copy_from_slice(&crc.to_le_bytes());
    padding.fill(0);
}

/// What a frame says, verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FrameBody {
    Batch {
        kind: BatchKind,
        header: BatchHeader,
    },
    Control(Control),
    /// The partition log's own encoding, opaque here.
    Checkpoint,
    SegmentIndex,
    Damaged(DamagedRange),
}

/// One verified frame of a group. `payload` borrows the group's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub partition: TopicIdPartition,
    pub body: FrameBody,
    pub payload: &'a [u8],
    /// Where the payload stands, counted from the group's start.
    pub payload_at: usize,
}

/// Walks the frames of a group. `group` holds the whole group from its header on, at least `header.length` bytes. Ends after the
/// first damage; a sound group gives exactly `frame_count` frames that fill it.
pub fn frames<'a>(
    wal: WalId,
    header: &GroupHeader,
    group: &'a [u8],
) -> impl Iterator<Item = Result<Frame<'a>, GroupDamage>> + use<'a> {
    let seed = FrameSeed::new(wal, header.generation, header.run);
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
        match parse(seed, offset, bytes, at) {
            Ok(frame) => {
                left -= 1;
                // The last frame's padding is part of the group's length.
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

fn parse(seed: FrameSeed, offset: u32, bytes: &[u8], at: usize) -> Result<Frame<'_>, FrameDamage> {
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
    let kind = FrameKind::from_code(code).ok_or(FrameDamage::Kind { code })?;
    let checked = if kind.is_batch() { payload.get(..UNCHECKED_LENGTH).ok_or(FrameDamage::Batch)? } else { payload };
    if seed.checksum(offset, header, checked) != crc {
        return Err(FrameDamage::Checksum);
    }
    let body = match kind {
        FrameKind::Batch => FrameBody::Batch { kind: BatchKind::Appended, header: sound_batch(payload)? },
        FrameKind::RelocatedBatch => FrameBody::Batch { kind: BatchKind::Relocated, header: sound_batch(payload)? },
        FrameKind::Checkpoint => FrameBody::Checkpoint,
        FrameKind::SegmentIndex => FrameBody::SegmentIndex,
        FrameKind::DamagedRange => FrameBody::Damaged(DamagedRange::parse(payload).ok_or(FrameDamage::Payload)?),
        control => FrameBody::Control(Control::parse(control, payload).ok_or(FrameDamage::Payload)?),
    };
    Ok(Frame { partition, body, payload, payload_at: at + HEADER_LENGTH as usize })
}

/// The batch's own CRC and a sane offset range; what else a producer's batch must satisfy was checked before it was stored.
fn sound_batch(payload: &[u8]) -> Result<BatchHeader, FrameDamage> {
    let header = BatchHeader::parse(payload).map_err(|_| FrameDamage::Batch)?;
    let sound = header.size == payload.len() && header.base_offset.0 >= 0 && header.last_offset_delta >= 0;
    let crc = crc32c::crc32c(&payload[UNCHECKED_LENGTH..]);
    if sound && crc == header.crc { Ok(header) } else { Err(FrameDamage::Batch) }
}
