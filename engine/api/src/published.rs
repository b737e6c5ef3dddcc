//! The state of one partition that its shard publishes and that readers on any thread use without
//! asking the shard: frontiers, leader epochs, aborted transactions, the batches in memory, the map
//! to the batches on disk, the time index, and the waiting long polls. Only the partition's shard
//! writes. Writes are short, and readers hold the lock only to copy references.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustmq_engine_core::log::{AbortedIndex, AbortedTransaction, Frontiers, TimeIndex};
use rustmq_engine_core::shard::{Leadership, ReadableLog, TailBatch};
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

use crate::request::DiskReads;
use crate::waiter::{Awaited, FetchWaiter, WaiterList};

/// The fields that change together.
#[derive(Debug, Default)]
pub struct PartitionState {
    pub frontiers: Frontiers,
    pub leadership: Leadership,
    /// The total size of the batches between log start and durable end, in bytes.
    pub size_bytes: u64,
    pub log: ReadableLog,
    /// Holds every aborted transaction with a record below the last stable offset. Readers share
    /// it: the shard changes a copy while a reader holds it.
    pub aborted: Arc<AbortedIndex>,
    /// Covers the durable batches.
    pub times: TimeIndex,
    pub closed: bool,
}

impl PartitionState {
    /// Adds batches that have become durable. They continue the published ones.
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

    /// Drops the batches and the aborted transactions outside of the log, which was cut.
    pub fn cut(&mut self) {
        let Frontiers { log_start, durable_end, .. } = self.frontiers;
        let aborted = Arc::make_mut(&mut self.aborted);
        aborted.truncate(durable_end);
        aborted.trim(log_start);
        self.log.cut(log_start..durable_end);
    }

    /// Drops the batches and the aborted transactions that lie wholly below the log start.
    pub fn trim(&mut self) {
        if self.aborted.reaches_below(self.frontiers.log_start) {
            Arc::make_mut(&mut self.aborted).trim(self.frontiers.log_start);
        }
        self.log.trim(self.frontiers.log_start);
        self.times.trim(self.frontiers.log_start);
    }

    /// Where a search for `timestamp` starts: every record of the log below the
    /// answer has a smaller timestamp.
    #[must_use]
    pub fn search_from(&self, timestamp: Timestamp) -> Offset {
        self.times.search_from(timestamp, self.frontiers.log_start)
    }

    /// Where a search for the largest timestamp starts: the first record below the high watermark
    /// that has it lies at the answer or above.
    #[must_use]
    pub fn search_largest_from(&self) -> Offset {
        self.times.search_largest_from(self.frontiers.log_start, self.frontiers.high_watermark)
    }
}

/// A partition as its shard and its readers share it. Readers hold it through
/// [`crate::PartitionReader`].
#[derive(Debug)]
pub struct Published {
    pub id: TopicIdPartition,
    /// Serves reads of batches that have left memory.
    pub(crate) disk: Arc<dyn DiskReads>,
    state: RwLock<PartitionState>,
    waiters: Mutex<WaiterList>,
}

impl Published {
    #[must_use]
    pub fn new(id: TopicIdPartition, state: PartitionState, disk: Arc<dyn DiskReads>) -> Arc<Self> {
        Arc::new(Self { id, disk, state: RwLock::new(state), waiters: Mutex::default() })
    }

    /// For readers. `read` runs under the lock and must not wait for anything.
    pub fn read<R>(&self, read: impl FnOnce(&PartitionState) -> R) -> R {
        read(&self.state.read())
    }

    /// For the partition's shard only. Wakes no waiter; [`Self::publish`] does.
    pub fn change<R>(&self, change: impl FnOnce(&mut PartitionState) -> R) -> R {
        change(&mut self.state.write())
    }

    /// For the partition's shard only. Makes the change, then wakes the waiters whose condition it
    /// meets. A change of leadership and the partition's end wake all waiters.
    pub fn publish(&self, change: impl FnOnce(&mut PartitionState)) {
        let (frontiers, is_for_all) = self.change(|state| {
            let epoch = state.leadership.epoch;
            change(state);
            (state.frontiers, state.closed || state.leadership.epoch != epoch)
        });
        let mut waiters = self.waiters.lock();
        if is_for_all { waiters.wake_all() } else { waiters.wake_met_by(&frontiers) }
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
        // A closed partition publishes nothing more, so a waiter that registers late is woken here.
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
        assert_eq!(state.search_largest_from(), Offset(59), "records above it are not visible yet");
        state.log.evict_through(Offset(80), &SharedSegments::default().unindexed());
        assert_eq!(state.search_from(Timestamp(505)), Offset(51), "it does not depend on memory");
        state.frontiers.log_start = Offset(70);
        state.trim();
        assert_eq!(state.search_from(Timestamp(505)), Offset(70));
    }
}
