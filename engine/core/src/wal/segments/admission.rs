//! Who may still write: what has room in the active segment, what may start another one, and what is kept back for those that free space.
//! Decides only; segments are started, and slots made, elsewhere.

use super::in_use::SegmentsInUse;
use crate::wal::index::SegmentIndex;
use crate::wal::slots::Slots;

/// Slots that new data leaves: one for trims and closes, the others for restarts and for what frees segments by itself. They are held on disk
/// before new data gets another.
pub const RESERVE: u32 = 4;
/// Slots that trims and closes leave.
const FREEING_RESERVE: u32 = 3;
/// Fewer could not roll, keep the reserve, and free one.
pub const SEGMENTS_MIN: u32 = RESERVE + 2;

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

/// How much room there is now, by the segments in use and the slots held for others.
#[derive(Clone, Copy, Debug)]
pub(super) struct Capacity<'a> {
    pub segments: &'a SegmentsInUse,
    pub slots: &'a Slots,
}

impl Capacity<'_> {
    /// See [`super::SegmentTable::admit`].
    pub fn admit(self, group_size: usize, purpose: Purpose) -> Admission {
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
        // Two blocks for proofs: one when idle, one of a restart.
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

    /// How many slots there may be that hold no segment: up to the capacity; and always one, for cleaning and restarts: without it nothing
    /// could ever be freed once restarts, each of which writes a proof, have used up a full WAL's reserve. Free first what can be freed, or
    /// a restart, at which freed segments come back, makes a slot for nothing.
    pub fn spare_slots_max(self) -> usize {
        let used = self.segments.count();
        (self.segments.config().segments_max as usize).max(used + 1) - used
    }
}
