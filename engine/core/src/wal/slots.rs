//! The slots that hold no segment: which to make, which to fill, and which one is started next. What is kept back for later counts only
//! once it is held on disk: a file system may be full long before the WAL is at its capacity.
//!
//! ```text
//!            poll_reserve              on_reserved            poll_fill            on_filled
//! unprepared -----------> reserving ----------> reserved ----------> filling ----------> ready --take--> a segment
//!      ^                      |                    |                    |                   ^
//!      +------on_failed-------+--------------------|------on_failed-----+                   +--give_back-- freed
//!                                                  +--take--> a segment, if none is ready or on its way there
//! ```
//! New slots are used in turn: recovery tells from a slot's number and generation whether it had an earlier use.

use std::collections::{BTreeSet, VecDeque};

use super::position::SlotId;
use super::recovery::RecoveredWal;

/// Slots to fill with zeros ahead of use.
const SPARES: usize = 2;
/// Slots that are being reserved or filled at a time.
const JOBS_MAX: usize = 2;

#[derive(Clone, Debug)]
pub(super) struct Slots {
    /// Filled with zeros, or freed: in the order in which they are started.
    ready: VecDeque<SlotId>,
    /// Whole files whose space is held, but not yet filled.
    reserved: VecDeque<SlotId>,
    unprepared: VecDeque<SlotId>,
    reserving: BTreeSet<SlotId>,
    filling: BTreeSet<SlotId>,
    next: u32,
    kept_back: usize,
    is_failing: bool,
}

impl Slots {
    /// The slots of a recovered WAL that hold no segment. Those that recovery found started are used first, in its order; the others are files that
    /// may be of any length. `kept_back` are held on disk before they are needed.
    pub fn recovered(recovered: &RecoveredWal, kept_back: u32) -> Self {
        let in_use = recovered.segments.iter().map(|segment| segment.slot);
        let all = in_use.chain(recovered.free_slots.iter().copied()).chain(recovered.started_empty.iter().copied());
        // Above every slot's number.
        let next = all.map(|slot| slot.0.saturating_add(1)).max().unwrap_or(0);
        Self {
            ready: recovered.started_empty.iter().copied().collect(),
            reserved: VecDeque::new(),
            unprepared: recovered.free_slots.iter().copied().collect(),
            reserving: BTreeSet::new(),
            filling: BTreeSet::new(),
            next,
            kept_back: kept_back as usize,
            is_failing: false,
        }
    }

    /// A slot whose space is to be held. No new one is made once there are `count_max`.
    pub fn poll_reserve(&mut self, count_max: usize) -> Option<SlotId> {
        let wanted = self.kept_back + SPARES;
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

    /// A reserved slot that is to be filled with zeros. It cannot be started meanwhile.
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

    /// The slot's file may be gone, or not whole.
    pub fn on_failed(&mut self, slot: SlotId) {
        if self.reserving.remove(&slot) || self.filling.remove(&slot) {
            self.unprepared.push_back(slot);
            self.is_failing = true;
        }
    }

    /// No slot could be made when one was tried last: those that are held are all there are.
    pub const fn is_failing(&self) -> bool {
        self.is_failing
    }

    /// Slots whose space is held on disk.
    pub fn held(&self) -> usize {
        self.ready.len() + self.reserved.len() + self.filling.len()
    }

    /// Every slot that holds no segment.
    pub fn count(&self) -> usize {
        self.held() + self.reserving.len() + self.unprepared.len()
    }

    fn jobs(&self) -> usize {
        self.reserving.len() + self.filling.len()
    }

    /// Whether [`Self::take`] would give one.
    pub fn is_any_startable(&self) -> bool {
        !self.ready.is_empty() || self.filling.is_empty() && !self.reserved.is_empty()
    }

    /// The slot for the next segment.
    pub fn take(&mut self) -> Option<SlotId> {
        if let Some(slot) = self.ready.pop_front() {
            return Some(slot);
        }
        if self.filling.is_empty() { self.reserved.pop_front() } else { None }
    }

    /// The slot of a segment that was freed.
    pub fn give_back(&mut self, slot: SlotId) {
        self.ready.push_back(slot);
    }
}
