//! From where one partition's log can be replayed: its open frame and checkpoints, as long as a restart or a cut of the log may want them. Does not say
//! what they hold: who reads one back learns that.

use rustmq_model::{Offset, TopicIdPartition};

use super::in_use::SegmentsInUse;
use crate::log::Frontiers;
use crate::wal::position::{Generation, SlotId, WalPosition};
use crate::wal::scan::SegmentPlace;

/// One open frame or checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Base {
    /// Its group.
    at: WalPosition,
    /// Where the log ended then. A restart does not know that of the segments that it found, nor how many bases there are in one: a single entry at the
    /// segment's beginning stands for them.
    end: Option<Offset>,
}

/// The bases of one partition, in the order of the log. A restart begins with the newest. A cut of the log begins with one at or below the cut. No cut goes below
/// the high watermark, so bases that are older than the newest one there are of no use to anybody. Nor are those of a longer log that was cut back: the cut's own
/// checkpoint is newer, and serves all that they would.
#[derive(Clone, Debug, Default)]
pub(super) struct Bases(Vec<Base>);

impl Bases {
    /// The partition begins here, afresh.
    pub fn open(at: WalPosition, log_start: Offset) -> Self {
        Self(vec![Base { at, end: Some(log_start) }])
    }

    /// Segments are taken up oldest first. A base begins somewhere in this one.
    pub fn take_up(&mut self, generation: Generation) {
        self.0.push(Base { at: WalPosition { generation, offset: 0 }, end: None });
    }

    /// A checkpoint, and how far its log had come.
    pub fn push(&mut self, at: WalPosition, frontiers: &Frontiers) {
        self.0.drain(..self.of_watermark(frontiers.high_watermark));
        self.0.push(Base { at, end: Some(frontiers.log_end) });
    }

    /// The newest one that a restart found: it is replayed from there.
    pub fn restore(&mut self, at: WalPosition) {
        self.0.push(Base { at, end: None });
    }

    /// Where the log ended at that one.
    pub fn restore_end(&mut self, end: Offset) {
        if let Some(newest) = self.0.last_mut() {
            newest.end = Some(end);
        }
    }

    /// Whether a replay that began after the segment would miss something.
    pub fn is_newest_in(&self, generation: Generation) -> bool {
        self.0.last().is_none_or(|newest| newest.at.generation <= generation)
    }

    /// The same for a restart, and for a cut down to this offset.
    pub fn need(&self, generation: Generation, cuts: Option<Offset>) -> bool {
        let cut_from = cuts.and_then(|to| self.0.get(self.of_watermark(to)));
        self.is_newest_in(generation) || cut_from.is_some_and(|base| base.at.generation <= generation)
    }

    /// Which one serves every cut: the newest that is surely at or below the high watermark, or else the oldest.
    fn of_watermark(&self, high_watermark: Offset) -> usize {
        let is_below = |base: &Base| base.end.is_some_and(|end| end <= high_watermark);
        self.0.iter().rposition(is_below).unwrap_or(0)
    }

    /// Those that may be at or below `end`, the newest first.
    fn at_or_below(&self, end: Offset) -> impl Iterator<Item = WalPosition> {
        let may_be = move |base: &&Base| base.end.is_none_or(|of| of <= end);
        self.0.iter().rev().filter(may_be).map(|base| base.at)
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

/// Where a log is replayed from, up to an offset.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayRange {
    /// Groups with bases that may be at or below the offset, the newest first.
    pub bases: Vec<WalPosition>,
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
    let is_there = |base: &WalPosition| *base < durable && holds(base.generation);
    let bases: Vec<_> = bases.at_or_below(until).filter(is_there).collect();
    let Some(oldest) = bases.last() else { return ReplayRange::default() };
    let generations = segments.generations().filter(|generation| *generation >= oldest.generation);
    let ranges = generations.filter_map(|generation| {
        let segment = segments.segment(generation).filter(|segment| segment.members.contains(&id))?;
        let end = if generation < durable.generation { segment.end } else { durable.offset };
        let place = SegmentPlace { wal: segments.config().wal, shape: segment.shared.shape, generation };
        let from = place.shape.first_group();
        (generation <= durable.generation && from < end).then_some(GroupRange { slot: segment.slot, place, from, end })
    });
    ReplayRange { segments: ranges.collect(), bases }
}
