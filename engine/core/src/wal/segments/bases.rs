//! The bases of a partition: its open frame and its checkpoints, as long as a restart or a
//! truncation may need them. Knows their places, not their content.

use rustmq_model::{Offset, TopicIdPartition};

use super::in_use::SegmentsInUse;
use crate::log::Frontiers;
use crate::wal::position::{SegmentGeneration, SlotId, WalPosition};
use crate::wal::scan::SegmentPlace;

/// The end of the log at a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BaseEnd {
    Known(Offset),
    /// A restart does not know the log end of a base in a segment that it found, nor how many bases
    /// the segment holds: one entry at the segment's beginning stands for all of them. In older
    /// segments the log had come to `end`, so it ended there or later at each of these bases.
    AtLeast {
        end: Offset,
        is_cut: bool,
    },
}

/// An open frame or a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Base {
    /// The group of the frame, or of the checkpoint's first piece.
    at: WalPosition,
    end: BaseEnd,
}

/// The bases of one partition, in the order of the log. A restart begins with the newest one, a
/// truncation with one at or below its offset. No truncation goes below the high watermark, so
/// bases before the newest one at or below the watermark are useless. So are the bases of a longer
/// log that was truncated: the checkpoint of the truncation is newer and replaces them.
#[derive(Clone, Debug, Default)]
pub(super) struct Bases(Vec<Base>);

impl Bases {
    /// The bases of a partition that begins afresh at `at`.
    pub fn open(at: WalPosition, log_start: Offset) -> Self {
        Self(vec![Base { at, end: BaseEnd::Known(log_start) }])
    }

    /// Adds a base that a restart found in a segment; segments come oldest first. Its log did not
    /// end before `least`. With `is_cut`, the log may have been truncated or opened afresh between
    /// bases of that segment.
    pub fn push_recovered(&mut self, generation: SegmentGeneration, least: Offset, is_cut: bool) {
        self.0.push(Base { at: WalPosition { generation, offset: 0 }, end: BaseEnd::AtLeast { end: least, is_cut } });
    }

    /// Adds a checkpoint, with the frontiers of its log. `oldest` is the oldest segment in use.
    pub fn push(&mut self, at: WalPosition, frontiers: &Frontiers, oldest: SegmentGeneration) {
        // A full WAL frees segments with bases for truncations in them.
        self.0.retain(|base| base.at.generation >= oldest);
        self.0.drain(..self.of_watermark(frontiers.high_watermark));
        self.0.push(Base { at, end: BaseEnd::Known(frontiers.log_end) });
    }

    /// Adds the newest base that a restart found, from which it replays.
    pub fn restore(&mut self, at: WalPosition) {
        self.0.push(Base { at, end: BaseEnd::AtLeast { end: Offset::ZERO, is_cut: false } });
    }

    /// Sets the end of the log at the newest base.
    pub fn restore_end(&mut self, end: Offset) {
        if let Some(newest) = self.0.last_mut() {
            newest.end = BaseEnd::Known(end);
        }
    }

    /// Whether a replay from later segments alone would lack a base.
    pub fn is_newest_in(&self, generation: SegmentGeneration) -> bool {
        self.0.last().is_none_or(|newest| newest.at.generation <= generation)
    }

    /// Whether a restart, or a truncation down to `cuts`, needs the segment or an older one.
    pub fn need(&self, generation: SegmentGeneration, cuts: Option<Offset>) -> bool {
        let cut_from = cuts.and_then(|to| self.0.get(self.of_watermark(to)));
        self.is_newest_in(generation) || cut_from.is_some_and(|base| base.at.generation <= generation)
    }

    /// The index of the base that serves every truncation: the newest one that is surely at or
    /// below the high watermark, or else the oldest.
    fn of_watermark(&self, high_watermark: Offset) -> usize {
        let is_below = |base: &Base| matches!(base.end, BaseEnd::Known(end) if end <= high_watermark);
        self.0.iter().rposition(is_below).unwrap_or(0)
    }

    /// The bases that may be at or below `end`, newest first.
    fn at_or_below(&self, end: Offset) -> impl Iterator<Item = ReplayBase> {
        let bases = self.0.iter().rev().map(|base| match base.end {
            BaseEnd::Known(of) => (of, ReplayBase { at: base.at, is_followed: false }),
            BaseEnd::AtLeast { end: least, is_cut } => (least, ReplayBase { at: base.at, is_followed: is_cut }),
        });
        bases.filter(move |(least, _)| *least <= end).map(|(_, base)| base)
    }
}

/// A range of groups in one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRange {
    pub slot: SlotId,
    pub place: SegmentPlace,
    /// The offset of the first group, and the end of the last.
    pub from: u32,
    pub end: u32,
}

/// A place to look for a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayBase {
    /// The group of the base, or the beginning of the segment that holds it.
    pub at: WalPosition,
    /// A later base in the same segment may count instead, because the log was truncated or opened
    /// afresh there.
    pub is_followed: bool,
}

/// The groups that a log is replayed from, up to an offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayRange {
    /// The places of bases that may be at or below the offset, newest first.
    pub bases: Vec<ReplayBase>,
    /// The segments with frames of the partition, in order, from the oldest of the bases on.
    pub segments: Vec<GroupRange>,
}

/// The durable groups of the partition from its bases on.
pub(super) fn replay_range(
    id: TopicIdPartition,
    until: Offset,
    bases: &Bases,
    segments: &SegmentsInUse,
) -> ReplayRange {
    let durable = segments.durable();
    // A base may outlive its segment in a full WAL.
    let holds = |generation| segments.segment(generation).is_some_and(|segment| segment.members.contains(&id));
    let is_there = |base: &ReplayBase| base.at < durable && holds(base.at.generation);
    let mut bases: Vec<_> = bases.at_or_below(until).filter(is_there).collect();
    // A checkpoint with pieces in two segments may have two entries.
    bases.dedup_by_key(|base| base.at);
    let Some(oldest) = bases.last() else { return ReplayRange::default() };
    let generations = segments.generations().filter(|generation| *generation >= oldest.at.generation);
    let ranges = generations.filter_map(|generation| {
        let segment = segments.segment(generation).filter(|segment| segment.members.contains(&id))?;
        let end = if generation < durable.generation { segment.end } else { durable.offset };
        let place = SegmentPlace { wal: segments.config().wal, shape: segment.shared.shape, generation };
        let from = place.shape.first_group();
        (generation <= durable.generation && from < end).then_some(GroupRange { slot: segment.slot, place, from, end })
    });
    ReplayRange { segments: ranges.collect(), bases }
}

#[cfg(test)]
mod tests {
    use rustmq_model::Offset;

    use super::Bases;
    use crate::log::Frontiers;
    use crate::wal::position::{SegmentGeneration, WalPosition};

    fn at(generation: u64) -> WalPosition {
        WalPosition { generation: SegmentGeneration(generation), offset: 512 }
    }

    #[test]
    fn bases_of_freed_segments_are_dropped_even_if_the_watermark_stands_still() {
        let mut bases = Bases::open(at(1), Offset(0));
        for generation in 2..100_u64 {
            let frontiers = Frontiers { log_end: Offset(10), ..Frontiers::at(Offset(0)) };
            bases.push(at(generation), &frontiers, SegmentGeneration(generation.saturating_sub(4).max(1)));
            assert!(bases.0.len() <= 5, "{bases:?}");
        }
        assert_eq!(bases.0[0].at, at(95));
    }

    #[test]
    fn after_a_restart_older_segments_tell_which_bases_are_too_new_for_a_cut() {
        let mut bases = Bases::default();
        for generation in 1..5_i64 {
            bases.push_recovered(SegmentGeneration(generation.unsigned_abs()), Offset((generation - 1) * 10), false);
        }
        let candidates = |to: i64| bases.at_or_below(Offset(to)).map(|base| base.at.generation.0).collect::<Vec<_>>();
        assert_eq!(candidates(0), [1]);
        assert_eq!(candidates(15), [2, 1]);
        assert_eq!(candidates(30), [4, 3, 2, 1]);
    }
}
