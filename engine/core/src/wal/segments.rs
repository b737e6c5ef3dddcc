//! Which segment is written, which is next, which is free, what must move so that one becomes free, and where an offset is.
//! The shard records every frame that it stages, reports what is durable, and executes what is asked for.
//!
//! ```text
//! slot:  held ([`super::slots`]) --start_segment--> active --sealed--> full --poll_free--> held
//! ```
//! Segments are freed oldest first, and freed slots are used again in that order: so the generations on disk never have a gap,
//! and a frame that voids others (close, open, trim, relocation) outlives all that it voids.
//!
//! Each part of this has its own module; [`SegmentTable`] puts them together and decides nothing by itself but when a segment may be freed.

mod admission;
mod bases;
mod in_use;
mod location;
mod places;
mod relocation;

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
use crate::log::Frontiers;
pub use admission::{Admission, Purpose, RESERVE, SEGMENTS_MIN};
pub use bases::{GroupRange, ReplayBase, ReplayRange};
pub use in_use::{OldestSegment, SegmentTableConfig, StartedSegment};
pub use location::{Located, LocatedExtents, Location, SegmentContent, Stretch};
pub use relocation::{BatchMove, MovedBatches, RelocationPlan};

use admission::Capacity;
use in_use::SegmentsInUse;
use location::Locations;
use places::PartitionPlaces;

/// See the module. Every frame is recorded when it is staged, in order; [`SegmentTable::on_durable`] follows the syncs. Trims and moves change where
/// batches are only when the shard says so, once they are durable: [`SegmentTable::apply_trim`] and [`SegmentTable::apply_move`].
#[cfg_attr(test, derive(Clone))]
#[derive(Debug)]
pub struct SegmentTable {
    segments: SegmentsInUse,
    slots: Slots,
    places: PartitionPlaces,
    /// The group of the last frame that can free something: all but plain batches.
    voided: WalPosition,
}

impl SegmentTable {
    /// The table of a recovered WAL, an empty one included. Call [`SegmentTable::restore_log_start`] for each partition next.
    #[must_use]
    pub fn new(config: SegmentTableConfig, recovered: &RecoveredWal) -> Self {
        assert!(config.segments_max >= SEGMENTS_MIN, "the configuration gives a WAL its least number of segments");
        let mut places = PartitionPlaces::new(recovered.partitions.keys().copied());
        for segment in &recovered.segments {
            places.take_up(segment.generation, &segment.index);
        }
        for (id, items) in &recovered.partitions {
            if let Some(ReplayItem { group, event }) = items.first() {
                let bytes = if let ReplayEvent::Checkpoint(bytes) = event { bytes.len() } else { 0 };
                places.restore_base(*id, *group, bytes);
            }
        }
        Self {
            segments: SegmentsInUse::new(config, recovered),
            slots: Slots::recovered(recovered, RESERVE),
            places,
            voided: WalPosition::default(),
        }
    }

    /// The log start that replay gave: what lies below is not live.
    pub fn restore_log_start(&mut self, partition: TopicIdPartition, log_start: Offset) {
        self.places.restore_log_start(partition, log_start);
    }

    /// What replay began with: the group of the newest base, and where the log ended then.
    pub fn restore_base_end(&mut self, partition: TopicIdPartition, end: Offset) {
        self.places.restore_base_end(partition, end);
    }

    const fn capacity(&self) -> Capacity<'_> {
        Capacity { segments: &self.segments, slots: &self.slots }
    }

    const fn locations(&self) -> Locations<'_> {
        Locations { segments: &self.segments, places: &self.places }
    }

    // Slots.

    /// A slot whose file is to be made, if need be, and its whole length to be held on disk; all of it synced, the name too.
    pub fn poll_reserve(&mut self) -> Option<SlotId> {
        let count_max = self.capacity().spare_slots_max();
        self.slots.poll_reserve(count_max)
    }

    /// A reserved slot to fill with zeros, and sync, before it is needed. Without that it serves as well: the syncs in it are slower. The
    /// first segment of a WAL is waited for, so its slot is not filled.
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

    /// What was asked for failed, for want of space as a rule. The slot's file may be gone. [`SegmentTable::poll_reserve`] asks for it again;
    /// the caller waits before it asks. Until one succeeds, the WAL has no more slots than it holds.
    pub fn on_slot_failed(&mut self, slot: SlotId) {
        self.slots.on_failed(slot);
    }

    // Writing.

    /// Where the next group stands; `None` when a segment must be started first.
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

    /// Whether a group that is `group_size` bytes long with one more frame in it ([`super::GroupWriter::size_with`]) has its place.
    #[must_use]
    pub fn admit(&self, group_size: usize, purpose: Purpose) -> Admission {
        self.capacity().admit(group_size, purpose)
    }

    /// Whether a proof group has its place in the active segment. One that has not is left out: the next segment's first group proves
    /// as much. The first of a session needs no asking: [`super::recovery::GoOn::InSegment`] has room for it.
    #[must_use]
    pub fn admits_proof(&self) -> bool {
        self.capacity().admits_proof()
    }

    /// Segments that can still be started.
    #[must_use]
    pub fn segments_left(&self) -> u32 {
        self.capacity().segments_left()
    }

    /// Only what frees space has room once the active segment is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.capacity().is_full()
    }

    /// The next group stands at `end`: a group was finished.
    pub fn advance(&mut self, end: WalPosition) {
        self.segments.advance(end);
    }

    /// The payload of the active segment's index frame, to be written as a group of its own ([`super::GroupKind::Index`]) at
    /// [`SegmentTable::next_position`]. `None` if there is no active segment or no room: then nothing is written, and recovery scans the segment.
    #[must_use]
    pub fn index_payload(&self) -> Option<Vec<u8>> {
        self.segments.index_payload()
    }

    /// The active segment takes no more groups. With the index group that was written, answers the trailer to write into the last
    /// block. All of it is synced before the next segment receives a group.
    pub fn seal(&mut self, index_group: Option<FinishedGroup>) -> Option<Trailer> {
        self.segments.seal(index_group)
    }

    /// Starts the next segment in a ready slot. `None` if there is none, or if the active one is not sealed.
    pub fn start_segment(&mut self) -> Option<StartedSegment> {
        if self.next_position().is_some() {
            return None;
        }
        self.slots.take().map(|slot| self.segments.start(slot))
    }

    /// The next partition, in their order, to checkpoint at the head of a new segment: one that has changed since its last checkpoint.
    #[must_use]
    pub fn checkpoint_due_after(&self, last: Option<TopicIdPartition>) -> Option<TopicIdPartition> {
        self.places.checkpoint_due_after(last)
    }

    // Frames, as they are staged.

    pub fn record_batch(&mut self, id: TopicIdPartition, group: WalPosition, header: &BatchHeader) {
        self.segments.record(id, group, |index| index.record_batch(id, group.offset, header, false));
        self.places.record_batch(id, Span::of_batch(group.generation, header));
    }

    /// A relocated batch. Answers its new place, where it is found once that is applied.
    pub fn record_relocated(&mut self, id: TopicIdPartition, group: WalPosition, header: &BatchHeader) -> MovedBatches {
        self.voided = group;
        // It does not grow younger by moving.
        let held = self.places.of(id).and_then(|places| places.spans().find(header.base_offset));
        let header = &retention::dated(header, held.map_or(Timestamp::NONE, |span| span.max_timestamp));
        self.segments.record(id, group, |index| index.record_batch(id, group.offset, header, true));
        MovedBatches { to: Span::of_batch(group.generation, header), group }
    }

    /// What stands for damaged batches: they are answered for from there once that is applied, and are in their segment no more.
    pub fn record_damaged(&mut self, id: TopicIdPartition, group: WalPosition, range: &DamagedRange) -> MovedBatches {
        self.voided = group;
        self.segments.record(id, group, |index| index.record_damaged(id, group.offset, range));
        MovedBatches { to: Span::of_damaged(group.generation, range), group }
    }

    pub fn record_control(&mut self, id: TopicIdPartition, group: WalPosition, control: &Control) {
        self.voided = group;
        self.segments.record(id, group, |index| index.record_control(id, group, control));
        self.places.record_control(id, group, control);
    }

    /// A piece of a checkpoint with so many bytes of it. `frontiers` are those of the log that the checkpoint holds. Up to the last one the partition's older base counts.
    pub fn record_checkpoint(
        &mut self,
        id: TopicIdPartition,
        group: WalPosition,
        piece: &CheckpointPiece,
        bytes: usize,
        frontiers: &Frontiers,
    ) {
        if piece.is_last() {
            self.voided = group;
        }
        self.segments.record(id, group, |index| index.record_checkpoint(id, group, piece));
        let oldest = self.segments.generations().next().unwrap_or(group.generation);
        self.places.record_checkpoint(id, group, piece, bytes, frontiers, oldest);
    }

    // Durability.

    /// Everything before `end` is synced.
    pub fn on_synced(&mut self, end: WalPosition) {
        self.segments.on_synced(end);
        self.on_durable(end);
    }

    /// Everything before `end` counts as durable: it is synced, or written and not to be synced.
    pub fn on_durable(&mut self, end: WalPosition) {
        self.segments.on_durable(end);
    }

    /// What was moved, or what stands for it, is there from now on: it is durable, and the partition's log is what it was when it was staged.
    pub fn apply_move(&mut self, id: TopicIdPartition, moved: MovedBatches) {
        self.places.apply_move(id, moved.to);
    }

    /// The log starts there from now on: that is durable. One below an earlier one changes nothing.
    pub fn apply_trim(&mut self, id: TopicIdPartition, log_start: Offset) {
        self.places.apply_trim(id, log_start);
    }

    #[must_use]
    pub const fn durable(&self) -> WalPosition {
        self.segments.durable()
    }

    /// What a group that is finished now may say is durable: what is synced, and the segment before its own to its end, since that
    /// one is synced before the group is written, though perhaps not yet now. So a segment's first group always names the end of
    /// the one before it, also when one commit goes over both.
    #[must_use]
    pub fn provable(&self) -> WalPosition {
        self.segments.provable()
    }

    // Freeing.

    /// Frees the oldest segment if nothing needs it, and readies its slot. Ask again while it frees one. A log whose high watermark lies below its
    /// newest checkpoint may be cut back to before that, and keeps an older one for it. Not in a full WAL: whoever cuts such a log finds no base, and
    /// resets it.
    pub fn poll_free(&mut self, high_watermark: impl Fn(TopicIdPartition) -> Offset) -> OldestSegment {
        // What voids a segment's content may have been staged, but not synced. The last such frame stands for all.
        if self.durable() <= self.voided {
            return OldestSegment::Needed;
        }
        let is_full = self.is_full();
        let cuts = |id| (!is_full).then(|| high_watermark(id));
        let oldest = self.segments.free_oldest(|id, generation| self.places.needs(id, generation, cuts(id)));
        if let OldestSegment::Freed(slot) = oldest {
            self.slots.give_back(slot);
        }
        oldest
    }

    /// The segments in use, as readers find and hold them.
    #[must_use]
    pub const fn shared(&self) -> &SharedSegments {
        self.segments.shared()
    }

    /// What to write so that the oldest segment can be freed, when half of the WAL is in use, or new data is refused, and it pays: what would be written, batches
    /// and checkpoints, is at most half of what is dead in the WAL and waits behind it; at most all of it once new data is refused. None while the segment is not durable. A plan that turns out not
    /// to fit may be left halfway: what has moved stays moved. It holds what was moved and is not applied yet, too: whoever moves asks again only then.
    #[must_use]
    pub fn relocation(&self) -> Option<RelocationPlan> {
        relocation::plan(self.capacity(), &self.places)
    }

    /// What stands for the live batches from `from` on below `until`, which cannot be read, as far as that segment holds them still.
    #[must_use]
    pub fn damaged_range(
        &self,
        id: TopicIdPartition,
        generation: SegmentGeneration,
        from: Offset,
        until: Offset,
    ) -> Option<DamagedRange> {
        self.places.of(id)?.damaged_range(generation, from, until)
    }

    /// From where a partition's log is replayed up to an offset: all that is durable of it. What lies in the segments does not change while they are held.
    #[must_use]
    pub fn replay_range(&self, id: TopicIdPartition, until: Offset) -> ReplayRange {
        let places = self.places.of(id);
        places
            .map_or_else(ReplayRange::default, |places| bases::replay_range(id, until, places.bases(), &self.segments))
    }

    // Looking up.

    /// Bytes of the partition's batches from `log_start` on, those that are not durable yet included: exact by group where the index is
    /// in memory, else an estimate for the segment that the log start lies in.
    #[must_use]
    pub fn bytes_from(&self, id: TopicIdPartition, log_start: Offset) -> u64 {
        self.locations().bytes_from(id, log_start)
    }

    /// Bytes of the batches of [`Self::parts`], by segment: an estimate where a truncation went through one.
    #[must_use]
    pub fn bytes(&self, id: TopicIdPartition) -> u64 {
        self.places.spans(id).map(|span| span.bytes).sum()
    }

    /// How many segments are in use.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.count()
    }

    /// Segments in use, oldest first.
    pub fn generations(&self) -> impl Iterator<Item = SegmentGeneration> {
        self.segments.generations()
    }

    /// Where to read for `range.from`; where that is a gap, for the first offset after it. `None` at the log's end.
    #[must_use]
    pub fn locate(&self, id: TopicIdPartition, range: ReadRange) -> Option<Located> {
        self.locations().locate(id, range)
    }

    /// What readers are shown of where the partition's batches are, if none is in memory.
    #[must_use]
    pub fn location_map(&self, id: TopicIdPartition) -> LocationMap {
        self.locations().map(id)
    }

    /// The live parts of a partition, oldest first, for retention: by group where the index is in memory, else by segment.
    pub fn parts(&self, id: TopicIdPartition) -> impl Iterator<Item = Part> {
        self.locations().parts(id)
    }

    /// Offsets from the log start on that readers are refused, since their batches are damaged.
    pub fn damaged(&self, id: TopicIdPartition, log_start: Offset) -> impl Iterator<Item = (Offset, Offset)> {
        self.locations().damaged(id, log_start)
    }

    /// Offsets of a partition's log that no live batch holds: what damage took.
    #[must_use]
    pub fn gaps(&self, id: TopicIdPartition, log: Range<Offset>) -> Vec<(Offset, Offset)> {
        self.locations().gaps(id, log)
    }

    /// Panics where the table contradicts itself.
    pub fn check_invariants(&self) {
        self.segments.check_invariants();
        self.places.check_invariants(|generation| self.segments.segment(generation).is_some());
    }
}
