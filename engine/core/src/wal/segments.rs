//! Which segment is written, which is next, which is free, what must move so that one becomes free, and where an offset is.
//! The shard records every frame that it lays, reports what is durable, and executes what is asked for.
//!
//! ```text
//! slot:  held ([`super::slots`]) --start_segment--> active --sealed--> full --poll_free--> held
//! ```
//! Segments are freed oldest first, and freed slots are used again in that order: so the generations on disk never have a gap,
//! and a frame that voids others (close, open, trim, relocation) outlives all that it voids.

mod relocation;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::{Bound, Range};

use rustmq_model::batch::BatchHeader;
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

use super::extents::{Extent, ReadRange};
use super::frame::{self, Control, DamagedRange};
use super::group;
use super::group_writer::FinishedGroup;
use super::index::{SegmentIndex, Trailer};
use super::position::{Generation, Run, SegmentShape, SlotId, WalId, WalPosition};
use super::recovery::{GoOn, RecoveredWal};
use super::retention::{self, Part};
use super::segment_header::SegmentHeader;
use super::slots::Slots;
use super::spans::{Span, Spans};
pub use relocation::{BatchMove, RelocationPlan};

/// Slots that new data leaves: one for trims and closes, the others for restarts and for what frees segments by itself. They are held on disk
/// before new data gets another.
pub const RESERVE: u32 = 4;
/// Slots that trims and closes leave.
const FREEING_RESERVE: u32 = 3;
/// Fewer could not roll, keep the reserve, and free one.
pub const SEGMENTS_MIN: u32 = RESERVE + 2;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentTableConfig {
    pub wal: WalId,
    pub shape: SegmentShape,
    /// The WAL's capacity in segments; at least [`SEGMENTS_MIN`].
    pub segments_max: u32,
}

/// Who asks for room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// New data, or anything that does not free space.
    Append,
    /// Trims and closes.
    Freeing,
    /// Checkpoints and relocated batches: they end with a free segment, and are never refused. A plan copies the batches of one segment at
    /// most, so a WAL without a segment left goes one above its capacity, and comes back: more only if the checkpoints that a plan asks for
    /// take more than a segment.
    Cleaning,
}

/// The answer to a frame that wants room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// It fits in the active segment.
    Fits,
    /// Seal the active segment, if any, and start the next one first.
    Roll,
    /// As `Roll`, once a slot is held for it: one is on its way, unless the disk is full.
    AwaitSlot,
    /// The WAL is at its capacity, or the disk has no room for another slot.
    Full,
}

/// A segment to start: write and sync `header` over block 0 of `slot` before the first group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartedSegment {
    pub slot: SlotId,
    pub header: SegmentHeader,
}

/// What a look-up finds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Located {
    Batches(Location),
    /// Nothing is left of these batches: whoever asks for them is told.
    Damaged(DamagedRange),
}

/// Where to read for an offset: one segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    pub slot: SlotId,
    pub generation: Generation,
    pub shape: SegmentShape,
    /// Where the segment's durable content ends. What lies below never changes while the segment is in use.
    pub end: u32,
    /// The segment holds a batch with this offset: what was asked for, or what comes after the gap that it lies in.
    pub from: Offset,
    /// Batches at or above this must not be served from there: newer ones are elsewhere.
    pub until: Offset,
    /// What comes after is in another segment, if there is any.
    pub segment_until: Offset,
    pub extents: LocatedExtents,
    /// Where to read on from the last of the known extents ([`super::extents::Extents::runs_from`]).
    pub runs: Vec<Range<u32>>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LocatedExtents {
    /// In the order of offsets, at most [`super::extents::EXTENTS_MAX`].
    Known(Vec<Extent>),
    /// The segment's index must be read from its place first ([`super::recovery::read_index`]): it has them.
    Indexed(Trailer),
}

#[derive(Clone, Debug)]
struct Segment {
    slot: SlotId,
    shape: SegmentShape,
    /// Every partition with a frame in it; of the oldest segment, those that may still need it.
    members: BTreeSet<TopicIdPartition>,
    /// In memory until the sealed segment is synced, and for good if it is not on disk.
    index: Option<SegmentIndex>,
    trailer: Option<Trailer>,
    end: u32,
    holds: u32,
}

#[derive(Clone, Debug, Default)]
struct Places {
    spans: Spans,
    /// As laid: what lies below is dead, but stays readable until the trim is durable.
    log_start: Offset,
    /// As far as it is durable: of what lies wholly below there are no spans.
    trimmed: Offset,
    /// The newest checkpoint or open frame's group.
    base: WalPosition,
    /// Frames follow the base.
    changed: bool,
}

impl Places {
    fn trim(&mut self, log_start: Offset) {
        self.trimmed = log_start;
        self.spans.trim(log_start);
    }

    /// A batch has moved, or what stands for it. One below the log start may have, out of a span that reaches over it: then it ends here.
    fn relocate(&mut self, span: Span) {
        self.spans.relocate(span);
        self.spans.trim(self.trimmed);
    }

    /// What is left of a span that reached over the log start may lie wholly below it.
    fn truncate(&mut self, end: Offset) {
        self.spans.truncate(end);
        self.spans.trim(self.trimmed);
    }

    /// What no trim, a laid one included, has cut off.
    fn live(&self) -> impl Iterator<Item = &Span> {
        self.spans.iter().filter(|span| span.end > self.log_start)
    }

    /// Bytes of them, without what lies below the log start in a span that reaches over it.
    fn live_bytes(&self) -> u64 {
        self.live().map(|span| span.bytes_from(self.log_start)).sum()
    }
}

/// A frame that changes where a partition's batches are once it is durable: until then, readers go by what was.
#[derive(Clone, Copy, Debug)]
struct Pending {
    partition: TopicIdPartition,
    group: WalPosition,
    change: Change,
}

#[derive(Clone, Copy, Debug)]
enum Change {
    Move(Span),
    Trim(Offset),
}

/// See the module. Every frame is recorded when it is laid, in order; [`SegmentTable::on_durable`] follows the syncs.
#[derive(Clone, Debug)]
pub struct SegmentTable {
    config: SegmentTableConfig,
    run: Run,
    segments: BTreeMap<Generation, Segment>,
    partitions: BTreeMap<TopicIdPartition, Places>,
    /// Where the next group stands; none before the first segment and after a seal.
    next: Option<WalPosition>,
    newest: Generation,
    durable: WalPosition,
    /// What a sync has covered: `durable`, unless commits are not synced.
    synced: WalPosition,
    /// The group of the last frame that can free something: all but plain batches.
    voided: WalPosition,
    slots: Slots,
    /// In the order of the log.
    pending: VecDeque<Pending>,
}

impl SegmentTable {
    /// The table of a recovered WAL, an empty one included. Call [`SegmentTable::restore_log_start`] for each partition next.
    #[must_use]
    pub fn new(config: SegmentTableConfig, recovered: &RecoveredWal) -> Self {
        assert!(config.segments_max >= SEGMENTS_MIN, "the configuration gives a WAL its least number of segments");
        let known = recovered.segments.iter().map(|segment| segment.slot);
        let known = known.chain(recovered.free_slots.iter().copied()).chain(recovered.started_empty.iter().copied());
        let next = known.map(|slot| slot.0.saturating_add(1)).max().unwrap_or(0);
        let (first, unprepared) = (recovered.started_empty.iter().copied(), recovered.free_slots.iter().copied());
        let slots = Slots::new(first.collect(), unprepared.collect(), next, RESERVE);
        let mut table = Self {
            config,
            run: recovered.run,
            segments: BTreeMap::new(),
            partitions: recovered.partitions.keys().map(|id| (*id, Places::default())).collect(),
            next: None,
            newest: recovered.segments.last().map_or(Generation(0), |segment| segment.generation),
            durable: recovered.durable,
            synced: recovered.durable,
            voided: WalPosition::default(),
            slots,
            pending: VecDeque::new(),
        };
        for segment in &recovered.segments {
            table.take_up(segment.generation, &segment.index);
            let members = segment.index.entries().keys().copied().collect();
            let active = matches!(recovered.go_on, GoOn::InSegment(at) if at.generation == segment.generation);
            let index = (active || segment.trailer.is_none()).then(|| segment.index.clone());
            let (slot, shape, trailer, end) = (segment.slot, segment.shape, segment.trailer, segment.end);
            table.segments.insert(segment.generation, Segment { slot, shape, members, index, trailer, end, holds: 0 });
        }
        if let GoOn::InSegment(at) = recovered.go_on {
            table.next = Some(at);
        }
        table
    }

    fn take_up(&mut self, generation: Generation, index: &SegmentIndex) {
        for (id, entry) in index.entries() {
            let Some(places) = self.partitions.get_mut(id) else { continue };
            if entry.voids_earlier {
                places.spans.clear();
            }
            if let Some(end) = entry.truncated_to {
                places.spans.truncate(end);
            }
            for extent in entry.extents.iter() {
                let Extent { bytes, first, end, max_timestamp, is_damaged, .. } = *extent;
                let bytes = u64::from(bytes);
                places.spans.insert(Span { first, end, generation, bytes, max_timestamp, is_damaged });
            }
            if entry.base_group != 0 {
                places.base = WalPosition { generation, offset: entry.base_group };
                // Frames of the base's own group may follow it: one checkpoint too many does no harm.
                places.changed = true;
            } else if entry.last_group != 0 {
                places.changed = true;
            }
        }
    }

    /// The log start that replay gave: what lies below is not live.
    pub fn restore_log_start(&mut self, partition: TopicIdPartition, log_start: Offset) {
        if let Some(places) = self.partitions.get_mut(&partition) {
            places.log_start = log_start;
            places.trim(log_start);
        }
    }

    // Slots.

    /// A slot whose file is to be made, if need be, and its whole length to be held on disk; all of it synced, the name too.
    pub fn poll_reserve(&mut self) -> Option<SlotId> {
        self.slots.poll_reserve(self.slots_max() - self.segments.len())
    }

    /// A reserved slot to fill with zeros, and sync, before it is needed. Without that it serves as well: the syncs in it are slower. The
    /// first segment of a WAL is waited for, so its slot is not filled.
    pub fn poll_fill(&mut self) -> Option<SlotId> {
        if self.segments.is_empty() { None } else { self.slots.poll_fill() }
    }

    /// The capacity; and always one more than there are in use, for cleaning and restarts: without it nothing could ever be freed once
    /// restarts, each of which writes a proof, have used up a full WAL's reserve. Free first what can be freed, or a restart, at which freed
    /// segments come back, makes a slot for nothing.
    fn slots_max(&self) -> usize {
        (self.config.segments_max as usize).max(self.segments.len() + 1)
    }

    /// Whether new data can start a segment without waiting for a slot.
    #[must_use]
    pub fn is_slot_ready(&self) -> bool {
        self.slots.is_any_startable() && self.slots_held() > RESERVE
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

    fn slots_held(&self) -> u32 {
        u32::try_from(self.slots.held()).unwrap_or(u32::MAX)
    }

    // Writing.

    /// Where the next group stands; `None` when a segment must be started first.
    #[must_use]
    pub const fn next_position(&self) -> Option<WalPosition> {
        self.next
    }

    #[cfg(test)]
    pub(crate) const fn set_run(&mut self, run: Run) {
        self.run = run;
    }

    #[must_use]
    pub const fn run(&self) -> Run {
        self.run
    }

    #[must_use]
    pub const fn shape(&self) -> SegmentShape {
        self.config.shape
    }

    /// The slot of a segment in use.
    #[must_use]
    pub fn slot(&self, generation: Generation) -> Option<SlotId> {
        self.segments.get(&generation).map(|segment| segment.slot)
    }

    /// Whether a group that is `group_size` bytes long with one more frame in it ([`super::GroupWriter::size_with`]) has its place.
    #[must_use]
    pub fn admit(&self, group_size: usize, purpose: Purpose) -> Admission {
        let left = self.segments_left();
        let (kept_back, full) = match purpose {
            // What was started out of the reserve is not for new data either.
            Purpose::Append => (RESERVE, left < RESERVE),
            Purpose::Freeing => (FREEING_RESERVE, false),
            Purpose::Cleaning => (0, false),
        };
        if !full && self.fits(group_size) {
            return Admission::Fits;
        }
        if full || purpose != Purpose::Cleaning && left <= kept_back {
            return Admission::Full;
        }
        let held = self.slots.is_any_startable() && self.slots_held() > kept_back;
        if held { Admission::Roll } else { Admission::AwaitSlot }
    }

    /// Whether a proof group has its place in the active segment. One that has not is left out: the next segment's first group proves
    /// as much. The first of a run needs no asking: [`GoOn::InSegment`] has room for it.
    #[must_use]
    pub fn admits_proof(&self) -> bool {
        let (Some(next), Some(segment)) = (self.next, self.segments.get(&self.newest)) else { return false };
        let index = segment.index.as_ref().map_or(0, SegmentIndex::encoded_length);
        let needed = self.config.shape.block_size() as usize + index_group_size(self.config.shape, index);
        next.offset as usize + needed <= self.config.shape.trailer() as usize
    }

    fn fits(&self, group_size: usize) -> bool {
        let (Some(next), Some(segment)) = (self.next, self.segments.get(&self.newest)) else { return false };
        let index = segment.index.as_ref().map_or(0, SegmentIndex::encoded_length) + SegmentIndex::GROWTH_PER_FRAME;
        let index = index_group_size(self.config.shape, index);
        // Two blocks for proofs: one when idle, one of a restart.
        let proofs = 2 * self.config.shape.block_size() as usize;
        next.offset as usize + group_size + index + proofs <= self.config.shape.trailer() as usize
    }

    /// Segments that can still be started.
    #[must_use]
    pub fn segments_left(&self) -> u32 {
        let left = self.config.segments_max.saturating_sub(self.segments_used());
        if self.slots.is_failing() { left.min(self.slots_held()) } else { left }
    }

    fn segments_used(&self) -> u32 {
        u32::try_from(self.segments.len()).unwrap_or(u32::MAX)
    }

    /// Only what frees space has room once the active segment is full.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.segments_left() <= RESERVE
    }

    /// The next group stands at `end`: a group was finished.
    pub fn advance(&mut self, end: WalPosition) {
        assert!(
            self.next.is_some_and(|next| next.generation == end.generation && next < end),
            "groups follow each other"
        );
        self.next = Some(end);
        if let Some(segment) = self.segments.get_mut(&end.generation) {
            segment.end = end.offset;
        }
    }

    /// The payload of the active segment's index frame, to be written as a group of its own ([`super::GroupKind::Index`]) at
    /// [`SegmentTable::next_position`]. `None` if there is no active segment or no room: then nothing is written, and recovery scans the segment.
    #[must_use]
    pub fn index_payload(&self) -> Option<Vec<u8>> {
        let index = self.segments.get(&self.newest)?.index.as_ref()?;
        let size = index_group_size(self.config.shape, index.encoded_length());
        (self.next?.offset as usize + size <= self.config.shape.trailer() as usize).then(|| index.encode())
    }

    /// The active segment takes no more groups. With the index group that was written, answers the trailer to write into the last
    /// block. All of it is synced before the next segment receives a group.
    pub fn seal(&mut self, index_group: Option<FinishedGroup>) -> Option<Trailer> {
        self.next = None;
        let segment = self.segments.get_mut(&self.newest)?;
        let group = index_group?;
        segment.end = group.end().offset;
        let (generation, run) = (self.newest, self.run);
        let trailer = Trailer { generation, run, index_group: group.position.offset, end: segment.end };
        segment.trailer = Some(trailer);
        Some(trailer)
    }

    /// Starts the next segment in a ready slot. `None` if there is none, or if the active one is not sealed.
    pub fn start_segment(&mut self) -> Option<StartedSegment> {
        if self.next.is_some() {
            return None;
        }
        let slot = self.slots.take()?;
        let (wal, shape, run) = (self.config.wal, self.config.shape, self.run);
        let before = u32::try_from(self.segments.len()).expect("a WAL has fewer segments than a u32 counts");
        self.newest = self.newest.next();
        let header = SegmentHeader { wal, generation: self.newest, run, shape, before };
        let (members, index, end) = (BTreeSet::new(), Some(SegmentIndex::default()), shape.first_group());
        self.segments.insert(self.newest, Segment { slot, shape, members, index, trailer: None, end, holds: 0 });
        self.next = Some(WalPosition { generation: self.newest, offset: end });
        Some(StartedSegment { slot, header })
    }

    /// The next partition, in their order, to checkpoint at the head of a new segment: one that has changed since its last checkpoint.
    #[must_use]
    pub fn checkpoint_due_after(&self, last: Option<TopicIdPartition>) -> Option<TopicIdPartition> {
        let from = last.map_or(Bound::Unbounded, Bound::Excluded);
        let mut rest = self.partitions.range((from, Bound::Unbounded));
        rest.find(|(_, places)| places.changed).map(|(id, _)| *id)
    }

    // Frames, as they are laid.

    pub fn record_batch(&mut self, id: TopicIdPartition, group: WalPosition, header: &BatchHeader) {
        self.record(id, group, |index| index.record_batch(id, group.offset, header, false));
        let places = self.partitions.entry(id).or_default();
        places.spans.insert(span_of(group.generation, header));
        places.changed = true;
    }

    /// A relocated batch: it is found at its new place once that is durable.
    pub fn record_relocated(&mut self, id: TopicIdPartition, group: WalPosition, header: &BatchHeader) {
        self.voided = group;
        // It does not grow younger by moving.
        let held = self.partitions.get(&id).and_then(|places| places.spans.find(header.base_offset));
        let header = &retention::dated(header, held.map_or(Timestamp::NONE, |span| span.max_timestamp));
        self.record(id, group, |index| index.record_batch(id, group.offset, header, true));
        let change = Change::Move(span_of(group.generation, header));
        self.pending.push_back(Pending { partition: id, group, change });
    }

    /// What stands for damaged batches: they are answered for from here once that is durable, and are in their segment no more.
    pub fn record_damaged(&mut self, id: TopicIdPartition, group: WalPosition, range: &DamagedRange) {
        self.voided = group;
        self.record(id, group, |index| index.record_damaged(id, group.offset, range));
        let DamagedRange { first, end, max_timestamp } = *range;
        let span = Span { first, end, generation: group.generation, bytes: 0, max_timestamp, is_damaged: true };
        self.pending.push_back(Pending { partition: id, group, change: Change::Move(span) });
    }

    pub fn record_control(&mut self, id: TopicIdPartition, group: WalPosition, control: &Control) {
        self.voided = group;
        self.record(id, group, |index| index.record_control(id, group.offset, control));
        if matches!(control, Control::Close) {
            self.partitions.remove(&id);
            self.pending.retain(|pending| pending.partition != id);
            return;
        }
        let places = self.partitions.entry(id).or_default();
        places.changed = true;
        match control {
            Control::Open { .. } => *places = Places { base: group, ..Places::default() },
            Control::Truncate { end } => places.truncate(*end),
            Control::Trim { log_start } => {
                places.log_start = *log_start;
                self.pending.push_back(Pending { partition: id, group, change: Change::Trim(*log_start) });
            }
            Control::EpochStart { .. } | Control::Expiry { .. } | Control::Close => {}
        }
    }

    pub fn record_checkpoint(&mut self, id: TopicIdPartition, group: WalPosition) {
        self.voided = group;
        self.record(id, group, |index| index.record_checkpoint(id, group.offset));
        let places = self.partitions.entry(id).or_default();
        places.base = group;
        places.changed = false;
    }

    fn record(&mut self, id: TopicIdPartition, group: WalPosition, write: impl FnOnce(&mut SegmentIndex)) {
        let segment = self.segments.get_mut(&group.generation).expect("frames are laid into the active segment");
        segment.members.insert(id);
        write(segment.index.as_mut().expect("the active segment's index is in memory"));
    }

    /// Everything before `end` is synced.
    pub fn on_synced(&mut self, end: WalPosition) {
        self.synced = self.synced.max(end);
        self.on_durable(end);
    }

    /// Everything before `end` counts as durable: it is synced, or written and not to be synced.
    pub fn on_durable(&mut self, end: WalPosition) {
        self.durable = self.durable.max(end);
        self.drop_synced_indexes();
        while let Some(Pending { partition, change, .. }) = self.pending.pop_front_if(|pending| pending.group < end) {
            let Some(places) = self.partitions.get_mut(&partition) else { continue };
            match change {
                Change::Move(span) => places.relocate(span),
                Change::Trim(log_start) => places.trim(log_start),
            }
        }
    }

    /// From here on the indexes of these segments are read from the disk.
    fn drop_synced_indexes(&mut self) {
        let durable = self.durable;
        let sealed = self.segments.iter_mut().rev().filter(|(_, segment)| segment.trailer.is_some());
        for (generation, segment) in sealed.take_while(|(_, segment)| segment.index.is_some()) {
            if (WalPosition { generation: *generation, offset: segment.end }) <= durable {
                segment.index = None;
            }
        }
    }

    #[must_use]
    pub const fn durable(&self) -> WalPosition {
        self.durable
    }

    /// What a group that is finished now may say is durable: what is synced, and the segment before its own to its end, since that
    /// one is synced before the group is written, though perhaps not yet now. So a segment's first group always names the end of
    /// the one before it, also when one commit goes over both.
    #[must_use]
    pub fn provable(&self) -> WalPosition {
        let before = self.segments.range(..self.newest).next_back();
        let end = before.map(|(generation, segment)| WalPosition { generation: *generation, offset: segment.end });
        self.synced.max(end.unwrap_or_default())
    }

    // Freeing.

    /// Frees the oldest segment if nothing needs it, and readies its slot. Ask again until it answers `None`.
    pub fn poll_free(&mut self) -> Option<(SlotId, Generation)> {
        // What voids a segment's content may have been laid, but not synced. The last such frame stands for all.
        if self.durable <= self.voided {
            return None;
        }
        let mut oldest = self.segments.first_entry()?;
        let generation = *oldest.key();
        if generation == self.newest || oldest.get().holds > 0 {
            return None;
        }
        let needs = |id: &TopicIdPartition| {
            self.partitions.get(id).is_some_and(|places| {
                places.base.generation <= generation || places.spans.in_segment(generation).next().is_some()
            })
        };
        // Who does not need the segment now never will again, since whatever a partition adds is in newer ones. So each member is looked at
        // once, and the one that still needs it at every call.
        let members = &mut oldest.get_mut().members;
        while let Some(member) = members.first() {
            if needs(member) {
                return None;
            }
            members.pop_first();
        }
        let segment = oldest.remove();
        self.slots.give_back(segment.slot);
        Some((segment.slot, generation))
    }

    /// A reader uses the segment: it is not freed before as many calls of [`SegmentTable::release`].
    pub fn hold(&mut self, generation: Generation) {
        if let Some(segment) = self.segments.get_mut(&generation) {
            segment.holds += 1;
        }
    }

    pub fn release(&mut self, generation: Generation) {
        if let Some(segment) = self.segments.get_mut(&generation) {
            segment.holds = segment.holds.saturating_sub(1);
        }
    }

    // Looking up.

    /// Bytes of the partition's batches from `log_start` on, those that are not durable yet included: exact by group where the index is
    /// in memory, else an estimate for the segment that the log start lies in.
    #[must_use]
    pub fn bytes_from(&self, id: TopicIdPartition, log_start: Offset) -> u64 {
        let Some(places) = self.partitions.get(&id) else { return 0 };
        let bytes = |span: &Span| {
            let index = self.segments.get(&span.generation).and_then(|segment| segment.index.as_ref());
            let Some(entry) = index.and_then(|index| index.entry(id)) else { return span.bytes_from(log_start) };
            let live = entry.extents.between(span.first.max(log_start), span.end);
            live.map(|extent| u64::from(extent.bytes)).sum()
        };
        places.spans.iter().filter(|span| span.end > log_start).map(bytes).sum()
    }

    /// Bytes of the batches of [`Self::parts`], by segment: an estimate where a truncation went through one.
    #[must_use]
    pub fn bytes(&self, id: TopicIdPartition) -> u64 {
        self.partitions.get(&id).map_or(0, |places| places.spans.iter().map(|span| span.bytes).sum())
    }

    /// How many segments are in use.
    #[must_use]
    pub fn segment_count(&self) -> usize {
        self.segments.len()
    }

    /// Segments in use, oldest first.
    pub fn generations(&self) -> impl Iterator<Item = Generation> {
        self.segments.keys().copied()
    }

    /// Where to read for `range.from`; where that is a gap, for the first offset after it. `None` at the log's end.
    #[must_use]
    pub fn locate(&self, id: TopicIdPartition, range: ReadRange) -> Option<Located> {
        let span = self.partitions.get(&id)?.spans.find(range.from)?;
        let from = range.from.max(span.first);
        if span.is_damaged {
            return Some(Located::Damaged(span.damaged_from(from)));
        }
        let segment = self.segments.get(&span.generation)?;
        let (slot, generation, shape) = (segment.slot, span.generation, segment.shape);
        let end = if generation < self.durable.generation { segment.end } else { self.durable.offset };
        let mut until = span.end.min(range.until);
        let (extents, runs) = match (&segment.index, segment.trailer) {
            (Some(index), _) => {
                let inside = ReadRange { from, until, bytes: range.bytes };
                let entry = index.entry(id)?;
                let extents = entry.extents.wanted(inside);
                let last = extents.last()?;
                let runs = entry.extents.runs_from(last, until);
                until = until.min(last.end);
                (LocatedExtents::Known(extents), runs)
            }
            (None, Some(trailer)) => (LocatedExtents::Indexed(trailer), Vec::new()),
            (None, None) => return None,
        };
        let segment_until = span.end;
        Some(Located::Batches(Location { slot, generation, shape, end, from, until, segment_until, extents, runs }))
    }

    /// The live parts of a partition, oldest first, for retention: by group where the index is in memory, else by segment.
    pub fn parts(&self, id: TopicIdPartition) -> impl Iterator<Item = Part> {
        let spans = self.partitions.get(&id).into_iter().flat_map(|places| places.spans.iter());
        spans.flat_map(move |span| {
            let index = self.segments.get(&span.generation).and_then(|segment| segment.index.as_ref());
            let entry = index.and_then(|index| index.entry(id));
            let whole = Part { end: span.end, bytes: span.bytes, max_timestamp: span.max_timestamp };
            let inside = entry.into_iter().flat_map(move |entry| entry.extents.between(span.first, span.end));
            let inside = inside.map(move |extent| Part {
                end: extent.end.min(span.end),
                bytes: u64::from(extent.bytes),
                max_timestamp: extent.max_timestamp,
            });
            inside.chain(entry.is_none().then_some(whole))
        })
    }

    /// Offsets from the log start on that readers are refused, since their batches are damaged.
    pub fn damaged(&self, id: TopicIdPartition, log_start: Offset) -> impl Iterator<Item = (Offset, Offset)> {
        let spans = self.partitions.get(&id).into_iter().flat_map(|places| places.spans.iter());
        let damaged = spans.filter(move |span| span.is_damaged && span.end > log_start);
        damaged.map(move |span| (span.first.max(log_start), span.end))
    }

    /// Offsets of a partition's log that no live batch holds: what damage took.
    #[must_use]
    pub fn gaps(&self, id: TopicIdPartition, log: Range<Offset>) -> Vec<(Offset, Offset)> {
        let mut gaps = Vec::new();
        let mut end = log.start;
        for span in self.partitions.get(&id).into_iter().flat_map(|places| places.spans.iter()) {
            if end < span.first {
                gaps.push((end, span.first));
            }
            end = span.end;
        }
        if end < log.end {
            gaps.push((end, log.end));
        }
        gaps
    }

    /// Panics where the table contradicts itself.
    pub fn check_invariants(&self) {
        let generations: Vec<_> = self.segments.keys().copied().collect();
        assert!(generations.windows(2).all(|pair| pair[0].next() == pair[1]), "generations have no gap");
        assert!(self.segments.is_empty() || generations.last() == Some(&self.newest), "the newest segment is in use");
        for (id, places) in &self.partitions {
            let mut end = Offset(0);
            for span in places.spans.iter() {
                assert!(end <= span.first && span.first < span.end, "spans of {id} follow each other");
                assert!(self.segments.contains_key(&span.generation), "a span of {id} is in a segment in use");
                assert!(span.end > places.trimmed, "a span of {id} lies wholly below its log start");
                end = span.end;
            }
        }
    }
}

fn span_of(generation: Generation, header: &BatchHeader) -> Span {
    let (first, end) = (header.base_offset, header.next_offset());
    let bytes = u64::try_from(header.size).unwrap_or(u64::MAX);
    Span { first, end, generation, bytes, max_timestamp: header.max_timestamp, is_damaged: false }
}

const fn index_group_size(shape: SegmentShape, payload: usize) -> usize {
    let size = group::HEADER_LENGTH as usize + frame::frame_size(payload);
    size.next_multiple_of(shape.block_size() as usize)
}
