//! A replica's log as the machine sees it with each input: its offsets and its epochs. The machine
//! keeps no copy.

use rustmq_model::{LeaderEpoch, Offset};

use super::assignment::Starts;
use crate::log::EpochStart;

#[derive(Clone, Copy, Debug)]
pub struct LogView<'a> {
    pub starts: Starts,
    /// The first offset that the local log still holds.
    pub local_start: Offset,
    pub durable_end: Offset,
    pub end: Offset,
    /// Oldest first.
    pub epochs: &'a [EpochStart],
}

impl LogView<'_> {
    /// Whether an epoch begins at `offset` or above. If the log ends there, nothing was appended in
    /// that epoch, and a batch of an older epoch must not follow before a cut has removed it.
    #[must_use]
    pub fn has_epoch_from(&self, offset: Offset) -> bool {
        self.epochs.last().is_some_and(|last| last.start >= offset)
    }

    /// The epoch of the record before `offset`. `None` if the log does not hold that record.
    #[must_use]
    pub fn epoch_before(&self, offset: Offset) -> Option<LeaderEpoch> {
        if offset <= self.local_start {
            return None;
        }
        let below = self.epochs.partition_point(|entry| entry.start < offset);
        below.checked_sub(1).map(|index| self.epochs[index].epoch)
    }
}
