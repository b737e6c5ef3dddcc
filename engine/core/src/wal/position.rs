//! Names and positions in a WAL, and the layout of its segments.

use std::fmt;

/// The random id of one WAL, created with its folder. Every checksum starts from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WalId(pub [u8; 16]);

/// The number of a slot file, `slot-NNNNN`. It does not tell which segment the file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SlotId(pub u32);

impl fmt::Display for SlotId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The number of a segment, counted from 1 and raised each time a segment is started in a slot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SegmentGeneration(pub u64);

impl SegmentGeneration {
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

impl fmt::Display for SegmentGeneration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

/// The number of a WAL session: one opening of the WAL, counted from 1.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalSession(pub u64);

impl WalSession {
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A place in the WAL: generation first, then the byte offset in the segment. The default,
/// generation 0, lies before all content.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WalPosition {
    pub generation: SegmentGeneration,
    pub offset: u32,
}

impl fmt::Display for WalPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.generation, self.offset)
    }
}

/// The block size and the length of a segment, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentShape {
    block_size: u32,
    length: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SegmentShapeError {
    #[error("a WAL block of {block_size} bytes is not supported: it must be a power of two from 512 to 65536")]
    BlockSize { block_size: u64 },
    #[error(
        "a WAL segment of {length} bytes is not supported: it must be a multiple of {block_size} and from {min} to {max}",
        min = SegmentShape::LENGTH_MIN, max = SegmentShape::LENGTH_MAX
    )]
    Length { length: u64, block_size: u64 },
}

const _: () = {
    assert!(SegmentShape::BLOCK_SIZE_MIN.is_power_of_two() && SegmentShape::BLOCK_SIZE_MAX.is_power_of_two());
    assert!(SegmentShape::LENGTH_MAX + SegmentShape::BLOCK_SIZE_MAX as u64 <= u32::MAX as u64);
};

impl SegmentShape {
    pub const BLOCK_SIZE_MIN: u32 = 512;
    pub const BLOCK_SIZE_MAX: u32 = 65_536;
    /// Offsets have 32 bits. Two blocks of the largest size below 4 GiB stay unused, so that
    /// rounding an offset up to a block cannot overflow.
    pub const LENGTH_MAX: u64 = (1 << 32) - 2 * Self::BLOCK_SIZE_MAX as u64;
    /// Sixteen blocks of the smallest size; a segment has at least sixteen of its own blocks.
    pub const LENGTH_MIN: u64 = 16 * Self::BLOCK_SIZE_MIN as u64;

    /// # Errors
    /// If the block size or the length is out of its bounds.
    pub fn new(block_size: u64, length: u64) -> Result<Self, SegmentShapeError> {
        let legal = |size: &u32| size.is_power_of_two() && (Self::BLOCK_SIZE_MIN..=Self::BLOCK_SIZE_MAX).contains(size);
        let block = u32::try_from(block_size).ok().filter(legal).ok_or(SegmentShapeError::BlockSize { block_size })?;
        let fits = length <= Self::LENGTH_MAX && length >= 16 * block_size && length.is_multiple_of(block_size);
        let narrow = u32::try_from(length).ok().filter(|_| fits);
        let length = narrow.ok_or(SegmentShapeError::Length { length, block_size })?;
        Ok(Self { block_size: block, length })
    }

    #[must_use]
    pub const fn block_size(self) -> u32 {
        self.block_size
    }

    /// The length of the whole segment, in bytes.
    #[must_use]
    pub const fn length(self) -> u32 {
        self.length
    }

    /// The offset of the first group.
    #[must_use]
    pub const fn first_group(self) -> u32 {
        self.block_size
    }

    /// The offset of the trailer; groups end before it.
    #[must_use]
    pub const fn trailer(self) -> u32 {
        self.length - self.block_size
    }

    /// Rounds `length` up to whole blocks.
    #[must_use]
    pub const fn padded(self, length: u32) -> u32 {
        length.saturating_add(self.block_size - 1) / self.block_size * self.block_size
    }
}
