//! Slots without a sound header: finds out whether a segment in use lies in one, and rebuilds its
//! header. Writes nothing.

use super::{FoundSegment, Recovery, Step};
use crate::wal::damage::GroupError;
use crate::wal::format_version::{FormatVersion, Unknown};
use crate::wal::group::{GroupHeader, GroupSpan};
use crate::wal::position::{SegmentGeneration, SegmentShape, SlotId, WalId};
use crate::wal::recovery::{CorruptionPolicy, RecoveryError};
use crate::wal::segment_header::SegmentHeader;

/// A slot without a sound header, and the first sound group in it.
#[derive(Clone, Debug)]
pub(super) struct HeaderlessSlot {
    pub slot: SlotId,
    pub group: Option<FirstGroup>,
}

/// The first sound group header of the newest generation in a slot.
#[derive(Clone, Copy, Debug)]
pub(super) struct FirstGroup {
    span: GroupSpan,
    /// The error if a newer build wrote the segment.
    version: Result<FormatVersion, Unknown>,
}

impl Recovery {
    /// Takes the first bytes of a slot without a header. Returns the offset to search on from, if
    /// they hold no sound group header but other content. The header of a segment's first group
    /// lies in these bytes, so a search is needed only if that header is lost as well.
    pub(super) fn on_headerless(
        &mut self,
        slot: SlotId,
        length: u64,
        bytes: &[u8],
    ) -> Result<Option<u32>, RecoveryError> {
        let group = newest_group(self.options.wal, 0, bytes);
        self.headerless.push(HeaderlessSlot { slot, group });
        if bytes.iter().all(|byte| *byte == 0) {
            // The slot was never used, or was being prepared when the process ended; its file may
            // have any length.
            return Ok(None);
        }
        self.check_length(slot, length, self.options.shape)?;
        let more = group.is_none() && (bytes.len() as u64) < length.min(u64::from(self.options.shape.length()));
        Ok(more.then(|| u32::try_from(bytes.len()).expect("a read is shorter than a segment")))
    }

    pub(super) fn on_search(
        &mut self,
        index: usize,
        offset: u32,
        asked: u32,
        bytes: &[u8],
    ) -> Result<(), RecoveryError> {
        let group = newest_group(self.options.wal, offset, bytes);
        let next = offset + asked;
        if group.is_none() && bytes.len() == asked as usize && next < self.options.shape.length() {
            self.step = Step::Search { slot: index, offset: next };
            return Ok(());
        }
        if let Some(headerless) = self.headerless.last_mut() {
            headerless.group = group;
        }
        self.next_head(index)
    }

    /// Refuses or rebuilds the lost headers of segments in use: those with a group from the floor
    /// on. Segments below the floor were freed.
    pub(super) fn rebuild_headers(&mut self, floor: SegmentGeneration) -> Result<(), RecoveryError> {
        let oldest = self.oldest_in_use(floor);
        for HeaderlessSlot { slot, group } in std::mem::take(&mut self.headerless) {
            let Some(group) = group.filter(|group| group.span.generation >= floor) else {
                self.headerless.push(HeaderlessSlot { slot, group: None });
                continue;
            };
            let GroupSpan { generation, session, offset, durable, .. } = group.span;
            let version = group.version.map_err(|unknown| RecoveryError::Newer { slot, offset, unknown })?;
            if self.options.policy != CorruptionPolicy::Repair {
                return Err(RecoveryError::HeaderLost { slot, generation });
            }
            let unknown = RecoveryError::BlockSizeUnknown { slot, generation, offset };
            let shape = self.shape_with_group_at(offset).ok_or(unknown)?;
            // All segments from the oldest one on exist, or the sort reveals that one is missing.
            let before = u32::try_from(generation.0 - oldest.0).unwrap_or(u32::MAX);
            let header = SegmentHeader { version, wal: self.options.wal, generation, session, shape, before };
            let first_durable = (offset == shape.first_group()).then_some(durable);
            self.session_seen = self.session_seen.max(session);
            self.found.push(FoundSegment { slot, header, first_durable });
            self.headers.push((slot, header));
        }
        Ok(())
    }

    /// The oldest generation from `floor` on with a segment, with or without a header.
    fn oldest_in_use(&self, floor: SegmentGeneration) -> SegmentGeneration {
        let found = self.found.iter().map(|found| found.header.generation);
        let headerless =
            self.headerless.iter().filter_map(|headerless| headerless.group).map(|group| group.span.generation);
        found.chain(headerless).filter(|generation| *generation >= floor).min().unwrap_or(floor)
    }

    /// The layout of the segment, from the WAL's other headers and the device: the first groups may
    /// be lost as well, so the offset alone does not tell the block size. `None` if several block
    /// sizes are possible, or none.
    fn shape_with_group_at(&self, offset: u32) -> Option<SegmentShape> {
        let known = self.found.iter().map(|found| found.header.shape).chain([self.options.shape]);
        let mut fitting = known.filter(|shape| offset.is_multiple_of(shape.block_size()));
        let first = fitting.next()?;
        fitting.all(|shape| shape == first).then_some(first)
    }
}

/// The first group header of the newest generation in `bytes`, which begin at offset `start` of
/// their slot, whatever the block size. Segments of earlier generations may have left groups after
/// those.
fn newest_group(wal: WalId, start: u32, bytes: &[u8]) -> Option<FirstGroup> {
    let mut newest: Option<FirstGroup> = None;
    let offsets = (start..).step_by(SegmentShape::BLOCK_SIZE_MIN as usize);
    for (offset, block) in offsets.zip(bytes.chunks(SegmentShape::BLOCK_SIZE_MIN as usize)) {
        let Ok(span) = GroupSpan::parse(wal, block) else { continue };
        let newer = newest.is_none_or(|newest| newest.span.generation < span.generation);
        if span.offset != offset || offset == 0 || !newer {
            continue;
        }
        let version = match GroupHeader::parse(wal, block) {
            Ok(header) => Ok(header.version),
            Err(GroupError::Unknown(unknown)) => Err(unknown),
            Err(GroupError::Damaged(_)) => continue,
        };
        newest = Some(FirstGroup { span, version });
    }
    newest
}
