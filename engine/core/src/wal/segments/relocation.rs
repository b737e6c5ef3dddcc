//! What must be written anew so that the oldest segment becomes free. A frame that was laid for it takes effect once it is durable: that is
//! the table's matter.

use rustmq_model::{Offset, TopicIdPartition};

use super::super::frame::DamagedRange;
use super::super::position::Generation;
use super::{Change, Places, SegmentTable};

/// What to write so that the oldest segment becomes free: checkpoints, what stands for damaged batches, and batches to read and relocate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelocationPlan {
    pub generation: Generation,
    pub checkpoints: Vec<TopicIdPartition>,
    pub damaged: Vec<(TopicIdPartition, DamagedRange)>,
    pub batches: Vec<BatchMove>,
}

/// Batches of `partition` from the one that holds `from` on, below `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMove {
    pub partition: TopicIdPartition,
    pub from: Offset,
    pub until: Offset,
}

impl SegmentTable {
    /// What to write so that the oldest segment can be freed, when half of the WAL is in use, or new data is refused, and it pays: what would be copied is at
    /// most half of what is dead in the WAL and waits behind it; at most all of it once new data is refused. A plan that turns out not
    /// to fit may be left halfway: what has moved stays moved.
    #[must_use]
    pub fn relocation(&self) -> Option<RelocationPlan> {
        let (used, left) = (self.segments_used(), self.segments_left());
        let (generation, oldest) = self.segments.first_key_value()?;
        // A small WAL refuses new data before half of it is in use.
        let roomy = used < left && !self.is_full();
        if *generation == self.newest || roomy || self.is_moving() {
            return None;
        }
        let mut plan = RelocationPlan { generation: *generation, ..RelocationPlan::default() };
        let mut live = 0;
        for id in &oldest.members {
            let Some(places) = self.partitions.get(id) else { continue };
            if places.base.generation <= *generation {
                plan.checkpoints.push(*id);
            }
            for span in places.live().filter(|span| span.generation == *generation) {
                // What lies below the log start is dead, though its span is not.
                let (from, until) = (span.first.max(places.log_start), span.end);
                if span.is_damaged {
                    plan.damaged.push((*id, span.damaged_from(from)));
                } else {
                    live += span.bytes_from(from);
                    plan.batches.push(BatchMove { partition: *id, from, until });
                }
            }
        }
        let nothing = plan.checkpoints.is_empty() && plan.damaged.is_empty() && plan.batches.is_empty();
        let written: u64 = self.segments.values().map(|segment| u64::from(segment.end)).sum();
        let dead = written.saturating_sub(self.live_bytes());
        let weight = if self.is_full() { 1 } else { 2 };
        (!nothing && live.saturating_mul(weight) <= dead).then_some(plan)
    }

    /// Relocated batches are not durable yet at their new places: there is no other plan before they are.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.pending.iter().any(|pending| matches!(pending.change, Change::Move(_)))
    }

    /// What stands for the live batches from `from` on below `until`, which cannot be read, as far as that segment holds them still.
    #[must_use]
    pub fn damaged_range(
        &self,
        id: TopicIdPartition,
        generation: Generation,
        from: Offset,
        until: Offset,
    ) -> Option<DamagedRange> {
        let places = self.partitions.get(&id)?;
        let from = from.max(places.log_start);
        let span = places.spans.find(from).filter(|span| span.first <= from && span.generation == generation)?;
        let range = span.damaged_from(from);
        let range = DamagedRange { end: range.end.min(until), ..range };
        (range.first < range.end).then_some(range)
    }

    /// Bytes of live batches, of all partitions.
    fn live_bytes(&self) -> u64 {
        self.partitions.values().map(Places::live_bytes).sum()
    }
}
