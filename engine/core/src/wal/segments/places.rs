//! Where each partition's batches are, from where it is replayed, and where its log starts. Moves and trims are applied once they are durable: which
//! of them are, and still hold, the shard says. Knows segments by their generation alone.

use std::collections::BTreeMap;
use std::ops::Bound;

use rustmq_model::{Offset, TopicIdPartition};

use super::bases::Bases;
use crate::log::Frontiers;
use crate::wal::checkpoint_piece::CheckpointPiece;
use crate::wal::control::{Control, DamagedRange};
use crate::wal::extents::Extent;
use crate::wal::index::{IndexEntry, SegmentIndex};
use crate::wal::position::{SegmentGeneration, WalPosition};
use crate::wal::spans::{Span, Spans};

/// What one partition has in the WAL.
#[derive(Clone, Debug, Default)]
pub(super) struct Places {
    /// They live from the log start as staged on: what lies below is dead, but stays readable until the trim is durable.
    spans: Spans,
    /// The log start as far as it is durable: of what lies wholly below there are no spans.
    trimmed: Offset,
    /// Open frames, and checkpoints of which every piece is staged.
    bases: Bases,
    /// Of the newest base, where it is a checkpoint.
    base_bytes: u64,
    /// The group with the first piece of the checkpoint that is under way, and the bytes of the pieces that are staged.
    begun: WalPosition,
    begun_bytes: u64,
    /// Frames follow the newest base, or the checkpoint that is under way.
    changed: bool,
}

impl Places {
    pub const fn spans(&self) -> &Spans {
        &self.spans
    }

    pub const fn log_start(&self) -> Offset {
        self.spans.live_from()
    }

    /// What the segment holds that no trim, a staged one included, has cut off.
    pub fn live_in(&self, generation: SegmentGeneration) -> impl Iterator<Item = &Span> {
        self.spans.in_segment(generation).filter(|span| span.end > self.log_start())
    }

    /// Bytes of all that live, without what lies below the log start in a span that reaches over it. The checkpoint that counts is no less alive than batches:
    /// to write it anew frees as much as it takes.
    const fn live_bytes(&self) -> u64 {
        self.spans.live_bytes() + self.base_bytes + self.begun_bytes
    }

    /// Of the newest checkpoint.
    pub const fn base_bytes(&self) -> u64 {
        self.base_bytes
    }

    fn record_piece(
        &mut self,
        group: WalPosition,
        piece: &CheckpointPiece,
        bytes: usize,
        frontiers: &Frontiers,
        oldest: SegmentGeneration,
    ) {
        if piece.number == 0 {
            (self.changed, self.begun, self.begun_bytes) = (false, group, 0);
        }
        self.begun_bytes += bytes as u64;
        if piece.is_last() {
            self.bases.push(self.begun, frontiers, oldest);
            self.base_bytes = std::mem::take(&mut self.begun_bytes);
        }
    }

    /// Whether a replay that began after the segment would miss something.
    pub fn is_based_in(&self, generation: SegmentGeneration) -> bool {
        self.bases.is_newest_in(generation)
    }

    pub const fn bases(&self) -> &Bases {
        &self.bases
    }

    /// See [`super::SegmentTable::damaged_range`].
    pub fn damaged_range(&self, generation: SegmentGeneration, from: Offset, until: Offset) -> Option<DamagedRange> {
        let from = from.max(self.log_start());
        let span = self.spans.find(from).filter(|span| span.first <= from && span.generation == generation)?;
        let range = span.damaged_from(from);
        let range = DamagedRange { end: range.end.min(until), ..range };
        (range.first < range.end).then_some(range)
    }

    /// Segments are taken up oldest first.
    fn take_up(&mut self, generation: SegmentGeneration, entry: &IndexEntry) {
        if entry.voids_earlier {
            self.spans.clear();
            self.bases = Bases::default();
        }
        if let Some(end) = entry.truncated_to {
            self.spans.truncate(end);
        }
        if entry.base_group != 0 {
            let begins = entry.base_begins.generation;
            let older = self.spans.iter().rev().find(|span| span.generation < begins);
            let least = older.map_or(Offset::ZERO, |span| span.end);
            let is_cut = entry.voids_earlier || entry.truncated_to.is_some();
            // Of the segment before, this entry does not tell.
            self.bases.take_up(begins, least, is_cut || begins < generation);
        }
        for extent in entry.extents.iter() {
            let Extent { bytes, first, end, max_timestamp, is_damaged, .. } = *extent;
            let bytes = u64::from(bytes);
            self.spans.insert(Span { first, end, generation, bytes, max_timestamp, is_damaged });
        }
        // Frames of the base's own group may follow it: one checkpoint too many does no harm.
        self.changed |= entry.last_group != 0;
    }

    fn record_control(&mut self, group: WalPosition, control: &Control) {
        self.changed = true;
        match control {
            Control::Open { log_start, .. } => {
                *self = Self { bases: Bases::open(group, *log_start), ..Self::default() };
            }
            Control::Truncate { end } => self.truncate(*end),
            Control::Trim { log_start } => self.spans.set_live_from(*log_start),
            Control::EpochStart { .. } | Control::Expiry { .. } | Control::Close => {}
        }
    }

    /// What is left of a span that reached over the log start may lie wholly below it.
    fn truncate(&mut self, end: Offset) {
        self.spans.truncate(end);
        self.spans.trim(self.trimmed);
    }

    /// A batch that has moved, or what stands for it, may lie below the log start, out of a span that reached over it: then it ends here.
    fn apply_move(&mut self, to: Span) {
        self.spans.relocate(to);
        self.spans.trim(self.trimmed);
    }

    fn apply_trim(&mut self, log_start: Offset) {
        self.trimmed = self.trimmed.max(log_start);
        self.spans.trim(self.trimmed);
    }

    fn check_invariants(&self, id: TopicIdPartition) {
        self.spans.check_invariants(id);
        for span in self.spans.iter() {
            assert!(span.end > self.trimmed, "a span of {id} lies wholly below its log start");
        }
    }
}

/// What all open partitions have in the WAL.
#[derive(Clone, Debug, Default)]
pub(super) struct PartitionPlaces {
    by_id: BTreeMap<TopicIdPartition, Places>,
    /// Of all partitions together. Kept, since it is asked for at each look at the oldest segment, and there may be many partitions.
    live_bytes: u64,
}

impl PartitionPlaces {
    /// The partitions without anything: [`Self::take_up`] adds what each segment holds.
    pub fn new(partitions: impl Iterator<Item = TopicIdPartition>) -> Self {
        Self { by_id: partitions.map(|id| (id, Places::default())).collect(), live_bytes: 0 }
    }

    pub fn of(&self, id: TopicIdPartition) -> Option<&Places> {
        self.by_id.get(&id)
    }

    /// The partition's spans in the order of offsets; none if it is not open.
    pub fn spans(&self, id: TopicIdPartition) -> impl Iterator<Item = &Span> {
        self.of(id).into_iter().flat_map(|places| places.spans.iter())
    }

    /// Bytes of live batches, of all partitions.
    pub const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Whether the partition would lose something with the segment, or with one before it: its log may be cut down to `cuts`, if it may be cut at all.
    pub fn needs(&self, id: TopicIdPartition, generation: SegmentGeneration, cuts: Option<Offset>) -> bool {
        self.of(id).is_some_and(|places| {
            places.bases.need(generation, cuts) || places.spans.in_segment(generation).next().is_some()
        })
    }

    /// See [`super::SegmentTable::checkpoint_due_after`].
    pub fn checkpoint_due_after(&self, last: Option<TopicIdPartition>) -> Option<TopicIdPartition> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.by_id.range((from, Bound::Unbounded));
        rest.find(|(_, places)| places.changed).map(|(id, _)| *id)
    }

    /// What a recovered segment holds. They are taken up oldest first.
    pub fn take_up(&mut self, generation: SegmentGeneration, index: &SegmentIndex) {
        for (id, entry) in index.entries() {
            self.change(*id, |places| places.take_up(generation, entry));
        }
    }

    /// What is replayed of the partition begins there, with a checkpoint of so many bytes or with none.
    pub fn restore_base(&mut self, id: TopicIdPartition, at: WalPosition, bytes: usize) {
        self.change(id, |places| {
            places.bases.restore(at);
            places.base_bytes = bytes as u64;
        });
    }

    /// The log ended there at the base from which it was replayed.
    pub fn restore_base_end(&mut self, id: TopicIdPartition, end: Offset) {
        self.change(id, |places| places.bases.restore_end(end));
    }

    pub fn restore_log_start(&mut self, id: TopicIdPartition, log_start: Offset) {
        self.change(id, |places| {
            places.spans.set_live_from(log_start);
            places.apply_trim(log_start);
        });
    }

    /// New batches: they are found here at once.
    pub fn record_batch(&mut self, id: TopicIdPartition, span: Span) {
        self.change_or_add(id, |places| {
            places.spans.insert(span);
            places.changed = true;
        });
    }

    pub fn record_control(&mut self, id: TopicIdPartition, group: WalPosition, control: &Control) {
        if matches!(control, Control::Close) {
            self.live_bytes -= self.by_id.remove(&id).map_or(0, |places| places.live_bytes());
        } else {
            self.change_or_add(id, |places| places.record_control(group, control));
        }
    }

    pub fn record_checkpoint(
        &mut self,
        id: TopicIdPartition,
        group: WalPosition,
        piece: &CheckpointPiece,
        bytes: usize,
        frontiers: &Frontiers,
        oldest: SegmentGeneration,
    ) {
        self.change_or_add(id, |places| places.record_piece(group, piece, bytes, frontiers, oldest));
    }

    /// See [`super::SegmentTable::apply_move`].
    pub fn apply_move(&mut self, id: TopicIdPartition, to: Span) {
        self.change(id, |places| places.apply_move(to));
    }

    /// See [`super::SegmentTable::apply_trim`].
    pub fn apply_trim(&mut self, id: TopicIdPartition, log_start: Offset) {
        self.change(id, |places| places.apply_trim(log_start));
    }

    /// Nothing if the partition is not open.
    fn change(&mut self, id: TopicIdPartition, write: impl FnOnce(&mut Places)) {
        if let Some(places) = self.by_id.get_mut(&id) {
            Self::keep_sum(&mut self.live_bytes, places, write);
        }
    }

    fn change_or_add(&mut self, id: TopicIdPartition, write: impl FnOnce(&mut Places)) {
        Self::keep_sum(&mut self.live_bytes, self.by_id.entry(id).or_default(), write);
    }

    fn keep_sum(live_bytes: &mut u64, places: &mut Places, write: impl FnOnce(&mut Places)) {
        *live_bytes -= places.live_bytes();
        write(places);
        *live_bytes += places.live_bytes();
    }

    /// Panics where a partition's places contradict each other, or are in a segment that is not `in_use`.
    pub fn check_invariants(&self, in_use: impl Fn(SegmentGeneration) -> bool) {
        for (id, places) in &self.by_id {
            places.check_invariants(*id);
            for span in places.spans.iter() {
                assert!(in_use(span.generation), "a span of {id} is in a segment in use");
            }
        }
        let live: u64 = self.by_id.values().map(Places::live_bytes).sum();
        assert_eq!(self.live_bytes, live, "the live bytes are the sum over all partitions");
    }
}
