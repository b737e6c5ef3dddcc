//! The content of each open partition in the WAL: its batches, its bases and its log start. Moves
//! and trims free content once they are durable and the shard applies them; a staged trim already
//! exempts the batches below it from moves, and a staged close removes the partition. Knows only
//! the generations of segments.

use std::collections::BTreeMap;
use std::ops::Bound;

use rustmq_model::{Offset, TopicIdPartition};

use super::bases::Bases;
use crate::log::{AbortedTransaction, Frontiers};
use crate::wal::checkpoint_piece::CheckpointPiece;
use crate::wal::control::{Control, DamagedRange};
use crate::wal::extents::Extent;
use crate::wal::index::{IndexEntry, SegmentIndex};
use crate::wal::position::{SegmentGeneration, WalPosition};
use crate::wal::spans::{Span, Spans};

/// The content of one partition.
#[derive(Clone, Debug, Default)]
pub(super) struct PartitionEntry {
    /// The batches. They are live from the staged log start on; dead ones stay readable until the
    /// trim is durable.
    spans: Spans,
    /// The durable log start: no span lies wholly below it.
    trimmed: Offset,
    /// Open frames, and checkpoints of which all pieces are staged.
    bases: Bases,
    /// The bytes of the newest base, if it is a checkpoint.
    base_bytes: u64,
    /// The group of the first piece of the unfinished checkpoint, and the bytes of its staged
    /// pieces.
    begun: WalPosition,
    begun_bytes: u64,
    /// The aborted transactions that a start found, until the partition's readers take them.
    aborted: BTreeMap<Offset, AbortedTransaction>,
    /// Whether frames follow the newest base, or the first piece of the unfinished checkpoint.
    changed: bool,
}

impl PartitionEntry {
    pub const fn spans(&self) -> &Spans {
        &self.spans
    }

    pub const fn log_start(&self) -> Offset {
        self.spans.live_from()
    }

    /// The spans of a segment that no trim has cut off, staged trims included.
    pub fn live_in(&self, generation: SegmentGeneration) -> impl Iterator<Item = &Span> {
        self.spans.in_segment(generation).filter(|span| span.end > self.log_start())
    }

    /// The live bytes, without those below the log start in a span across it. The newest checkpoint
    /// counts as live: writing it again takes as much space as it frees.
    const fn live_bytes(&self) -> u64 {
        self.spans.live_bytes() + self.base_bytes + self.begun_bytes
    }

    pub const fn aborted(&self) -> &BTreeMap<Offset, AbortedTransaction> {
        &self.aborted
    }

    /// The bytes of the newest checkpoint.
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

    /// Whether a replay from later segments alone would lack a base.
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

    /// Adds the content of a recovered segment; segments come oldest first.
    fn restore_segment(&mut self, generation: SegmentGeneration, entry: &IndexEntry) {
        if entry.voids_earlier {
            self.spans.clear();
            self.aborted.clear();
            self.bases = Bases::default();
        }
        if let Some(end) = entry.truncated_to {
            self.spans.truncate(end);
            self.aborted.split_off(&end);
        }
        self.aborted.extend(entry.aborted.iter());
        if entry.base_group != 0 {
            let begins = entry.base_begins.generation;
            let older = self.spans.iter().rev().find(|span| span.generation < begins);
            let least = older.map_or(Offset::ZERO, |span| span.end);
            let is_cut = entry.voids_earlier || entry.truncated_to.is_some();
            // The index entry does not say whether the log was truncated in the earlier segment.
            self.bases.push_recovered(begins, least, is_cut || begins < generation);
        }
        for extent in entry.extents.iter() {
            let Extent { bytes, first, end, max_timestamp, is_damaged, .. } = *extent;
            let bytes = u64::from(bytes);
            self.spans.insert(Span { first, end, generation, bytes, max_timestamp, is_damaged });
        }
        // Frames may follow the base in its group: at worst one checkpoint too many is written.
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

    /// Truncates the log. The rest of a span across the log start may lie wholly below it.
    fn truncate(&mut self, end: Offset) {
        self.spans.truncate(end);
        self.spans.trim(self.trimmed);
    }

    /// Applies a move. A batch, or a damaged range, out of a span across the log start may itself
    /// lie below the log start; then its span is dropped here.
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
            assert!(span.end > self.trimmed, "no span of {id} lies wholly below its log start");
        }
    }
}

/// The content of all open partitions.
#[derive(Clone, Debug, Default)]
pub(super) struct PartitionTable {
    by_id: BTreeMap<TopicIdPartition, PartitionEntry>,
    /// The total over all partitions. It is updated with each change, because every plan of a
    /// relocation reads it and there may be many partitions.
    live_bytes: u64,
}

impl PartitionTable {
    /// The partitions, without content: [`Self::restore_segment`] adds that of each segment.
    pub fn new(partitions: impl Iterator<Item = TopicIdPartition>) -> Self {
        Self { by_id: partitions.map(|id| (id, PartitionEntry::default())).collect(), live_bytes: 0 }
    }

    pub fn of(&self, id: TopicIdPartition) -> Option<&PartitionEntry> {
        self.by_id.get(&id)
    }

    /// The partition's spans in the order of offsets; none if the partition is not open.
    pub fn spans(&self, id: TopicIdPartition) -> impl Iterator<Item = &Span> {
        self.of(id).into_iter().flat_map(|partition| partition.spans.iter())
    }

    /// The live bytes of all partitions.
    pub const fn live_bytes(&self) -> u64 {
        self.live_bytes
    }

    /// Whether the partition needs the segment or an older one. `cuts` is the lowest offset that
    /// its log may be truncated to, if it may be truncated at all.
    pub fn needs(&self, id: TopicIdPartition, generation: SegmentGeneration, cuts: Option<Offset>) -> bool {
        self.of(id).is_some_and(|partition| {
            partition.bases.need(generation, cuts) || partition.spans.in_segment(generation).next().is_some()
        })
    }

    /// See [`super::SegmentTable::checkpoint_due_after`].
    pub fn checkpoint_due_after(&self, last: Option<TopicIdPartition>) -> Option<TopicIdPartition> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.by_id.range((from, Bound::Unbounded));
        rest.find(|(_, partition)| partition.changed).map(|(id, _)| *id)
    }

    /// Adds the content of a recovered segment; segments come oldest first.
    pub fn restore_segment(&mut self, generation: SegmentGeneration, index: &SegmentIndex) {
        for (id, entry) in index.entries() {
            self.change(*id, |partition| partition.restore_segment(generation, entry));
        }
    }

    /// Sets the base that the partition is replayed from: its group, and the bytes of its
    /// checkpoint or 0.
    pub fn restore_base(&mut self, id: TopicIdPartition, at: WalPosition, bytes: usize) {
        self.change(id, |partition| {
            partition.bases.restore(at);
            partition.base_bytes = bytes as u64;
        });
    }

    /// See [`super::SegmentTable::take_aborted`].
    pub fn take_aborted(&mut self, id: TopicIdPartition) -> BTreeMap<Offset, AbortedTransaction> {
        self.by_id.get_mut(&id).map(|partition| std::mem::take(&mut partition.aborted)).unwrap_or_default()
    }

    /// Sets the end of the log at the base that it was replayed from.
    pub fn restore_base_end(&mut self, id: TopicIdPartition, end: Offset) {
        self.change(id, |partition| partition.bases.restore_end(end));
    }

    pub fn restore_log_start(&mut self, id: TopicIdPartition, log_start: Offset) {
        self.change(id, |partition| {
            partition.spans.set_live_from(log_start);
            partition.apply_trim(log_start);
        });
    }

    /// Records appended batches, which are found at once.
    pub fn record_batch(&mut self, id: TopicIdPartition, span: Span) {
        self.change_or_add(id, |partition| {
            partition.spans.insert(span);
            partition.changed = true;
        });
    }

    pub fn record_control(&mut self, id: TopicIdPartition, group: WalPosition, control: &Control) {
        if matches!(control, Control::Close) {
            self.live_bytes -= self.by_id.remove(&id).map_or(0, |partition| partition.live_bytes());
        } else {
            self.change_or_add(id, |partition| partition.record_control(group, control));
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
        self.change_or_add(id, |partition| partition.record_piece(group, piece, bytes, frontiers, oldest));
    }

    /// See [`super::SegmentTable::apply_move`].
    pub fn apply_move(&mut self, id: TopicIdPartition, to: Span) {
        self.change(id, |partition| partition.apply_move(to));
    }

    /// See [`super::SegmentTable::apply_trim`].
    pub fn apply_trim(&mut self, id: TopicIdPartition, log_start: Offset) {
        self.change(id, |partition| partition.apply_trim(log_start));
    }

    /// Changes the partition, if it is open.
    fn change(&mut self, id: TopicIdPartition, write: impl FnOnce(&mut PartitionEntry)) {
        if let Some(partition) = self.by_id.get_mut(&id) {
            Self::update_total(&mut self.live_bytes, partition, write);
        }
    }

    fn change_or_add(&mut self, id: TopicIdPartition, write: impl FnOnce(&mut PartitionEntry)) {
        Self::update_total(&mut self.live_bytes, self.by_id.entry(id).or_default(), write);
    }

    fn update_total(live_bytes: &mut u64, partition: &mut PartitionEntry, write: impl FnOnce(&mut PartitionEntry)) {
        *live_bytes -= partition.live_bytes();
        write(partition);
        *live_bytes += partition.live_bytes();
    }

    /// Panics if the content of a partition contradicts itself, or lies in a segment that is not
    /// `in_use`.
    pub fn check_invariants(&self, in_use: impl Fn(SegmentGeneration) -> bool) {
        for (id, partition) in &self.by_id {
            partition.check_invariants(*id);
            for span in partition.spans.iter() {
                assert!(in_use(span.generation), "a span of {id} is in a segment in use");
            }
        }
        let live: u64 = self.by_id.values().map(PartitionEntry::live_bytes).sum();
        assert_eq!(self.live_bytes, live, "the live bytes are the sum over all partitions");
    }
}
