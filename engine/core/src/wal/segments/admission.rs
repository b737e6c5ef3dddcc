//! Admission of writes: which frames fit into the active segment, which may start another one, and
//! which slots are reserved for frames that free space. Decides only; segments are started, and
//! slots prepared, elsewhere.

use super::in_use::SegmentsInUse;
use crate::wal::index::SegmentIndex;
use crate::wal::slots::Slots;

/// The slots that new data leaves: one for trims and closes, the others for restarts and for
/// relocation. They are held on disk before new data gets another slot.
pub const RESERVE: u32 = 4;
/// The slots that trims and closes leave.
const FREEING_RESERVE: u32 = 3;
/// The least capacity of a WAL, in segments: with fewer it could not roll, keep the reserve, and
/// free a segment.
pub const SEGMENTS_MIN: u32 = RESERVE + 2;

const _: () = {
    assert!(FREEING_RESERVE < RESERVE, "trims and closes have room that new data leaves");
    assert!(SEGMENTS_MIN > RESERVE, "the least WAL has room for new data");
};

/// The purpose of a frame that needs room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// New data, and any other frame that frees no space.
    Append,
    /// Trims, truncations, resets and closes.
    Freeing,
    /// Checkpoints and relocated batches, which are never refused, since they end with a free
    /// segment. A plan copies the batches of at most one segment, so a WAL without a free segment
    /// grows one above its capacity and shrinks again. It grows further only if the checkpoints of
    /// a plan take more than a segment.
    Cleaning,
}

/// The answer to a frame that needs room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// The frame fits in the active segment.
    Fits,
    /// The caller must seal the active segment, if any, and start the next one first.
    Roll,
    /// As `Roll`, once a slot is held; one is being prepared, unless the disk is full.
    AwaitSlot,
    /// The WAL is at its capacity, or the disk has no room for another slot.
    Full,
}

/// The room in the WAL, by the segments in use and the slots that are held.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity<'a> {
    pub segments: &'a SegmentsInUse,
    pub slots: &'a Slots,
}

impl Capacity<'_> {
    /// See [`super::SegmentTable::admit`].
    pub fn admit(self, group_size: usize, purpose: Purpose) -> Admission {
        let left = self.segments_left();
        let (reserve, full) = match purpose {
            // A segment that was started out of the reserve is not for new data either.
            Purpose::Append => (RESERVE, left < RESERVE),
            Purpose::Freeing => (FREEING_RESERVE, false),
            Purpose::Cleaning => (0, false),
        };
        if !full && self.fits(group_size) {
            return Admission::Fits;
        }
        if full || purpose != Purpose::Cleaning && left <= reserve {
            return Admission::Full;
        }
        let held = self.slots.is_any_startable() && self.slots_held() > reserve;
        if held { Admission::Roll } else { Admission::AwaitSlot }
    }

    /// See [`super::SegmentTable::admits_proof`].
    pub fn admits_proof(self) -> bool {
        let Some((segment, next)) = self.segments.active() else { return false };
        let shape = self.segments.config().shape;
        let index = segment.index.as_ref().map_or(0, SegmentIndex::encoded_length);
        let needed = shape.block_size() as usize + self.segments.index_group_size(index);
        next.offset as usize + needed <= shape.trailer() as usize
    }

    fn fits(self, group_size: usize) -> bool {
        let Some((segment, next)) = self.segments.active() else { return false };
        let shape = self.segments.config().shape;
        let index = segment.index.as_ref().map_or(0, SegmentIndex::encoded_length) + SegmentIndex::GROWTH_PER_FRAME;
        let index = self.segments.index_group_size(index);
        // One block for the proof of an idle shard, and one for the proof of a restart.
        let proofs = 2 * shape.block_size() as usize;
        next.offset as usize + group_size + index + proofs <= shape.trailer() as usize
    }

    pub fn segments_left(self) -> u32 {
        let left = self.segments.config().segments_max.saturating_sub(self.segments_used());
        if self.slots.is_failing() { left.min(self.slots_held()) } else { left }
    }

    pub fn segments_used(self) -> u32 {
        u32::try_from(self.segments.count()).unwrap_or(u32::MAX)
    }

    pub fn is_full(self) -> bool {
        self.segments_left() <= RESERVE
    }

    pub fn is_slot_ready(self) -> bool {
        self.slots.is_any_startable() && self.slots_held() > RESERVE
    }

    fn slots_held(self) -> u32 {
        u32::try_from(self.slots.held()).unwrap_or(u32::MAX)
    }

    /// The most slots without a segment: up to the capacity, and always one for relocation and
    /// restarts. Without that one nothing could ever be freed once restarts, each of which writes a
    /// proof, have used up the reserve of a full WAL. The caller frees segments first: freed ones
    /// come back at a restart, which would create a slot for nothing.
    pub fn spare_slots_max(self) -> usize {
        let used = self.segments.count();
        (self.segments.config().segments_max as usize).max(used + 1) - used
    }
}
