//! The slots that hold no segment: which one is created, filled and started next. The reserve
//! counts only slots whose space is held on disk, since a file system may be full long before the
//! WAL reaches its capacity.
//!
//! ```text
//! unprepared         --poll_reserve--> reserving --on_reserved--> reserved
//! reserved           --poll_fill-----> filling   --on_filled----> ready
//! reserving, filling --on_failed-----> unprepared
//! freed segment      --release-------> ready
//! ready              --take----------> a segment
//! reserved           --take----------> a segment, if none is ready or being filled
//! ```
//! New slots are used in the order of their numbers: recovery tells from a slot's number and
//! generation whether the slot had an earlier use.

use std::collections::{BTreeSet, VecDeque};

use super::position::SlotId;
use super::recovery::RecoveredWal;

/// The number of slots that are filled with zeros ahead of use.
const SPARES: usize = 2;
/// The most slots that are reserved or filled at a time.
const JOBS_MAX: usize = 2;

#[derive(Clone, Debug)]
pub(super) struct Slots {
    /// Slots that were filled with zeros or freed, in the order in which they are started.
    ready: VecDeque<SlotId>,
    /// Slots whose files are whole and hold their space, but are not filled with zeros yet.
    reserved: VecDeque<SlotId>,
    unprepared: VecDeque<SlotId>,
    reserving: BTreeSet<SlotId>,
    filling: BTreeSet<SlotId>,
    next: u32,
    reserve: usize,
    is_failing: bool,
}

impl Slots {
    /// Takes over the slots of a recovered WAL that hold no segment. Those with an empty segment
    /// are started first, in recovery's order; the files of the others may have any length.
    /// `reserve` slots are held on disk before they are needed.
    pub fn recovered(recovered: &RecoveredWal, reserve: u32) -> Self {
        let in_use = recovered.segments.iter().map(|segment| segment.slot);
        let all = in_use.chain(recovered.free_slots.iter().copied()).chain(recovered.started_empty.iter().copied());
        // The next number lies above the number of every slot.
        let next = all.map(|slot| slot.0.saturating_add(1)).max().unwrap_or(0);
        Self {
            ready: recovered.started_empty.iter().copied().collect(),
            reserved: VecDeque::new(),
            unprepared: recovered.free_slots.iter().copied().collect(),
            reserving: BTreeSet::new(),
            filling: BTreeSet::new(),
            next,
            reserve: reserve as usize,
            is_failing: false,
        }
    }

    /// The next slot whose space must be reserved. Creates no new slot if there are `count_max`.
    pub fn poll_reserve(&mut self, count_max: usize) -> Option<SlotId> {
        let wanted = self.reserve + SPARES;
        if self.held() + self.reserving.len() >= wanted || self.jobs() >= JOBS_MAX {
            return None;
        }
        let slot = match self.unprepared.pop_front() {
            Some(slot) => slot,
            None if self.count() < count_max => {
                self.next += 1;
                SlotId(self.next - 1)
            }
            None => return None,
        };
        self.reserving.insert(slot);
        Some(slot)
    }

    /// The next reserved slot that must be filled with zeros. It cannot be started before it is
    /// filled.
    pub fn poll_fill(&mut self) -> Option<SlotId> {
        if self.ready.len() + self.filling.len() >= SPARES || self.jobs() >= JOBS_MAX {
            return None;
        }
        let slot = self.reserved.pop_front()?;
        self.filling.insert(slot);
        Some(slot)
    }

    pub fn on_reserved(&mut self, slot: SlotId) {
        if self.reserving.remove(&slot) {
            self.reserved.push_back(slot);
            self.is_failing = false;
        }
    }

    pub fn on_filled(&mut self, slot: SlotId) {
        if self.filling.remove(&slot) {
            self.ready.push_back(slot);
        }
    }

    /// Returns the slot to the unprepared ones. Its file may be missing, or shorter than a slot.
    pub fn on_failed(&mut self, slot: SlotId) {
        if self.reserving.remove(&slot) || self.filling.remove(&slot) {
            self.unprepared.push_back(slot);
            self.is_failing = true;
        }
    }

    /// Whether the last attempt to prepare a slot failed. Then the slots that are held are all that
    /// there are.
    pub const fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// The number of slots whose space is held on disk.
    pub fn held(&self) -> usize {
        self.ready.len() + self.reserved.len() + self.filling.len()
    }

    /// The number of slots that hold no segment.
    pub fn count(&self) -> usize {
        self.held() + self.reserving.len() + self.unprepared.len()
    }

    fn jobs(&self) -> usize {
        self.reserving.len() + self.filling.len()
    }

    /// Whether [`Self::take`] would return a slot.
    pub fn is_any_startable(&self) -> bool {
        !self.ready.is_empty() || self.filling.is_empty() && !self.reserved.is_empty()
    }

    /// Takes the slot for the next segment.
    pub fn take(&mut self) -> Option<SlotId> {
        if let Some(slot) = self.ready.pop_front() {
            return Some(slot);
        }
        if self.filling.is_empty() { self.reserved.pop_front() } else { None }
    }

    /// Adds the slot of a freed segment.
    pub fn release(&mut self, slot: SlotId) {
        self.ready.push_back(slot);
    }
}
