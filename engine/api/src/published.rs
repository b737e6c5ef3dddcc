//! What a shard publishes of one partition, and readers on any thread take without asking it: its frontiers, leader epochs, the batches
//! that are still in memory, from where to search for a time, and the waiters for more. Only the partition's shard writes; writes are short, and readers hold the
//! lock only to copy references.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustmq_engine_core::log::{Frontiers, TimeIndex};
use rustmq_engine_core::shard::{Leadership, TailBatch};
use rustmq_model::{Offset, Timestamp, TopicIdPartition};

use crate::waiter::{Awaited, FetchWaiter, WaiterList};

/// The batches of a partition that are in memory: an unbroken end of its log.
#[derive(Debug, Default)]
pub struct Tail {
    /// Every batch with an offset at or above this, and below the durable end, is in `batches`.
    from: Offset,
    batches: VecDeque<TailBatch>,
}

impl Tail {
    /// The batches with an offset of at least `from`, in order; `None` if that needs what is not in memory.
    pub fn batches_from(&self, from: Offset) -> Option<impl Iterator<Item = &TailBatch>> {
        let covered = from >= self.from || self.batches.front().is_some_and(|batch| batch.base <= from);
        let first = self.batches.partition_point(|batch| batch.next <= from);
        covered.then(|| self.batches.range(first..))
    }

    #[must_use]
    pub fn len(&self) -> usize {
        self.batches.len()
    }

    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }
}

/// Everything that changes together.
#[derive(Debug, Default)]
pub struct PartitionState {
    pub frontiers: Frontiers,
    pub leadership: Leadership,
    /// Bytes of the batches between log start and durable end.
    pub size_bytes: u64,
    pub tail: Tail,
    /// Over the durable batches.
    pub times: TimeIndex,
    pub closed: bool,
}

impl PartitionState {
    /// Adds batches that have become durable. They follow what the tail holds.
    pub fn extend_tail(&mut self, batches: impl IntoIterator<Item = TailBatch>) {
        let Self { tail, times, .. } = self;
        tail.batches.extend(batches.into_iter().inspect(|batch| {
            times.append(batch.base, batch.bytes.len(), batch.max_timestamp);
        }));
    }

    /// Forgets the batches up to and with the one at `last`; a reader that still holds one keeps its memory.
    pub fn evict_through(&mut self, last: Offset) {
        while let Some(batch) = self.tail.batches.pop_front_if(|batch| batch.base <= last) {
            self.tail.from = self.tail.from.max(batch.next);
        }
    }

    /// Starts an empty tail at `from`: nothing below it is in memory.
    pub fn reset_tail(&mut self, from: Offset) {
        self.tail = Tail { from, batches: VecDeque::new() };
    }

    /// The log was cut back, and its frontiers say to what.
    pub fn cut_tail(&mut self) {
        let left = self.frontiers.log_start..self.frontiers.durable_end;
        self.tail.batches.retain(|batch| batch.next > left.start && batch.next <= left.end);
        self.tail.from = self.tail.from.clamp(left.start, left.end);
    }

    /// Forgets batches that lie wholly below the log start.
    pub fn drop_below(&mut self, log_start: Offset) {
        while self.tail.batches.pop_front_if(|batch| batch.next <= log_start).is_some() {}
        self.tail.from = self.tail.from.max(log_start);
        self.times.trim(log_start);
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
    state: RwLock<PartitionState>,
    waiters: Mutex<WaiterList>,
}

impl Published {
    #[must_use]
    pub fn new(id: TopicIdPartition, state: PartitionState) -> Arc<Self> {
        Arc::new(Self { id, state: RwLock::new(state), waiters: Mutex::default() })
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
    use rustmq_model::{Offset, Timestamp};

    fn batch(base: i64, next: i64) -> TailBatch {
        TailBatch { base: Offset(base), next: Offset(next), max_timestamp: Timestamp(0), bytes: Bytes::new() }
    }

    fn bases(state: &PartitionState, from: i64) -> Option<Vec<i64>> {
        let batches = state.tail.batches_from(Offset(from))?;
        Some(batches.map(|batch| batch.base.0).collect())
    }

    #[test]
    fn a_tail_answers_only_what_it_holds_without_a_gap() {
        let mut state = PartitionState::default();
        state.reset_tail(Offset(10));
        assert_eq!(bases(&state, 9), None);
        assert_eq!(bases(&state, 10), Some(vec![]));
        state.extend_tail([batch(10, 15), batch(15, 16), batch(16, 20)]);
        assert_eq!(bases(&state, 9), None);
        assert_eq!(bases(&state, 12), Some(vec![10, 15, 16]));
        assert_eq!(bases(&state, 20), Some(vec![]));
        state.evict_through(Offset(10));
        assert_eq!(bases(&state, 14), None);
        assert_eq!(bases(&state, 15), Some(vec![15, 16]));
        state.evict_through(Offset(10));
        assert_eq!(bases(&state, 15), Some(vec![15, 16]), "what is gone is not evicted again");
        state.drop_below(Offset(18));
        assert_eq!(bases(&state, 17), Some(vec![16]), "a batch that the log start cuts stays");
        assert_eq!(bases(&state, 18), Some(vec![16]));
    }

    #[test]
    fn a_search_by_time_begins_after_batches_that_are_all_earlier_and_in_the_log() {
        let mut state = PartitionState { frontiers: Frontiers::at(Offset(100)), ..PartitionState::default() };
        state.frontiers.log_start = Offset(0);
        let large = Bytes::from(vec![0; 40 << 10]);
        state.extend_tail((0..100).map(|offset| TailBatch {
            max_timestamp: Timestamp(offset * 10),
            bytes: large.clone(),
            ..batch(offset, offset + 1)
        }));
        assert_eq!(state.search_from(Timestamp(505)), Offset(51));
        assert_eq!(state.search_largest_from(), Offset(98));
        state.frontiers.high_watermark = Offset(60);
        assert_eq!(state.search_largest_from(), Offset(59), "what lies above is not to be seen yet");
        state.evict_through(Offset(80));
        assert_eq!(state.search_from(Timestamp(505)), Offset(51), "memory has no part in it");
        state.frontiers.log_start = Offset(70);
        state.drop_below(Offset(70));
        assert_eq!(state.search_from(Timestamp(505)), Offset(70));
    }

    #[test]
    fn a_tail_that_was_cut_goes_on_with_what_takes_its_place() {
        let mut state = PartitionState::default();
        let mut cut = |log_start, end| {
            state.frontiers.log_start = Offset(log_start);
            state.frontiers.durable_end = Offset(end);
            state.cut_tail();
            let left = bases(&state, log_start);
            state.extend_tail([batch(end, end + 5)]);
            (left, bases(&state, end))
        };
        assert_eq!(cut(0, 10), (Some(vec![]), Some(vec![10])));
        assert_eq!(cut(0, 15), (Some(vec![10]), Some(vec![15])));
        assert_eq!(cut(0, 15), (Some(vec![10]), Some(vec![15])), "what followed is gone");
        assert_eq!(cut(12, 12), (Some(vec![]), Some(vec![12])), "nothing is left of a log that starts anew");
        assert_eq!(cut(90, 90), (Some(vec![]), Some(vec![90])));
        assert_eq!(cut(3, 3), (Some(vec![]), Some(vec![3])));
    }
}
