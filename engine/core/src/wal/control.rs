//! Control frames: changes of a partition other than batches, and damaged ranges, which replace
//! unreadable batches. A payload of version 2 begins with its own version and ends with tagged
//! fields; a payload of version 1 has only the fixed fields.

use rustmq_model::{LeaderEpoch, Offset, ProducerId, Timestamp};

use super::format_version::{FormatVersion, PAYLOAD_VERSION};
use super::frame_kind::FrameKind;
use super::little_endian::{Reader, Writer};

/// The most producers that one expiry frame names; a leader that expires more writes several
/// frames.
pub const EXPIRY_COUNT_MAX: usize = 65_536;
const VERSION_LENGTH: usize = 1;

/// A change of a partition other than a batch. `Open` starts a partition afresh and voids
/// everything that the WAL held of it before.
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
    /// Never moves a log start back: a trim at or below the present log start changes nothing. So a
    /// trim may be replayed twice, and late.
    Trim {
        log_start: Offset,
    },
    /// The log ended at `decided_at` when the leader decided. A producer that has written from
    /// there on keeps its state, so an expiry may be replayed twice, and late. It may not be
    /// replayed after a later truncation: other batches may lie below `decided_at` then.
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

    /// The length of the payload, in bytes.
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

    /// The most producers that an expiry frame names if its payload may have `payload_max` bytes.
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

    /// Reads the fixed fields of a frame of this kind.
    pub(super) fn parse(kind: FrameKind, version: FormatVersion, fields: &mut Reader<'_>) -> Option<Self> {
        Some(match kind {
            FrameKind::Truncate => Self::Truncate { end: offset(fields)? },
            FrameKind::Trim => Self::Trim { log_start: offset(fields)? },
            FrameKind::EpochStart => Self::EpochStart { epoch: LeaderEpoch(fields.i32()?), start: offset(fields)? },
            FrameKind::Open => Self::Open { epoch: LeaderEpoch(fields.i32()?), log_start: offset(fields)? },
            FrameKind::Close => Self::Close,
            FrameKind::Expiry => {
                let decided_at = match version {
                    // Version 1 has no such field; the frame's place in the log implies that its
                    // producers have not written since.
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

/// A range of offsets whose batches could not be read back when they had to be relocated. The frame
/// is relocated in their place; readers of these offsets get an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DamagedRange {
    pub first: Offset,
    pub end: Offset,
    /// At least the timestamp of every batch in the range: retention counts the age of the range
    /// from here.
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
