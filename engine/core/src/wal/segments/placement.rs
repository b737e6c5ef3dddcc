//! Frames that change where a partition's batches are once they are durable. Until then they wait here, in the order of the log, and
//! readers go by what was.

use std::collections::VecDeque;

use rustmq_model::{Offset, TopicIdPartition};

use crate::wal::position::WalPosition;
use crate::wal::spans::Span;

/// What becomes of a partition's places.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// Batches, or what stands for them, are here from now on.
    Move(Span),
    Trim(Offset),
}

/// A change that was staged in `group`.
#[derive(Clone, Copy, Debug)]
struct PendingChange {
    partition: TopicIdPartition,
    group: WalPosition,
    change: Change,
}

/// The changes that were staged and are not durable yet.
#[derive(Clone, Debug, Default)]
pub(super) struct PendingChanges(VecDeque<PendingChange>);

impl PendingChanges {
    pub fn push(&mut self, partition: TopicIdPartition, group: WalPosition, change: Change) {
        self.0.push_back(PendingChange { partition, group, change });
    }

    /// The next change that takes effect, everything before `end` being durable.
    pub fn pop_durable(&mut self, end: WalPosition) -> Option<(TopicIdPartition, Change)> {
        let PendingChange { partition, change, .. } = self.0.pop_front_if(|pending| pending.group < end)?;
        Some((partition, change))
    }

    /// The partition is deleted.
    pub fn forget(&mut self, partition: TopicIdPartition) {
        self.0.retain(|pending| pending.partition != partition);
    }

    pub fn is_moving(&self) -> bool {
        self.0.iter().any(|pending| matches!(pending.change, Change::Move(_)))
    }
}
