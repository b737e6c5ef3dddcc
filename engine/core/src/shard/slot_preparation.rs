//! Prepares slots ahead of use and sets the speed. The segment table decides which slots.

use std::time::Duration;

use rustmq_model::Instant;

use super::actions::{Action, Actions};
use super::host::Host;
use crate::wal::{SegmentTable, SlotId};

/// The longest time over which a slot is filled.
const PACE_MAX: Duration = Duration::from_secs(5);
/// Slots are filled only while a segment lasts at least this long.
const FILLED_IF_LASTING: Duration = Duration::from_millis(400);

/// The operation on a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// Creates the file and reserves its space. Syncs in it still pay for the file system's
    /// metadata.
    Reserved,
    /// Writes zeros over the whole length of a reserved slot, evenly over this time: a burst would
    /// delay the syncs that producers wait for.
    Filled { over: Duration },
}

/// The urgency of preparations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    Paced,
    /// No segment is ready: full speed.
    Awaited,
    /// The shard ends: unfinished slots are abandoned.
    Ending,
}

/// Measures how fast segments are used up, and prepares slots accordingly.
#[derive(Debug)]
pub(super) struct SlotPreparation {
    rolled_at: Instant,
    lasted: Duration,
    published: Urgency,
    /// The number of slots that the driver is preparing. The shard ends only at zero: the driver
    /// writes to them.
    under_way: usize,
}

impl SlotPreparation {
    pub(super) const fn new(now: Instant) -> Self {
        Self { rolled_at: now, lasted: PACE_MAX, published: Urgency::Paced, under_way: 0 }
    }

    /// Records that `rolls` segments were started.
    pub(super) fn on_rolls(&mut self, now: Instant, rolls: u32) {
        if rolls > 0 {
            self.lasted = now.since(self.rolled_at) / rolls;
            self.rolled_at = now;
        }
    }

    pub(super) const fn under_way(&self) -> usize {
        self.under_way
    }

    /// A preparation has ended. After a failure the next turn asks for it again.
    pub(super) const fn on_ended(&mut self) {
        self.under_way -= 1;
    }

    /// The driver lost all preparations: no further segment will become ready.
    pub(super) const fn on_lost(&mut self) {
        self.under_way = 0;
    }

    /// The time to fill a slot. `None` while segments are used up fast: groups are large then, and
    /// writing everything twice would cost more than it saves.
    fn filled_over(&self) -> Option<Duration> {
        (self.lasted >= FILLED_IF_LASTING).then(|| (self.lasted / 2).min(PACE_MAX))
    }

    /// Publishes the urgency if it has changed.
    pub(super) fn pace<H: Host>(&mut self, table: &SegmentTable, is_ending: bool, actions: &mut Actions<H>) {
        let urgency = match (is_ending, table.is_slot_ready()) {
            (true, _) => Urgency::Ending,
            (false, true) => Urgency::Paced,
            (false, false) => Urgency::Awaited,
        };
        if urgency != self.published {
            self.published = urgency;
            actions.push(Action::PaceSlots(urgency));
        }
    }

    /// Requests the preparations that the table wants, once a turn, including failed ones. The
    /// driver decides how soon to retry.
    pub(super) fn ask<H: Host>(&mut self, table: &mut SegmentTable, actions: &mut Actions<H>) {
        while let Some(slot) = table.poll_reserve() {
            self.begin(slot, Preparation::Reserved, actions);
        }
        let Some(over) = self.filled_over() else { return };
        while let Some(slot) = table.poll_fill() {
            self.begin(slot, Preparation::Filled { over }, actions);
        }
    }

    fn begin<H: Host>(&mut self, slot: SlotId, preparation: Preparation, actions: &mut Actions<H>) {
        self.under_way += 1;
        actions.push(Action::PrepareSlot { slot, preparation });
    }
}
