//! The index group, which is the last group of a sealed segment.

use crate::wal::damage::GroupError;
use crate::wal::group::GroupKind;
use crate::wal::index::{IndexError, SegmentIndex};
use crate::wal::scan::{SegmentPlace, check_group};

/// Reads the index in an index group; `None` if the group or the index is unusable.
#[must_use]
pub fn read_index(place: SegmentPlace, offset: u32, bytes: &[u8]) -> Option<SegmentIndex> {
    parse_index(place, offset, bytes).ok()
}

/// As [`read_index`], with the reason for a failure.
pub(super) fn parse_index(place: SegmentPlace, offset: u32, bytes: &[u8]) -> Result<SegmentIndex, IndexError> {
    match check_group(place, offset, bytes) {
        Ok(header) if header.kind == GroupKind::Index => SegmentIndex::in_group(place.wal, &header, bytes),
        Ok(_) | Err(GroupError::Damaged(_)) => Err(IndexError::Damaged),
        Err(GroupError::Unknown(unknown)) => Err(IndexError::Unknown(unknown)),
    }
}
