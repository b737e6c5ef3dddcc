//! Which slots are prepared ahead of use, and how fast. Which of them is wanted is the segment table's decision.

use std::time::Duration;

use rustmq_model::Instant;

use super::actions::{Action, Actions};
use super::host::Host;
use crate::wal::{SegmentTable, SlotId};

/// The longest that the filling of a slot is stretched to.
const PACE_MAX: Duration = Duration::from_secs(5);
/// Where segments last shorter than this, their slots are not filled.
const FILLED_IF_LASTING: Duration = Duration::from_millis(400);

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preparation {
    /// The file is made, and its space held. Syncs in it pay for the file system's metadata.
    Reserved,
    /// Zeros are written over the whole length of a reserved slot, evenly over this time: in one burst they would hold up the syncs that
    /// producers wait for.
    Filled { over: Duration },
}

/// How urgent preparations are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Urgency {
    Paced,
    /// No segment is ready: at full speed.
    Awaited,
    /// The shard ends: a slot that is not done is given up.
    Ending,
}

/// How fast segments are used up, and so how the next slots are prepared.
#[derive(Debug)]
pub(super) struct SlotPreparation {
    rolled_at: Instant,
    lasted: Duration,
    told: Urgency,
    /// Slots that the driver has. A shard ends only without any: they are written to.
    under_way: usize,
}

impl SlotPreparation {
    pub(super) const fn new(now: Instant) -> Self {
        Self { rolled_at: now, lasted: PACE_MAX, told: Urgency::Paced, under_way: 0 }
    }

    /// So many segments were started.
    pub(super) fn on_rolls(&mut self, now: Instant, rolls: u32) {
        if rolls > 0 {
            self.lasted = now.since(self.rolled_at) / rolls;
            self.rolled_at = now;
        }
    }

    pub(super) const fn under_way(&self) -> usize {
        self.under_way
    }

    /// It is done, or has failed: then it is asked for again in the next turn.
    pub(super) const fn on_ended(&mut self) {
        self.under_way -= 1;
    }

    /// Everything that the driver was given is gone: there will be no segment after those that are ready.
    pub(super) const fn on_lost(&mut self) {
        self.under_way = 0;
    }

    /// How long the filling of a slot may take. `None` where segments are used up fast: groups are large then, and writing everything twice
    /// would cost more than it spares.
    fn filled_over(&self) -> Option<Duration> {
        (self.lasted >= FILLED_IF_LASTING).then(|| (self.lasted / 2).min(PACE_MAX))
    }

    /// Tells how fast slots are prepared, where that has changed.
    pub(super) fn pace<H: Host>(&mut self, table: &SegmentTable, is_ending: bool, actions: &mut Actions<H>) {
        let urgency = match (is_ending, table.is_slot_ready()) {
            (true, _) => Urgency::Ending,
            (false, true) => Urgency::Paced,
            (false, false) => Urgency::Awaited,
        };
        if urgency != self.told {
            self.told = urgency;
            actions.push(Action::PaceSlots(urgency));
        }
    }

    /// Asks for what is wanted, once a turn: what failed meanwhile is asked for again. How soon is the driver's matter.
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
