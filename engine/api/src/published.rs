//! What a shard publishes of one partition, and readers on any thread take without asking it: its
//! frontiers, leader epochs, aborted transactions, the batches that are still in memory, where the
//! others are on disk, from where to search for a time, and the waiters for more. Only the
//! partition's shard writes; writes are short, and readers hold the lock only to copy references.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustmq_engine_core::log::{AbortedIndex, AbortedTransaction, Frontiers, TimeIndex};
use rustmq_engine_core::shard::{Leadership, ReadableLog, TailBatch};
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

use crate::request::DiskReads;
use crate::waiter::{Awaited, FetchWaiter, WaiterList};

/// Everything that changes together.
#[derive(Debug, Default)]
pub struct PartitionState {
    pub frontiers: Frontiers,
    pub leadership: Leadership,
    /// Bytes of the batches between log start and durable end.
    pub size_bytes: u64,
    pub log: ReadableLog,
    /// Every aborted transaction with a record below the last stable offset is in it. Readers take
    /// it as it is: the shard changes a copy of its own while one of them has it.
    pub aborted: Arc<AbortedIndex>,
    /// Over the durable batches.
    pub times: TimeIndex,
    pub closed: bool,
}

impl PartitionState {
    /// Adds batches that have become durable. They follow what is there.
    pub fn extend(&mut self, batches: impl IntoIterator<Item = TailBatch>) {
        let Self { log, times, .. } = self;
        log.extend(batches.into_iter().inspect(|batch| {
            times.append(batch.base, batch.bytes.len(), batch.max_timestamp);
        }));
    }

    fn add_aborted(&mut self, aborted: Vec<AbortedTransaction>) {
        if !aborted.is_empty() {
            Arc::make_mut(&mut self.aborted).extend(aborted);
        }
    }

    /// Forgets batches and transactions that lie wholly below the log start.
    pub fn trim(&mut self) {
        if self.aborted.reaches_below(self.frontiers.log_start) {
            Arc::make_mut(&mut self.aborted).trim(self.frontiers.log_start);
        }
        self.log.trim(self.frontiers.log_start);
        self.times.trim(self.frontiers.log_start);
    }

    /// No record that is still there lies below the answer and has at least this timestamp.
    #[must_use]
    pub fn search_from(&self, timestamp: Timestamp) -> Offset {
        self.times.search_from(timestamp, self.frontiers.log_start)
    }

    /// The first of the records below the high watermark that have the largest timestamp does not lie below the answer.
    #[must_use]
    pub fn search_largest_from(&self) -> Offset {
        self.times.search_largest_from(self.frontiers.log_start, self.frontiers.high_watermark)
    }
}

/// The shared end of one partition. Readers hold it through [`crate::PartitionReader`].
#[derive(Debug)]
pub struct Published {
    pub id: TopicIdPartition,
    /// What has left memory is read through it.
    pub(crate) disk: Arc<dyn DiskReads>,
    state: RwLock<PartitionState>,
    waiters: Mutex<WaiterList>,
}

impl Published {
    #[must_use]
    pub fn new(id: TopicIdPartition, state: PartitionState, disk: Arc<dyn DiskReads>) -> Arc<Self> {
        Arc::new(Self { id, disk, state: RwLock::new(state), waiters: Mutex::default() })
    }

    /// For readers: `read` must not wait for anything.
    pub fn read<R>(&self, read: impl FnOnce(&PartitionState) -> R) -> R {
        read(&self.state.read())
    }

    /// For the partition's shard alone. Wakes nobody: see [`Self::publish`].
    pub fn change<R>(&self, change: impl FnOnce(&mut PartitionState) -> R) -> R {
        change(&mut self.state.write())
    }

    /// For the partition's shard alone: makes the change, then wakes those who wait for it, and all of them at the partition's end and under
    /// another leadership.
    pub fn publish(&self, change: impl FnOnce(&mut PartitionState)) {
        let (frontiers, is_for_all) = self.change(|state| {
            let epoch = state.leadership.epoch;
            change(state);
            (state.frontiers, state.closed || state.leadership.epoch != epoch)
        });
        let mut waiters = self.waiters.lock();
        if is_for_all { waiters.wake_all() } else { waiters.wake_told_by(&frontiers) }
    }

    /// Shows readers batches that have become durable, and at once the frontiers that let them read
    /// these, and the transactions of theirs that were aborted.
    pub fn publish_batches(
        &self,
        frontiers: Frontiers,
        size_bytes: u64,
        aborted: Vec<AbortedTransaction>,
        batches: impl IntoIterator<Item = TailBatch>,
    ) {
        self.publish(|state| {
            (state.frontiers, state.size_bytes) = (frontiers, size_bytes);
            state.add_aborted(aborted);
            state.extend(batches);
        });
    }

    /// The same where there are no new batches.
    pub fn publish_frontiers(&self, frontiers: Frontiers, size_bytes: u64, aborted: Vec<AbortedTransaction>) {
        self.publish(|state| {
            (state.frontiers, state.size_bytes) = (frontiers, size_bytes);
            state.add_aborted(aborted);
            state.trim();
        });
    }

    pub(crate) fn watch(&self, waiter: &Arc<FetchWaiter>, awaited: Awaited) {
        self.waiters.lock().register(waiter, awaited);
        // A closed partition publishes no more: whoever comes late is woken here.
        if self.state.read().closed {
            waiter.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{PartitionState, TailBatch};
    use bytes::Bytes;
    use rustmq_engine_core::log::Frontiers;
    use rustmq_engine_core::shard::BatchPlace;
    use rustmq_engine_core::wal::{SharedSegments, WalPosition};
    use rustmq_model::{Offset, Timestamp};

    fn batch(base: i64, next: i64) -> TailBatch {
        let (base, next, max_timestamp) = (Offset(base), Offset(next), Timestamp(0));
        let place = BatchPlace::in_group(WalPosition::default());
        TailBatch { base, next, max_timestamp, bytes: Bytes::new(), place }
    }

    #[test]
    fn a_search_by_time_begins_after_batches_that_are_all_earlier_and_in_the_log() {
        let mut state = PartitionState { frontiers: Frontiers::at(Offset(100)), ..PartitionState::default() };
        state.frontiers.log_start = Offset(0);
        let large = Bytes::from(vec![0; 40 << 10]);
        state.extend((0..100).map(|offset| TailBatch {
            max_timestamp: Timestamp(offset * 10),
            bytes: large.clone(),
            ..batch(offset, offset + 1)
        }));
        assert_eq!(state.search_from(Timestamp(505)), Offset(51));
        assert_eq!(state.search_largest_from(), Offset(98));
        state.frontiers.high_watermark = Offset(60);
        assert_eq!(state.search_largest_from(), Offset(59), "what lies above is not to be seen yet");
        state.log.evict_through(Offset(80), &SharedSegments::default());
        assert_eq!(state.search_from(Timestamp(505)), Offset(51), "memory has no part in it");
        state.frontiers.log_start = Offset(70);
        state.trim();
        assert_eq!(state.search_from(Timestamp(505)), Offset(70));
    }
}
