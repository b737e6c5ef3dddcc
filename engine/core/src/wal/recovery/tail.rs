//! The tail segment, which the log ends in: the newest one that holds a group, or the oldest one if
//! none does.

use super::FoundSegment;
use super::Recovery;
use super::outcome::{DroppedTail, RecoveryError, ResumePoint};
use crate::wal::damage::GroupDamage;
use crate::wal::format_version::FormatVersion;
use crate::wal::position::WalPosition;
use crate::wal::scan::{DamagePolicy, SegmentScan};
use crate::wal::segment_header::SegmentHeader;

impl Recovery {
    /// The newest segment holds no group, so the tail of the log is in the previous one.
    pub(super) fn step_down(&mut self, segment: usize, scan: &SegmentScan) -> Result<(), RecoveryError> {
        self.dropped.extend(self.dropped_from(segment, scan));
        self.started_empty.insert(0, self.found[segment].slot);
        self.tail = Some(segment - 1);
        self.start_scan(segment - 1, DamagePolicy::Stop, None)
    }

    pub(super) fn on_tail(&mut self, segment: usize, scan: &SegmentScan) {
        let SegmentHeader { version, generation, shape, .. } = self.found[segment].header;
        let at = WalPosition { generation, offset: scan.end };
        self.dropped.extend(self.dropped_from(segment, scan));
        self.proven = scan.proven;
        let data_end = scan.data_end.map(|offset| WalPosition { generation, offset });
        self.is_proven = data_end.is_none_or(|end| scan.proven >= end);
        self.tail_claim = Some(scan.proven).filter(|proven| proven.generation < generation);
        self.durable = if scan.end == shape.first_group() { scan.proven } else { at };
        // A segment of an older version takes no more groups: an older build would read on in it,
        // and take frames of a later version for damage.
        let is_older = version != FormatVersion::CURRENT;
        let closed = scan.sealed || is_older || shape != self.options.shape || scan.end >= shape.trailer();
        self.resume_at = if closed { ResumePoint::NewSegment } else { ResumePoint::InSegment(at) };
    }

    /// The content behind the segment's end that is left of commits.
    fn dropped_from(&self, segment: usize, scan: &SegmentScan) -> Option<DroppedTail> {
        let FoundSegment { slot, header, .. } = &self.found[segment];
        let (offset, damage) = scan.damage()?;
        let is_left = match damage {
            // Zeros, and content of an earlier use of the slot, are no torn tail. New slots are
            // used in the order of their numbers, so a slot had no earlier use if its generation is
            // at most its number plus 1.
            GroupDamage::Absent => !scan.damaged_block_is_blank && header.generation.0 <= u64::from(slot.0) + 1,
            GroupDamage::Fields => false,
            _ => true,
        };
        let groups = scan.groups_after_damage;
        (is_left || groups > 0).then_some(DroppedTail { slot: *slot, offset, damage, groups })
    }
}
