//! From where one partition's log can be replayed: its open frame and checkpoints, as long as a restart or a cut of the log may want them. Does not say
//! what they hold: who reads one back learns that.

use rustmq_model::{Offset, TopicIdPartition};

use super::in_use::SegmentsInUse;
use crate::log::Frontiers;
use crate::wal::position::{SegmentGeneration, SlotId, WalPosition};
use crate::wal::scan::SegmentPlace;

/// Where the log ended at a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BaseEnd {
    Known(Offset),
    /// A restart does not know it of the segments that it found, nor how many bases there are in one: a single entry at the segment's beginning stands for
    /// them. What older segments still have of the log is older than each of them.
    AtLeast {
        end: Offset,
        is_cut: bool,
    },
}

/// One open frame or checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Base {
    /// Its group.
    at: WalPosition,
    end: BaseEnd,
}

/// The bases of one partition, in the order of the log. A restart begins with the newest. A cut of the log begins with one at or below the cut. No cut goes below
/// the high watermark, so bases that are older than the newest one there are of no use to anybody. Nor are those of a longer log that was cut back: the cut's own
/// checkpoint is newer, and serves all that they would.
#[derive(Clone, Debug, Default)]
pub(super) struct Bases(Vec<Base>);

impl Bases {
    /// The partition begins here, afresh.
    pub fn open(at: WalPosition, log_start: Offset) -> Self {
        Self(vec![Base { at, end: BaseEnd::Known(log_start) }])
    }

    /// Segments are taken up oldest first. A base begins somewhere in this one, of a log that did not end before `least`. With `is_cut`, the log may have been
    /// cut back, or opened afresh, between bases there.
    pub fn take_up(&mut self, generation: SegmentGeneration, least: Offset, is_cut: bool) {
        self.0.push(Base { at: WalPosition { generation, offset: 0 }, end: BaseEnd::AtLeast { end: least, is_cut } });
    }

    /// A checkpoint, and how far its log had come. `oldest` is the oldest segment in use.
    pub fn push(&mut self, at: WalPosition, frontiers: &Frontiers, oldest: SegmentGeneration) {
        // A full WAL frees segments without asking.
        self.0.retain(|base| base.at.generation >= oldest);
        self.0.drain(..self.of_watermark(frontiers.high_watermark));
        self.0.push(Base { at, end: BaseEnd::Known(frontiers.log_end) });
    }

    /// The newest one that a restart found: it is replayed from there.
    pub fn restore(&mut self, at: WalPosition) {
        self.0.push(Base { at, end: BaseEnd::AtLeast { end: Offset::ZERO, is_cut: false } });
    }

    /// Where the log ended at that one.
    pub fn restore_end(&mut self, end: Offset) {
        if let Some(newest) = self.0.last_mut() {
            newest.end = BaseEnd::Known(end);
        }
    }

    /// Whether a replay that began after the segment would miss something.
    pub fn is_newest_in(&self, generation: SegmentGeneration) -> bool {
        self.0.last().is_none_or(|newest| newest.at.generation <= generation)
    }

    /// The same for a restart, and for a cut down to this offset.
    pub fn need(&self, generation: SegmentGeneration, cuts: Option<Offset>) -> bool {
        let cut_from = cuts.and_then(|to| self.0.get(self.of_watermark(to)));
        self.is_newest_in(generation) || cut_from.is_some_and(|base| base.at.generation <= generation)
    }

    /// Which one serves every cut: the newest that is surely at or below the high watermark, or else the oldest.
    fn of_watermark(&self, high_watermark: Offset) -> usize {
        let is_below = |base: &Base| matches!(base.end, BaseEnd::Known(end) if end <= high_watermark);
        self.0.iter().rposition(is_below).unwrap_or(0)
    }

    /// Those that may be at or below `end`, the newest first.
    fn at_or_below(&self, end: Offset) -> impl Iterator<Item = ReplayBase> {
        let bases = self.0.iter().rev().map(|base| match base.end {
            BaseEnd::Known(of) => (of, ReplayBase { at: base.at, is_followed: false }),
            BaseEnd::AtLeast { end: least, is_cut } => (least, ReplayBase { at: base.at, is_followed: is_cut }),
        });
        bases.filter(move |(least, _)| *least <= end).map(|(_, base)| base)
    }
}

/// Groups of one segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupRange {
    pub slot: SlotId,
    pub place: SegmentPlace,
    /// The first group, and the end of the last.
    pub from: u32,
    pub end: u32,
}

/// Where to look for a base.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayBase {
    /// Its group, or the beginning of the segment that it is somewhere in.
    pub at: WalPosition,
    /// One that counts more, of a log that was cut back or opened afresh, may follow it in its segment.
    pub is_followed: bool,
}

/// Where a log is replayed from, up to an offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayRange {
    /// Groups with bases that may be at or below the offset, the newest first.
    pub bases: Vec<ReplayBase>,
    /// The segments with frames of the partition, from the oldest of the bases on, in their order.
    pub segments: Vec<GroupRange>,
}

/// All that is durable of the partition from its bases on.
pub(super) fn replay_range(
    id: TopicIdPartition,
    until: Offset,
    bases: &Bases,
    segments: &SegmentsInUse,
) -> ReplayRange {
    let durable = segments.durable();
    // A full WAL lets go of a segment before it frees it.
    let holds = |generation| segments.segment(generation).is_some_and(|segment| segment.members.contains(&id));
    let is_there = |base: &ReplayBase| base.at < durable && holds(base.at.generation);
    let mut bases: Vec<_> = bases.at_or_below(until).filter(is_there).collect();
    // A checkpoint of which pieces are in the next segment stands for two.
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
    fn bases_of_segments_that_are_freed_are_forgotten_though_the_watermark_stands_still() {
        let mut bases = Bases::open(at(1), Offset(0));
        for generation in 2..100_u64 {
            let frontiers = Frontiers { log_end: Offset(10), ..Frontiers::at(Offset(0)) };
            bases.push(at(generation), &frontiers, SegmentGeneration(generation.saturating_sub(4).max(1)));
            assert!(bases.0.len() <= 5, "{bases:?}");
        }
        assert_eq!(bases.0[0].at, at(95));
    }

    #[test]
    fn of_what_a_restart_found_older_segments_say_what_is_too_new_for_a_cut() {
        let mut bases = Bases::default();
        for generation in 1..5_i64 {
            bases.take_up(SegmentGeneration(generation.unsigned_abs()), Offset((generation - 1) * 10), false);
        }
        let candidates = |to: i64| bases.at_or_below(Offset(to)).map(|base| base.at.generation.0).collect::<Vec<_>>();
        assert_eq!(candidates(0), [1]);
        assert_eq!(candidates(15), [2, 1]);
        assert_eq!(candidates(30), [4, 3, 2, 1]);
    }
}
