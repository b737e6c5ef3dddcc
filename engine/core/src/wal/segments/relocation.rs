//! The frames to write again so that the oldest segment becomes free. A move takes effect once its
//! frame is durable; the shard decides when that is, and whether the move still holds.

use rustmq_model::{Offset, TopicIdPartition};

use super::admission::Capacity;
use super::partitions::PartitionTable;
use crate::wal::control::DamagedRange;
use crate::wal::extents::Extent;
use crate::wal::location_map::PlacedBatches;
use crate::wal::position::{SegmentGeneration, WalPosition};
use crate::wal::spans::Span;

/// The frames to write so that the oldest segment becomes free: checkpoints, damaged ranges, and
/// batches to read and relocate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RelocationPlan {
    pub generation: SegmentGeneration,
    pub checkpoints: Vec<TopicIdPartition>,
    pub damaged: Vec<(TopicIdPartition, DamagedRange)>,
    pub batches: Vec<BatchMove>,
}

/// The batches of `partition` from the one that holds `from` on, below `until`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchMove {
    pub partition: TopicIdPartition,
    pub from: Offset,
    pub until: Offset,
}

/// Relocated batches, or a damaged range, with the place that counts once the move is applied.
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

/// Plans a relocation if one is needed and pays: see [`super::SegmentTable::relocation`].
pub(super) fn plan(capacity: Capacity<'_>, partitions: &PartitionTable) -> Option<RelocationPlan> {
    let (generation, oldest) = capacity.segments.next_to_free()?;
    // Batches that are still being written cannot be read back. The plan is made again after the
    // commit that seals the segment.
    if capacity.segments.durable() < (WalPosition { generation, offset: oldest.end }) {
        return None;
    }
    // A small WAL refuses new data before half of its segments are in use.
    let roomy = capacity.segments_used() < capacity.segments_left() && !capacity.is_full();
    if roomy {
        return None;
    }
    let mut plan = RelocationPlan { generation, ..RelocationPlan::default() };
    let mut live = 0;
    for id in &oldest.members {
        let Some(partition) = partitions.of(*id) else { continue };
        if partition.is_based_in(generation) {
            live += partition.base_bytes();
            plan.checkpoints.push(*id);
        }
        for span in partition.live_in(generation) {
            // The part of a span below the log start is dead.
            let (from, until) = (span.first.max(partition.log_start()), span.end);
            if span.is_damaged {
                plan.damaged.push((*id, span.damaged_from(from)));
            } else {
                live += span.bytes_from(from);
                plan.batches.push(BatchMove { partition: *id, from, until });
            }
        }
    }
    let nothing = plan.checkpoints.is_empty() && plan.damaged.is_empty() && plan.batches.is_empty();
    let dead = capacity.segments.written_bytes().saturating_sub(partitions.live_bytes());
    let weight = if capacity.is_full() { 1 } else { 2 };
    (!nothing && live.saturating_mul(weight) <= dead).then_some(plan)
}
