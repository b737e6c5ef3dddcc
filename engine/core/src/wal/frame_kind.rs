//! The kinds of frames, and their codes on disk.

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
    pub(super) const fn code(self) -> u8 {
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

    pub(super) const fn from_code(code: u8) -> Option<Self> {
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

    pub(super) const fn is_batch(self) -> bool {
        matches!(self, Self::Batch | Self::RelocatedBatch)
    }
}
