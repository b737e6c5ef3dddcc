//! The memory that batches read from disk take until they are sent. A read asks first; what it finds is counted until its last reader lets
//! go of it. So a slow client, or many, hold no more than the budget, and other reads wait or are told to come again.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use prometheus_client::metrics::gauge::Gauge;

#[derive(Clone, Debug)]
pub(crate) struct ReadMemory(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: usize,
    held: Mutex<usize>,
    released: Condvar,
    /// What is held, for whoever watches.
    gauge: Gauge<u64, AtomicU64>,
}

impl Budget {
    /// Changes what is held from one share's bytes to others.
    fn change(&self, held: &mut usize, from: usize, to: usize) {
        *held = *held - from + to;
        self.gauge.set(*held as u64);
        if to < from {
            self.released.notify_all();
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
    pub(crate) fn new(limit: usize, gauge: Gauge<u64, AtomicU64>) -> Self {
        Self(Arc::new(Budget { limit, held: Mutex::default(), released: Condvar::new(), gauge }))
    }

    /// What one read may take of the budget, so that several can go on at once.
    pub(crate) fn read_bytes_max(&self) -> usize {
        self.0.limit / 8
    }

    /// Waits until there is room, for as long as `patience`. More than the whole budget is given when nothing else is held: a single batch may be larger.
    pub(crate) fn take(&self, bytes: usize, patience: Duration) -> Option<ReadShare> {
        let budget = &self.0;
        let mut held = budget.held.lock();
        let is_taken = |held: &mut usize| *held > 0 && *held + bytes > budget.limit;
        if is_taken(&mut held) && budget.released.wait_while_for(&mut held, is_taken, patience).timed_out() {
            return None;
        }
        budget.change(&mut held, 0, bytes);
        Some(ReadShare { budget: Arc::clone(budget), bytes })
    }
}

impl ReadShare {
    /// The read held this much in the end. More than asked for is not waited for: it is there already.
    pub(crate) fn settle(&mut self, bytes: usize) {
        self.budget.change(&mut self.budget.held.lock(), self.bytes, bytes);
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
        self.budget.change(&mut self.budget.held.lock(), self.bytes, 0);
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

    use std::time::Duration;

    use bytes::Bytes;

    use prometheus_client::metrics::gauge::Gauge;

    use super::ReadMemory;

    #[test]
    fn what_was_read_is_counted_until_its_last_reader_lets_go() {
        let gauge = Gauge::default();
        let memory = ReadMemory::new(1_000, gauge.clone());
        let mut share = memory.take(900, Duration::ZERO).unwrap();
        share.settle(600);
        let batches = share.hold(vec![Bytes::from_static(b"one"), Bytes::from_static(b"two")]);
        assert_eq!(gauge.get(), 600);
        let slice = batches[1].slice(1..);
        drop(batches);
        assert_eq!((gauge.get(), &slice[..]), (600, b"wo".as_slice()));
        let waiting = std::thread::spawn(move || memory.take(500, Duration::from_secs(60)).is_some());
        drop(slice);
        assert!(waiting.join().unwrap(), "the waiting read goes on once there is room");
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_budget_that_is_held_refuses_and_a_free_one_takes_even_more_than_it_has() {
        let memory = ReadMemory::new(1_000, Gauge::default());
        let large = memory.take(5_000, Duration::ZERO).unwrap();
        assert!(memory.take(1, Duration::from_millis(1)).is_none());
        drop(large);
        assert!(memory.take(1, Duration::ZERO).is_some());
    }
}
