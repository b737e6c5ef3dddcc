//! The segments in use, from their start until they are freed: which one is written and where its
//! next group stands, which are sealed, and how far their content is durable. Does not know the
//! places of batches, nor the slots without a segment.
//!
//! ```text
//! start --> active --seal--> sealed --on_durable--> sealed, index on disk --free_oldest--> gone
//! ```
//! A segment that is sealed without an index on disk keeps its index in memory until it is freed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use rustmq_model::TopicIdPartition;

use crate::wal::format_version::FormatVersion;
use crate::wal::frame;
use crate::wal::group;
use crate::wal::group_writer::FinishedGroup;
use crate::wal::index::{SegmentIndex, Trailer};
use crate::wal::position::{SegmentGeneration, SegmentShape, SlotId, WalId, WalPosition, WalSession};
use crate::wal::recovery::{RecoveredWal, ResumePoint};
use crate::wal::segment_header::SegmentHeader;
use crate::wal::shared_segments::{SharedSegment, SharedSegments};

/// The layout of a WAL's new segments, and the capacity of the WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentTableConfig {
    pub wal: WalId,
    pub shape: SegmentShape,
    /// The WAL's capacity in segments; at least [`super::SEGMENTS_MIN`].
    pub segments_max: u32,
}

/// A segment to start: `header` must be written over block 0 of `slot`, and synced, before the
/// first group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StartedSegment {
    pub slot: SlotId,
    pub header: SegmentHeader,
}

/// A segment in use.
#[cfg_attr(test, derive(Clone))]
#[derive(Debug)]
pub(super) struct Segment {
    pub slot: SlotId,
    /// The partitions with a frame in the segment. In the oldest segment, only those that may still
    /// need it.
    pub members: BTreeSet<TopicIdPartition>,
    /// In memory until the sealed segment is synced, and for good if it is not on disk.
    pub index: Option<SegmentIndex>,
    pub trailer: Option<Trailer>,
    pub end: u32,
    /// The part of the segment that readers share.
    pub shared: Arc<SharedSegment>,
}

/// The result of an attempt to free the oldest segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OldestSegment {
    Freed(SlotId),
    /// Only readers hold it: the caller asks again soon.
    Held,
    Needed,
}

/// All segments in use, see the module. Oldest first, without a gap in their generations.
#[cfg_attr(test, derive(Clone))]
#[derive(Debug)]
pub(super) struct SegmentsInUse {
    config: SegmentTableConfig,
    session: WalSession,
    by_generation: BTreeMap<SegmentGeneration, Segment>,
    /// The position of the next group; `None` before the first segment and after a seal.
    next: Option<WalPosition>,
    newest: SegmentGeneration,
    shared: SharedSegments,
    durable: WalPosition,
    /// The end of the synced log: equal to `durable`, unless commits are not synced.
    synced: WalPosition,
    /// The newest group, written or not, names the log as durable to here.
    proven: WalPosition,
}

impl SegmentsInUse {
    pub fn new(config: SegmentTableConfig, recovered: &RecoveredWal) -> Self {
        let next = match recovered.resume_at {
            ResumePoint::InSegment(at) => Some(at),
            ResumePoint::NewSegment => None,
        };
        let shared = SharedSegments::default();
        let segments = recovered.segments.iter().map(|segment| {
            let members = segment.index.entries().keys().copied().collect();
            let active = next.is_some_and(|at| at.generation == segment.generation);
            let index = (active || segment.trailer.is_none()).then(|| segment.index.clone());
            let (slot, trailer, end) = (segment.slot, segment.trailer, segment.end);
            let in_readers = shared.add(slot, segment.generation, segment.shape);
            if let Some(trailer) = trailer.filter(|_| index.is_none()) {
                in_readers.on_indexed(trailer);
            }
            (segment.generation, Segment { slot, members, index, trailer, end, shared: in_readers })
        });
        let in_use = Self {
            config,
            session: recovered.session,
            by_generation: segments.collect(),
            next,
            newest: recovered.segments.last().map_or(SegmentGeneration(0), |segment| segment.generation),
            durable: recovered.durable,
            synced: recovered.durable,
            proven: if recovered.is_proven { recovered.durable } else { recovered.proven },
            shared: shared.clone(),
        };
        in_use.publish_durable(SegmentGeneration(0));
        in_use
    }

    pub const fn config(&self) -> &SegmentTableConfig {
        &self.config
    }

    #[cfg(test)]
    pub const fn set_session(&mut self, session: WalSession) {
        self.session = session;
    }

    pub const fn session(&self) -> WalSession {
        self.session
    }

    pub fn count(&self) -> usize {
        self.by_generation.len()
    }

    pub fn is_empty(&self) -> bool {
        self.by_generation.is_empty()
    }

    /// The generations in use, oldest first.
    pub fn generations(&self) -> impl Iterator<Item = SegmentGeneration> {
        self.by_generation.keys().copied()
    }

    pub fn segment(&self, generation: SegmentGeneration) -> Option<&Segment> {
        self.by_generation.get(&generation)
    }

    /// The oldest segment, which is freed next; `None` if it is the newest, which is never freed.
    pub fn next_to_free(&self) -> Option<(SegmentGeneration, &Segment)> {
        let (generation, segment) = self.by_generation.first_key_value()?;
        (*generation != self.newest).then_some((*generation, segment))
    }

    /// The bytes of all segments' content, with headers.
    pub fn written_bytes(&self) -> u64 {
        self.by_generation.values().map(|segment| u64::from(segment.end)).sum()
    }

    // Writing.

    pub const fn next_position(&self) -> Option<WalPosition> {
        self.next
    }

    /// The active segment, and the position of its next group.
    pub fn active(&self) -> Option<(&Segment, WalPosition)> {
        Some((self.by_generation.get(&self.newest)?, self.next?))
    }

    /// The bytes of a group with an index frame of this payload.
    pub const fn index_group_size(&self, payload: usize) -> usize {
        let size = group::HEADER_LENGTH as usize + frame::frame_size(payload);
        size.next_multiple_of(self.config.shape.block_size() as usize)
    }

    /// Records a staged frame of the partition in the active segment; `write` updates the index.
    pub fn record(&mut self, id: TopicIdPartition, group: WalPosition, write: impl FnOnce(&mut SegmentIndex)) {
        let segment = self.by_generation.get_mut(&group.generation).expect("frames are staged in the active segment");
        segment.members.insert(id);
        write(segment.index.as_mut().expect("the active segment's index is in memory"));
    }

    pub fn advance(&mut self, end: WalPosition) {
        assert!(
            self.next.is_some_and(|next| next.generation == end.generation && next < end),
            "groups follow each other"
        );
        self.next = Some(end);
        if let Some(segment) = self.by_generation.get_mut(&end.generation) {
            segment.end = end.offset;
        }
    }

    pub fn index_payload(&self) -> Option<Vec<u8>> {
        self.fitting_index(0).map(|(index, _)| index.encode())
    }

    /// The active segment's index and the size of its group, if the segment has room for it after a
    /// group of `ending` bytes.
    pub fn fitting_index(&self, ending: usize) -> Option<(&SegmentIndex, usize)> {
        let (segment, next) = self.active()?;
        let index = segment.index.as_ref()?;
        let size = self.index_group_size(index.encoded_length());
        (next.offset as usize + ending + size <= self.config.shape.trailer() as usize).then_some((index, size))
    }

    pub fn seal(&mut self, index_group: Option<FinishedGroup>) -> Option<Trailer> {
        self.next = None;
        let segment = self.by_generation.get_mut(&self.newest)?;
        let group = index_group?;
        segment.end = group.end().offset;
        let (generation, session) = (self.newest, self.session);
        let trailer = Trailer { generation, session, index_group: group.position.offset, end: segment.end };
        segment.trailer = Some(trailer);
        Some(trailer)
    }

    /// Starts the next segment in `slot`, after the previous one was sealed.
    pub fn start(&mut self, slot: SlotId) -> StartedSegment {
        assert!(self.next.is_none(), "the active segment is sealed before the next one starts");
        let (wal, shape, session) = (self.config.wal, self.config.shape, self.session);
        let before = u32::try_from(self.count()).expect("a WAL has fewer segments than a u32 counts");
        self.newest = self.newest.next();
        let version = FormatVersion::CURRENT;
        let header = SegmentHeader { version, wal, generation: self.newest, session, shape, before };
        let (members, index, end) = (BTreeSet::new(), Some(SegmentIndex::default()), shape.first_group());
        let shared = self.shared.add(slot, self.newest, shape);
        self.by_generation.insert(self.newest, Segment { slot, members, index, trailer: None, end, shared });
        self.next = Some(WalPosition { generation: self.newest, offset: end });
        StartedSegment { slot, header }
    }

    // Durability.

    pub fn on_synced(&mut self, end: WalPosition) {
        self.synced = self.synced.max(end);
    }

    pub fn on_durable(&mut self, end: WalPosition) {
        let before = self.durable.generation;
        self.durable = self.durable.max(end);
        self.publish_durable(before);
        self.drop_synced_indexes();
    }

    /// Publishes to readers how far the segments from `from` on are durable.
    fn publish_durable(&self, from: SegmentGeneration) {
        for (generation, segment) in self.by_generation.range(from..=self.durable.generation) {
            let is_whole = *generation < self.durable.generation;
            segment.shared.on_durable(if is_whole { segment.end } else { self.durable.offset });
        }
    }

    /// Drops the indexes in memory of segments whose index is durable on disk.
    fn drop_synced_indexes(&mut self) {
        let durable = self.durable;
        let sealed = self.by_generation.iter_mut().rev().filter(|(_, segment)| segment.trailer.is_some());
        for (generation, segment) in sealed.take_while(|(_, segment)| segment.index.is_some()) {
            if (WalPosition { generation: *generation, offset: segment.end }) <= durable {
                segment.index = None;
                segment.trailer.into_iter().for_each(|trailer| segment.shared.on_indexed(trailer));
            }
        }
    }

    pub const fn durable(&self) -> WalPosition {
        self.durable
    }

    /// See [`super::SegmentTable::provable`].
    pub fn provable(&self) -> WalPosition {
        let before = self.by_generation.range(..self.newest).next_back();
        let end = before.map(|(generation, segment)| WalPosition { generation: *generation, offset: segment.end });
        self.synced.max(end.unwrap_or_default())
    }

    pub const fn on_proof(&mut self, durable: WalPosition) {
        self.proven = durable;
    }

    pub fn is_proven(&self) -> bool {
        self.proven >= self.provable()
    }

    // Freeing.

    /// Frees the oldest segment if no partition `needs` it and no reader holds it. A partition that
    /// does not need the segment now never will again, since its new frames go to newer segments.
    /// So each member is checked once, and the first one that still needs the segment at every
    /// call.
    pub fn free_oldest(&mut self, needs: impl Fn(TopicIdPartition, SegmentGeneration) -> bool) -> OldestSegment {
        let Some(mut oldest) = self.by_generation.first_entry() else { return OldestSegment::Needed };
        let generation = *oldest.key();
        if generation == self.newest {
            return OldestSegment::Needed;
        }
        let members = &mut oldest.get_mut().members;
        while let Some(member) = members.first() {
            if needs(*member, generation) {
                return OldestSegment::Needed;
            }
            members.pop_first();
        }
        if !self.shared.retire(generation) {
            return OldestSegment::Held;
        }
        OldestSegment::Freed(oldest.remove().slot)
    }

    pub const fn shared(&self) -> &SharedSegments {
        &self.shared
    }

    pub fn check_invariants(&self) {
        let generations: Vec<_> = self.generations().collect();
        assert!(generations.windows(2).all(|pair| pair[0].next() == pair[1]), "generations have no gap");
        assert!(self.is_empty() || generations.last() == Some(&self.newest), "the newest segment is in use");
    }
}
