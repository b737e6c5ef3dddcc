//! The group that a sealed segment ends with.

use crate::wal::frame::{FrameBody, frames};
use crate::wal::group::GroupKind;
use crate::wal::index::{IndexError, SegmentIndex};
use crate::wal::scan::{SegmentPlace, check_group};

/// Reads the index out of an index group.
#[must_use]
pub fn read_index(place: SegmentPlace, offset: u32, bytes: &[u8]) -> Option<SegmentIndex> {
    parse_index(place, offset, bytes).ok()
}

/// As [`read_index`], with the reason why there is none.
pub(super) fn parse_index(place: SegmentPlace, offset: u32, bytes: &[u8]) -> Result<SegmentIndex, IndexError> {
    let header = check_group(place, offset, bytes).ok().filter(|header| header.kind == GroupKind::Index);
    let header = header.ok_or(IndexError::Damaged)?;
    let group = bytes.get(..header.length as usize).ok_or(IndexError::Damaged)?;
    let frame = frames(place.wal, &header, group).next().and_then(Result::ok).ok_or(IndexError::Damaged)?;
    match frame.body {
        FrameBody::SegmentIndex => SegmentIndex::parse(header.version, header.generation, frame.payload),
        FrameBody::Unknown(unknown) => Err(IndexError::Unknown(unknown)),
        _ => Err(IndexError::Damaged),
    }
}
