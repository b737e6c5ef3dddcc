//! The decisions about segments: which one is written, started and freed next, which batches must
//! be relocated so that one can be freed, and where an offset lies. The shard records every frame
//! that it stages, reports what is durable, and executes the decisions.
//!
//! ```text
//! slot:  held ([`super::slots`]) --start_segment--> active --seal--> sealed --poll_free--> held
//! ```
//! Segments are freed oldest first, and freed slots are reused in that order. So the generations on
//! disk never have a gap, and a frame that voids others (close, open, trim, truncation, relocation,
//! damaged range) outlives all frames that it voids.
//!
//! Each part has its own module; [`SegmentTable`] joins them and decides only when a segment may be
//! freed.

mod admission;
mod bases;
mod in_use;
mod location;
mod partitions;
mod relocation;

use std::collections::BTreeMap;
use std::ops::Range;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

use super::checkpoint_piece::CheckpointPiece;
use super::control::{Control, DamagedRange};
use super::extents::ReadRange;
use super::group_writer::FinishedGroup;
use super::index::Trailer;
use super::location_map::LocationMap;
use super::position::{SegmentGeneration, SegmentShape, SlotId, WalPosition, WalSession};
use super::recovery::RecoveredWal;
use super::retention::{self, Part};
use super::scan::{ReplayEvent, ReplayItem};
use super::shared_segments::SharedSegments;
use super::slots::Slots;
use super::spans::Span;
use crate::log::{AbortedIndex, AbortedTransaction, Frontiers};
pub use admission::{Admission, Purpose, RESERVE, SEGMENTS_MIN};
pub use bases::{GroupRange, ReplayBase, ReplayRange};
pub use in_use::{OldestSegment, SegmentTableConfig, StartedSegment};
pub use location::{Located, LocatedExtents, Location, SegmentContent, SegmentRange};
pub use relocation::{BatchMove, MovedBatches, RelocationPlan};

use admission::Capacity;
use in_use::SegmentsInUse;
use location::Locations;
use partitions::PartitionTable;

/// The segments of a WAL, see the module. The shard records every frame when it stages it, in
/// order; [`SegmentTable::on_durable`] follows the syncs. Trims and moves take effect only once
/// they are durable, when the shard calls [`SegmentTable::apply_trim`] and
/// [`SegmentTable::apply_move`].
#[cfg_attr(test, derive(Clone))]
#[derive(Debug)]
pub struct SegmentTable {
    segments: SegmentsInUse,
    slots: Slots,
    partitions: PartitionTable,
    /// The group of the last frame that can free something: any frame but an appended batch.
    last_freeing: WalPosition,
}

impl SegmentTable {
    /// The table of a recovered WAL, which may be empty. Call [`SegmentTable::restore_log_start`]
    /// for each partition next.
    #[must_use]
    pub fn new(config: SegmentTableConfig, recovered: &RecoveredWal) -> Self {
        assert!(config.segments_max >= SEGMENTS_MIN, "a WAL has at least SEGMENTS_MIN segments");
        let mut partitions = PartitionTable::new(recovered.partitions.keys().copied());
        for segment in &recovered.segments {
            partitions.restore_segment(segment.generation, &segment.index);
        }
        for (id, items) in &recovered.partitions {
            if let Some(ReplayItem { group, event }) = items.first() {
                let bytes = if let ReplayEvent::Checkpoint(bytes) = event { bytes.len() } else { 0 };
                partitions.restore_base(*id, *group, bytes);
            }
        }
        Self {
            segments: SegmentsInUse::new(config, recovered),
            slots: Slots::recovered(recovered, RESERVE),
            partitions,
            last_freeing: WalPosition::default(),
        }
    }

    /// Sets the log start that the replay found: the content below is not live.
    pub fn restore_log_start(&mut self, partition: TopicIdPartition, log_start: Offset) {
        self.partitions.restore_log_start(partition, log_start);
    }

    /// Sets the end of the log at the base that the replay began with.
    pub fn restore_base_end(&mut self, partition: TopicIdPartition, end: Offset) {
        self.partitions.restore_base_end(partition, end);
    }

    /// The aborted transactions that the segments of a recovered WAL hold, until they are taken.
    #[must_use]
    pub fn recovered_aborted(&self, partition: TopicIdPartition) -> AbortedIndex {
        let found = self.partitions.of(partition).into_iter().flat_map(|partition| partition.aborted().values());
        found.copied().collect()
    }

    /// Takes the aborted transactions that the segments of a recovered WAL hold, by the offsets of
    /// their markers.
    pub fn take_aborted(&mut self, partition: TopicIdPartition) -> BTreeMap<Offset, AbortedTransaction> {
        self.partitions.take_aborted(partition)
    }

    const fn capacity(&self) -> Capacity<'_> {
        Capacity { segments: &self.segments, slots: &self.slots }
    }

    const fn locations(&self) -> Locations<'_> {
        Locations { segments: &self.segments, partitions: &self.partitions }
    }

    // Slots.

    /// The next slot to reserve: its file must be created if it is missing, its whole length held
    /// on disk, and the file and its name synced.
    pub fn poll_reserve(&mut self) -> Option<SlotId> {
        let count_max = self.capacity().spare_slots_max();
        self.slots.poll_reserve(count_max)
    }

    /// The next reserved slot to fill with zeros and sync before it is needed. A slot that is not
    /// filled serves as well, with slower syncs. No slot is filled before the first segment starts,
    /// because the start of the WAL waits for it.
    pub fn poll_fill(&mut self) -> Option<SlotId> {
        if self.segments.is_empty() { None } else { self.slots.poll_fill() }
    }

    /// Whether new data can start a segment without waiting for a slot.
    #[must_use]
    pub fn is_slot_ready(&self) -> bool {
        self.capacity().is_slot_ready()
    }

    pub fn on_slot_reserved(&mut self, slot: SlotId) {
        self.slots.on_reserved(slot);
    }

    pub fn on_slot_filled(&mut self, slot: SlotId) {
        self.slots.on_filled(slot);
    }

    /// The slot could not be reserved or filled, usually for lack of space. Its file may be gone.
    /// [`SegmentTable::poll_reserve`] returns the slot again; the caller pauses before it calls it.
    /// Until an attempt succeeds, the WAL has only the slots that it holds.
    pub fn on_slot_failed(&mut self, slot: SlotId) {
        self.slots.on_failed(slot);
    }

    // Writing.

    /// The position of the next group; `None` if a segment must be started first.
    #[must_use]
    pub const fn next_position(&self) -> Option<WalPosition> {
        self.segments.next_position()
    }

    #[cfg(test)]
    pub(crate) const fn set_session(&mut self, session: WalSession) {
        self.segments.set_session(session);
    }

    #[must_use]
    pub const fn session(&self) -> WalSession {
        self.segments.session()
    }

    #[must_use]
    pub const fn shape(&self) -> SegmentShape {
        self.segments.config().shape
    }

    /// The slot of a segment in use.
    #[must_use]
    pub fn slot(&self, generation: SegmentGeneration) -> Option<SlotId> {
        self.segments.segment(generation).map(|segment| segment.slot)
    }

    /// Decides whether a group of `group_size` bytes, with one more frame in it
    /// ([`super::GroupWriter::size_with`]), may be written.
    #[must_use]
    pub fn admit(&self, group_size: usize, purpose: Purpose) -> Admission {
        self.capacity().admit(group_size, purpose)
    }

    /// Whether a proof group fits in the active segment. A proof that does not fit is left out: the
    /// first group of the next segment proves as much. The first proof of a session always fits:
    /// [`super::recovery::ResumePoint::InSegment`] has room for it.
    #[must_use]
    pub fn admits_proof(&self) -> bool {
        self.capacity().admits_proof()
    }

    /// The number of segments that can still be started.
    #[must_use]
    pub fn segments_left(&self) -> u32 {
        self.capacity().segments_left()
    }

    /// Whether only frames that free space have room once the active segment is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.capacity().is_full()
    }

    /// A group was finished, and the next one begins at `end`.
    pub fn advance(&mut self, end: WalPosition) {
        self.segments.advance(end);
    }

    /// The payload of the active segment's index frame, to be written as a group of its own
    /// ([`super::GroupKind::Index`]) at [`SegmentTable::next_position`]. `None` if there is no
    /// active segment or no room: then no index is written, and recovery scans the segment.
    #[must_use]
    pub fn index_payload(&self) -> Option<Vec<u8>> {
        self.segments.index_payload()
    }

    /// The bytes of the active segment's index group if it is written after a group of `ending`
    /// bytes; 0 if there is no active segment or no room for it.
    #[must_use]
    pub fn index_group_size(&self, ending: usize) -> usize {
        self.segments.fitting_index(ending).map_or(0, |(_, size)| size)
    }

    /// Seals the active segment, which takes no more groups. Returns the trailer for the last block
    /// if an index group was written. All of it is synced before the next segment receives a group.
    pub fn seal(&mut self, index_group: Option<FinishedGroup>) -> Option<Trailer> {
        self.segments.seal(index_group)
    }

    /// Starts the next segment in a ready slot. `None` if no slot is ready, or the active segment
    /// is not sealed.
    pub fn start_segment(&mut self) -> Option<StartedSegment> {
        if self.next_position().is_some() {
            return None;
        }
        self.slots.take().map(|slot| self.segments.start(slot))
    }

    /// The next partition after `last` to checkpoint at the head of a new segment: one that has
    /// changed since its last checkpoint.
    #[must_use]
    pub fn checkpoint_due_after(&self, last: Option<TopicIdPartition>) -> Option<TopicIdPartition> {
        self.partitions.checkpoint_due_after(last)
    }

    // Frames, as they are staged.

    /// Records the transaction that the marker, which was recorded last, aborts.
    pub fn record_aborted(&mut self, id: TopicIdPartition, group: WalPosition, aborted: AbortedTransaction) {
        self.segments.record(id, group, |index| index.record_aborted(id, aborted));
    }

    pub fn record_batch(&mut self, id: TopicIdPartition, group: WalPosition, header: &BatchHeader) {
        self.segments.record(id, group, |index| index.record_batch(id, group.offset, header, false));
        self.partitions.record_batch(id, Span::of_batch(group.generation, header));
    }

    /// Records a relocated batch. Returns its new place, which counts once the move is applied.
    pub fn record_relocated(&mut self, id: TopicIdPartition, group: WalPosition, header: &BatchHeader) -> MovedBatches {
        self.last_freeing = group;
        // A relocated batch keeps the timestamp that it ages from.
        let held = self.partitions.of(id).and_then(|partition| partition.spans().find(header.base_offset));
        let header = &retention::dated(header, held.map_or(Timestamp::NONE, |span| span.max_timestamp));
        self.segments.record(id, group, |index| index.record_batch(id, group.offset, header, true));
        MovedBatches { to: Span::of_batch(group.generation, header), group }
    }

    /// Records a damaged range. Returns its place. Once the move is applied, the range replaces the
    /// batches, and their old segment holds them no more.
    pub fn record_damaged(&mut self, id: TopicIdPartition, group: WalPosition, range: &DamagedRange) -> MovedBatches {
        self.last_freeing = group;
        self.segments.record(id, group, |index| index.record_damaged(id, group.offset, range));
        MovedBatches { to: Span::of_damaged(group.generation, range), group }
    }

    pub fn record_control(&mut self, id: TopicIdPartition, group: WalPosition, control: &Control) {
        self.last_freeing = group;
        self.segments.record(id, group, |index| index.record_control(id, group, control));
        self.partitions.record_control(id, group, control);
    }

    /// Records a piece of a checkpoint with `bytes` bytes of it. `frontiers` are those of the log
    /// in the checkpoint. The partition's older base counts until the last piece.
    pub fn record_checkpoint(
        &mut self,
        id: TopicIdPartition,
        group: WalPosition,
        piece: &CheckpointPiece,
        bytes: usize,
        frontiers: &Frontiers,
    ) {
        if piece.is_last() {
            self.last_freeing = group;
        }
        self.segments.record(id, group, |index| index.record_checkpoint(id, group, piece));
        let oldest = self.segments.generations().next().unwrap_or(group.generation);
        self.partitions.record_checkpoint(id, group, piece, bytes, frontiers, oldest);
    }

    // Durability.

    /// Everything before `end` is synced.
    pub fn on_synced(&mut self, end: WalPosition) {
        self.segments.on_synced(end);
        self.on_durable(end);
    }

    /// Everything before `end` counts as durable: it is synced, or written in a WAL that does not
    /// sync.
    pub fn on_durable(&mut self, end: WalPosition) {
        self.segments.on_durable(end);
    }

    /// Applies a move: the batches, or the damaged range that replaces them, are at the new place
    /// from now on. Its frame is durable, and the log is still the one that it was staged for.
    pub fn apply_move(&mut self, id: TopicIdPartition, moved: MovedBatches) {
        self.partitions.apply_move(id, moved.to);
    }

    /// Applies a trim, which is durable. A log start below an earlier one changes nothing.
    pub fn apply_trim(&mut self, id: TopicIdPartition, log_start: Offset) {
        self.partitions.apply_trim(id, log_start);
    }

    #[must_use]
    pub const fn durable(&self) -> WalPosition {
        self.segments.durable()
    }

    /// The position up to which a group that is finished now may claim that the log is durable: the
    /// synced end or the end of the previous segment, whichever is later. That segment is synced
    /// before the group is written, even if it is not synced yet. So the first group of a segment
    /// always names the end of the previous one, also when one commit writes to both.
    #[must_use]
    pub fn provable(&self) -> WalPosition {
        self.segments.provable()
    }

    /// A group was finished that names `durable`, which was [`Self::provable`].
    pub const fn on_proof(&mut self, durable: WalPosition) {
        self.segments.on_proof(durable);
    }

    /// Whether a group, written or not, names everything that is provable. In the content that a
    /// start found, only frames need a proof.
    #[must_use]
    pub fn is_proven(&self) -> bool {
        self.segments.is_proven()
    }

    // Freeing.

    /// Frees the oldest segment if nothing needs it, and makes its slot ready. Call it again while
    /// it frees segments. A log whose high watermark lies below its newest checkpoint may be
    /// truncated below that checkpoint, and so keeps an older base. A full WAL does not keep older
    /// bases: such a log has no base for the truncation then, and is reset.
    pub fn poll_free(&mut self, high_watermark: impl Fn(TopicIdPartition) -> Offset) -> OldestSegment {
        // Frames that void content may be staged but not synced yet. The last one stands for all.
        if self.durable() <= self.last_freeing {
            return OldestSegment::Needed;
        }
        let is_full = self.is_full();
        let cuts = |id| (!is_full).then(|| high_watermark(id));
        let oldest = self.segments.free_oldest(|id, generation| self.partitions.needs(id, generation, cuts(id)));
        if let OldestSegment::Freed(slot) = oldest {
            self.slots.release(slot);
        }
        oldest
    }

    /// The segments in use, which readers find and hold.
    #[must_use]
    pub const fn shared(&self) -> &SharedSegments {
        self.segments.shared()
    }

    /// Plans the frames to write so that the oldest segment can be freed. There is a plan only if
    /// at least half of the WAL is in use or new data is refused, the segment is durable, and the
    /// plan pays: its batches and checkpoints take at most half of the dead bytes in the WAL, or at
    /// most all of them once new data is refused. A plan that does not fit may be left halfway;
    /// batches that were moved stay moved. The plan includes batches whose move is not applied yet,
    /// so the caller asks again only after it is applied.
    #[must_use]
    pub fn relocation(&self) -> Option<RelocationPlan> {
        relocation::plan(self.capacity(), &self.partitions)
    }

    /// The range that replaces the unreadable live batches from `from` on below `until`, as far as
    /// the segment still holds them.
    #[must_use]
    pub fn damaged_range(
        &self,
        id: TopicIdPartition,
        generation: SegmentGeneration,
        from: Offset,
        until: Offset,
    ) -> Option<DamagedRange> {
        self.partitions.of(id)?.damaged_range(generation, from, until)
    }

    /// The groups from which a partition's log is replayed up to an offset: all that is durable of
    /// it. The content of the segments does not change while they are held.
    #[must_use]
    pub fn replay_range(&self, id: TopicIdPartition, until: Offset) -> ReplayRange {
        let Some(partition) = self.partitions.of(id) else { return ReplayRange::default() };
        bases::replay_range(id, until, partition.bases(), &self.segments)
    }

    // Lookups.

    /// The bytes of the partition's batches from `log_start` on, with those that are not durable
    /// yet. Exact by group where the index is in memory, else an estimate for the segment that the
    /// log start lies in.
    #[must_use]
    pub fn bytes_from(&self, id: TopicIdPartition, log_start: Offset) -> u64 {
        self.locations().bytes_from(id, log_start)
    }

    /// The bytes of the batches of [`Self::parts`], by segment; an estimate where a truncation cut
    /// through a segment.
    #[must_use]
    pub fn bytes(&self, id: TopicIdPartition) -> u64 {
        self.partitions.spans(id).map(|span| span.bytes).sum()
    }

    /// The number of segments in use.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.count()
    }

    /// The generations of the segments in use, oldest first.
    pub fn generations(&self) -> impl Iterator<Item = SegmentGeneration> {
        self.segments.generations()
    }

    /// Finds the place of `range.from`, or of the first offset after a gap. `None` at the end of
    /// the log.
    #[must_use]
    pub fn locate(&self, id: TopicIdPartition, range: ReadRange) -> Option<Located> {
        self.locations().locate(id, range)
    }

    /// The map of the partition's batches for readers, with no batch in memory.
    #[must_use]
    pub fn location_map(&self, id: TopicIdPartition) -> LocationMap {
        self.locations().map(id)
    }

    /// The live parts of a partition for retention, oldest first: by group where the index is in
    /// memory, else by segment.
    pub fn parts(&self, id: TopicIdPartition) -> impl Iterator<Item = Part> {
        self.locations().parts(id)
    }

    /// The damaged ranges from the log start on; their readers get an error.
    pub fn damaged(&self, id: TopicIdPartition, log_start: Offset) -> impl Iterator<Item = (Offset, Offset)> {
        self.locations().damaged(id, log_start)
    }

    /// The offsets of a partition's log that no live batch holds, because of damage.
    #[must_use]
    pub fn gaps(&self, id: TopicIdPartition, log: Range<Offset>) -> Vec<(Offset, Offset)> {
        self.locations().gaps(id, log)
    }

    /// Panics if the table contradicts itself.
    pub fn check_invariants(&self) {
        self.segments.check_invariants();
        self.partitions.check_invariants(|generation| self.segments.segment(generation).is_some());
    }
}
