//! The versions of the format, and the extensions within a version that a newer build may write.

/// The layout of a group's frames. The header of a segment names the version of its groups, so that
/// older builds refuse the segment; each group names it too, for readers that see only the group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FormatVersion {
    /// A payload has only its fixed fields.
    V1,
    /// A payload has a version of its own, fixed fields, and tagged fields.
    V2,
}

impl FormatVersion {
    /// The version that this build writes.
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

/// The version of the payloads that this build writes.
pub(super) const PAYLOAD_VERSION: u8 = 1;

/// An extension that a newer RustMQ wrote. A build that does not know it must not ignore it.
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
    #[error("a frame of kind {code} with the tagged field {tag:#06x}, which must not be skipped")]
    TaggedField { code: u8, tag: u16 },
}
