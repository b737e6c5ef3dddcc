//! The versions of the format, and what a newer build may have written within the present one.

/// How the frames of a group are laid out. A segment's header names the version of what is written to it, so that older builds refuse it; its groups
/// do, too, for whoever reads them alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatVersion {
    /// Payloads are their fixed fields.
    V1,
    /// Payloads have a version of their own, and parts.
    V2,
}

impl FormatVersion {
    /// What is written.
    pub const CURRENT: Self = Self::V2;

    #[must_use]
    pub const fn number(self) -> u16 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }

    #[must_use]
    pub const fn from_number(number: u16) -> Option<Self> {
        match number {
            1 => Some(Self::V1),
            2 => Some(Self::V2),
            _ => None,
        }
    }
}

/// Of what is written into the payloads of version 2.
pub(super) const PAYLOAD_VERSION: u8 = 1;

/// What a newer RustMQ wrote. A build that does not know it must not pass over it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unknown {
    #[error("a group of format version {version}")]
    GroupVersion { version: u16 },
    #[error("a group of kind {code}")]
    GroupKind { code: u32 },
    #[error("a frame of kind {code}")]
    Kind { code: u8 },
    #[error("a frame of kind {code} in version {version}")]
    Version { code: u8, version: u8 },
    #[error("a frame of kind {code} with the part {tag:#06x}, which must not be passed over")]
    Part { code: u8, tag: u16 },
}
