//! What must be written anew so that the oldest segment becomes free. A frame that was staged for it takes effect once it is durable: when that is,
//! and whether it still holds then, the shard knows.

use rustmq_model::{Offset, TopicIdPartition};

use super::admission::Capacity;
use super::places::PartitionPlaces;
use crate::wal::control::DamagedRange;
use crate::wal::extents::Extent;
use crate::wal::location_map::PlacedBatches;
use crate::wal::position::{SegmentGeneration, WalPosition};
use crate::wal::spans::Span;

/// What to write so that the oldest segment becomes free: checkpoints, what stands for damaged batches, and batches to read and relocate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelocationPlan {
    pub generation: SegmentGeneration,
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

/// Batches as they were written anew, or what stands for them: where they are once that is applied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MovedBatches {
    pub to: Span,
    pub group: WalPosition,
}

impl MovedBatches {
    #[must_use]
    pub fn placed(&self) -> PlacedBatches {
        let Span { first, end, generation, bytes, max_timestamp, is_damaged } = self.to;
        let bytes = u32::try_from(bytes).expect("a batch is shorter than its segment");
        let group_offset = self.group.offset;
        PlacedBatches { generation, extent: Extent { group_offset, bytes, first, end, max_timestamp, is_damaged } }
    }
}

/// The plan, if one is needed and pays: see [`super::SegmentTable::relocation`].
pub(super) fn plan(capacity: Capacity<'_>, places: &PartitionPlaces) -> Option<RelocationPlan> {
    let (generation, oldest) = capacity.segments.next_to_free()?;
    // Nothing can be read back yet of what is still being written. The commit that sealed it is looked after.
    if capacity.segments.durable() < (WalPosition { generation, offset: oldest.end }) {
        return None;
    }
    // A small WAL refuses new data before half of it is in use.
    let roomy = capacity.segments_used() < capacity.segments_left() && !capacity.is_full();
    if roomy {
        return None;
    }
    let mut plan = RelocationPlan { generation, ..RelocationPlan::default() };
    let mut live = 0;
    for id in &oldest.members {
        let Some(places) = places.of(*id) else { continue };
        if places.is_based_in(generation) {
            live += places.base_bytes();
            plan.checkpoints.push(*id);
        }
        for span in places.live_in(generation) {
            // What lies below the log start is dead, though its span is not.
            let (from, until) = (span.first.max(places.log_start()), span.end);
            if span.is_damaged {
                plan.damaged.push((*id, span.damaged_from(from)));
            } else {
                live += span.bytes_from(from);
                plan.batches.push(BatchMove { partition: *id, from, until });
            }
        }
    }
    let nothing = plan.checkpoints.is_empty() && plan.damaged.is_empty() && plan.batches.is_empty();
    let dead = capacity.segments.written_bytes().saturating_sub(places.live_bytes());
    let weight = if capacity.is_full() { 1 } else { 2 };
    (!nothing && live.saturating_mul(weight) <= dead).then_some(plan)
}
