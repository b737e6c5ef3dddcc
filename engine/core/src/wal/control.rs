//! Control frames: changes of a partition that are no batch, and what stands for damaged batches. The payloads of version 2 begin with their own
//! version, and end with parts; those of version 1 have their fixed fields alone.

use rustmq_model::{LeaderEpoch, Offset, ProducerId, Timestamp};

use super::format_version::{FormatVersion, PAYLOAD_VERSION};
use super::frame_kind::FrameKind;
use super::little_endian::{Reader, Writer};

/// The bound on one expiry frame's list: a leader that forgets more producers writes several.
pub const EXPIRY_COUNT_MAX: usize = 65_536;
const VERSION_LENGTH: usize = 1;

/// A change of a partition that is not a batch. `Open` starts a partition afresh: what the WAL held of it before is void.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Control {
    Truncate {
        end: Offset,
    },
    EpochStart {
        epoch: LeaderEpoch,
        start: Offset,
    },
    Open {
        epoch: LeaderEpoch,
        log_start: Offset,
    },
    Close,
    /// A log start is never moved back: one that the log has already, or is beyond, changes nothing. So it may be replayed again, and late.
    Trim {
        log_start: Offset,
    },
    /// The log ended at `decided_at` when the leader decided. Who has written from there on keeps
    /// its state, so this may be replayed again, and late; but not behind a later truncation: below
    /// `decided_at` there may be other batches then.
    Expiry {
        decided_at: Offset,
        producers: Vec<ProducerId>,
    },
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
    pub const fn payload_length(&self) -> usize {
        VERSION_LENGTH
            + match self {
                Self::Truncate { .. } | Self::Trim { .. } => 8,
                Self::EpochStart { .. } | Self::Open { .. } => 12,
                Self::Close => 0,
                Self::Expiry { producers, .. } => 12 + 8 * producers.len(),
            }
    }

    /// How many producers an expiry frame names at most where a payload has so many bytes at most.
    #[must_use]
    pub fn expiry_count_max(payload_max: usize) -> usize {
        let fixed = Self::Expiry { decided_at: Offset::ZERO, producers: Vec::new() }.payload_length();
        EXPIRY_COUNT_MAX.min(payload_max.saturating_sub(fixed) / 8)
    }

    pub(super) fn encode(&self, payload: &mut [u8]) {
        let mut out = Writer::new(payload);
        out.put(&[PAYLOAD_VERSION]);
        match self {
            Self::Truncate { end: offset } | Self::Trim { log_start: offset } => out.i64(offset.0),
            Self::EpochStart { epoch, start: offset } | Self::Open { epoch, log_start: offset } => {
                out.put(&epoch.0.to_le_bytes());
                out.i64(offset.0);
            }
            Self::Close => {}
            Self::Expiry { decided_at, producers } => {
                assert!(producers.len() <= EXPIRY_COUNT_MAX, "an expiry frame's list is bounded by its writer");
                out.i64(decided_at.0);
                out.u32(u32::try_from(producers.len()).expect("the list is bounded just above"));
                producers.iter().for_each(|producer| out.i64(producer.0));
            }
        }
    }

    /// The fixed fields of a frame of such a kind.
    pub(super) fn parse(kind: FrameKind, version: FormatVersion, fields: &mut Reader<'_>) -> Option<Self> {
        Some(match kind {
            FrameKind::Truncate => Self::Truncate { end: offset(fields)? },
            FrameKind::Trim => Self::Trim { log_start: offset(fields)? },
            FrameKind::EpochStart => Self::EpochStart { epoch: LeaderEpoch(fields.i32()?), start: offset(fields)? },
            FrameKind::Open => Self::Open { epoch: LeaderEpoch(fields.i32()?), log_start: offset(fields)? },
            FrameKind::Close => Self::Close,
            FrameKind::Expiry => {
                let decided_at = match version {
                    // It says nothing of this: nobody has written since, by its place in the log.
                    FormatVersion::V1 => Offset(i64::MAX),
                    FormatVersion::V2 => offset(fields)?,
                };
                let count = usize::try_from(fields.u32()?).ok().filter(|count| *count <= EXPIRY_COUNT_MAX)?;
                if count > fields.remaining() / 8 {
                    return None;
                }
                let producers = (0..count).map(|_| fields.i64().map(ProducerId)).collect::<Option<_>>()?;
                Self::Expiry { decided_at, producers }
            }
            FrameKind::Batch
            | FrameKind::RelocatedBatch
            | FrameKind::Checkpoint
            | FrameKind::SegmentIndex
            | FrameKind::DamagedRange => return None,
        })
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
    pub const PAYLOAD_LENGTH: usize = VERSION_LENGTH + 24;

    pub(super) fn encode(&self, payload: &mut [u8]) {
        let mut out = Writer::new(payload);
        out.put(&[PAYLOAD_VERSION]);
        out.i64(self.first.0);
        out.i64(self.end.0);
        out.i64(self.max_timestamp.0);
    }

    pub(super) fn parse(fields: &mut Reader<'_>) -> Option<Self> {
        let (first, end) = (offset(fields)?, offset(fields)?);
        let range = Self { first, end, max_timestamp: Timestamp(fields.i64()?) };
        (first < end).then_some(range)
    }
}

fn offset(fields: &mut Reader<'_>) -> Option<Offset> {
    fields.i64().filter(|offset| *offset >= 0).map(Offset)
}
