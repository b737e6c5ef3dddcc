//! The memory that batches read from disk take until they are sent. A read asks first; what it finds is counted until its last reader lets
//! go of it. So a slow client, or many, hold no more than the budget. Who waits for memory, and in what order, is the queue's matter.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;

use crate::read_queue::ReadQueue;

#[derive(Clone, Debug)]
pub(crate) struct ReadMemory(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: usize,
    held: Mutex<usize>,
    /// Hears of what is given back.
    queue: Arc<ReadQueue>,
    /// What is held, for whoever watches.
    gauge: Gauge<u64, AtomicU64>,
}

impl Budget {
    /// Changes what is held from one share's bytes to others.
    fn change(&self, from: usize, to: usize) {
        let mut held = self.held.lock();
        *held = *held - from + to;
        self.gauge.set(*held as u64);
        drop(held);
        if to < from {
            self.queue.on_room();
        }
    }
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct ReadShare {
    budget: Arc<Budget>,
    bytes: usize,
}

impl ReadMemory {
    pub(crate) fn new(limit: usize, gauge: Gauge<u64, AtomicU64>, queue: Arc<ReadQueue>) -> Self {
        Self(Arc::new(Budget { limit, held: Mutex::default(), queue, gauge }))
    }

    /// What one read may take of the budget, so that several can go on at once.
    pub(crate) fn read_bytes_max(&self) -> usize {
        self.0.limit / 8
    }

    /// `None` without room. More than the whole budget is given when nothing else is held: a single batch may be larger.
    pub(crate) fn take(&self, bytes: usize) -> Option<ReadShare> {
        let budget = &self.0;
        let mut held = budget.held.lock();
        if *held > 0 && *held + bytes > budget.limit {
            return None;
        }
        *held += bytes;
        budget.gauge.set(*held as u64);
        Some(ReadShare { budget: Arc::clone(budget), bytes })
    }
}

impl ReadShare {
    /// The read held this much in the end. More than asked for is not waited for: it is there already.
    pub(crate) fn settle(&mut self, bytes: usize) {
        self.budget.change(self.bytes, bytes);
        self.bytes = bytes;
    }

    /// Batches that hold the share together, until the last of them is dropped.
    pub(crate) fn hold(self, batches: Vec<Bytes>) -> Vec<Bytes> {
        let share = Arc::new(self);
        let held = |bytes| Bytes::from_owner(HeldBytes { bytes, _share: Arc::clone(&share) });
        batches.into_iter().map(held).collect()
    }
}

impl Drop for ReadShare {
    fn drop(&mut self) {
        self.budget.change(self.bytes, 0);
    }
}

struct HeldBytes {
    bytes: Bytes,
    _share: Arc<ReadShare>,
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;

    use bytes::Bytes;
    use prometheus_client::metrics::gauge::Gauge;

    use super::ReadMemory;

    #[test]
    fn what_was_read_is_counted_until_its_last_reader_lets_go() {
        let gauge = Gauge::default();
        let memory = ReadMemory::new(1_000, gauge.clone(), Arc::default());
        let mut share = memory.take(900).unwrap();
        share.settle(600);
        let batches = share.hold(vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")]);
        assert_eq!(gauge.get(), 600);
        let slice = batches[1].slice(1..);
        drop(batches);
        assert_eq!((gauge.get(), &slice[..]), (600, b"wo".as_slice()));
        assert!(memory.take(500).is_none());
        drop(slice);
        assert!(memory.take(500).is_some());
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_budget_that_is_held_refuses_and_a_free_one_gives_even_more_than_it_has() {
        let memory = ReadMemory::new(1_000, Gauge::default(), Arc::default());
        let large = memory.take(5_000).unwrap();
        assert!(memory.take(1).is_none());
        drop(large);
        assert!(memory.take(1).is_some());
    }
}
