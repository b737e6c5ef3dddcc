//! Why bytes of a segment are not what was written there, or cannot be used though they are.

use super::format_version::Unknown;

/// Why bytes are not taken for a group of the segment and place they were read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GroupError {
    /// They are not what was written there.
    #[error(transparent)]
    Damaged(#[from] GroupDamage),
    /// They are.
    #[error("there is {0}: a newer RustMQ wrote it, and this one does not know it")]
    Unknown(Unknown),
}

/// Why bytes are not a sound group of the segment and place they were read from.
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
