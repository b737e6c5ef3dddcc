//! The reasons why bytes of a segment cannot be used: they are damaged, or a newer build wrote
//! them.

use super::format_version::Unknown;

/// The reason why bytes cannot be used as the group that is expected at their place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// The bytes differ from those that were written.
    #[error(transparent)]
    Damaged(#[from] GroupDamage),
    /// The bytes are sound, but this build does not know their format.
    #[error("there is {0}: a newer RustMQ wrote it, and this one does not know it")]
    Unknown(Unknown),
}

/// The reason why bytes are not a sound group of the segment and offset that they were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupDamage {
    #[error("no group starts here")]
    Absent,
    #[error("the group header's checksum is wrong")]
    Checksum,
    #[error("the group header belongs to another place or has impossible fields")]
    Fields,
    #[error("the group's bytes end early")]
    Truncated,
    #[error("frame at offset {offset}: {damage}")]
    Frame { offset: u32, damage: FrameDamage },
    #[error("the frames do not fill the group exactly")]
    FrameCount,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameDamage {
    #[error("it is longer than its group")]
    Length,
    #[error("its kind {code} is not known")]
    Kind { code: u8 },
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its batch is not sound")]
    Batch,
    #[error("its payload does not fit its kind")]
    Payload,
}
