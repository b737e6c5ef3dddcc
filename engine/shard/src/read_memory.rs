//! The memory for batches read from disk: one budget for all buffers, from filling them until
//! nobody holds them, be it for other readers (`window_cache`) or on the way to a client. So even
//! many slow clients hold no more than the budget. The queue decides which reads wait for memory,
//! and in which order.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use rustmq_engine_core::shard::NoMemory;
use rustmq_engine_memory::{ChunkPool, ChunkWriter};

use crate::read_queue::ReadQueue;

/// The granularity of buffer lengths, in bytes.
const BUFFER_MIN: usize = 512 << 10;
/// A read may take one part in this many of the memory, so that several reads progress at the same
/// time.
const READS_PER_BUDGET: usize = 8;

#[derive(Clone, Debug)]
pub(crate) struct ReadMemory(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: usize,
    state: Mutex<BudgetState>,
    /// Gets notified when memory is released.
    queue: Arc<ReadQueue>,
    /// The reserved bytes, for metrics.
    gauge: Gauge<u64, AtomicU64>,
}

#[derive(Debug)]
struct BudgetState {
    reserved: usize,
    /// Reuses buffers that nobody holds. Spare buffers count against the limit, too.
    pool: ChunkPool,
}

/// A part of the budget, released when it is dropped.
#[derive(Debug)]
struct Reservation {
    budget: Arc<Budget>,
    bytes: usize,
}

/// Aligned memory to read into.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    chunk: ChunkWriter,
    reservation: Reservation,
}

/// Bytes that count against the budget. The field order returns the memory before its reservation.
struct HeldBytes {
    bytes: Bytes,
    _reservation: Reservation,
}

impl ReadMemory {
    pub(crate) fn new(limit: usize, gauge: Gauge<u64, AtomicU64>, queue: Arc<ReadQueue>) -> Self {
        let state = BudgetState { reserved: 0, pool: ChunkPool::new(BUFFER_MIN, limit as u64) };
        Self(Arc::new(Budget { limit, state: Mutex::new(state), queue, gauge }))
    }

    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    /// The most that one read may take, in bytes.
    pub(crate) fn read_bytes_max(&self) -> usize {
        self.0.limit / READS_PER_BUDGET
    }

    /// A buffer of `length` bytes or more; `None` if the budget has no room. If nothing is
    /// reserved, a buffer may exceed the whole budget, because a single group may be larger.
    pub(crate) fn take(&self, length: usize) -> Result<Option<ReadBuffer>, NoMemory> {
        let length = length.max(1).next_multiple_of(BUFFER_MIN);
        let Some((reservation, pool)) = self.reserve(length) else { return Ok(None) };
        Ok(Some(ReadBuffer { chunk: ChunkWriter::new(length, &pool)?, reservation }))
    }

    /// A copy that counts against the budget, too; `None` if the budget has no room.
    pub(crate) fn copy(&self, parts: impl Iterator<Item = Bytes> + Clone) -> Option<Bytes> {
        let (reservation, _) = self.reserve(parts.clone().map(|part| part.len()).sum())?;
        let mut bytes = Vec::with_capacity(reservation.bytes);
        parts.for_each(|part| bytes.extend_from_slice(&part));
        Some(Bytes::from_owner(HeldBytes { bytes: bytes.into(), _reservation: reservation }))
    }

    fn reserve(&self, bytes: usize) -> Option<(Reservation, ChunkPool)> {
        let budget = &self.0;
        let mut state = budget.state.lock();
        if state.reserved > 0 && state.reserved + bytes > budget.limit {
            return None;
        }
        state.reserved += bytes;
        budget.gauge.set(state.reserved as u64);
        Some((Reservation { budget: Arc::clone(budget), bytes }, state.pool.clone()))
    }

    /// Returns spare buffers to the system. Returns whether nothing is reserved.
    pub(crate) fn release_spares(&self) -> bool {
        let state = self.0.state.lock();
        // A pool with a budget of zero keeps no spares.
        state.pool.set_budget(0);
        state.pool.set_budget(self.0.limit as u64);
        state.reserved == 0
    }
}

impl ReadBuffer {
    /// The whole buffer. It holds whatever an earlier use left in it.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.chunk.open_part()
    }

    /// The first `length` bytes, for any number of readers.
    pub(crate) fn freeze(mut self, length: usize) -> Bytes {
        Bytes::from_owner(HeldBytes { bytes: self.chunk.freeze(length), _reservation: self.reservation })
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let mut state = self.budget.state.lock();
        assert!(state.reserved >= self.bytes, "a reservation is released once");
        state.reserved -= self.bytes;
        self.budget.gauge.set(state.reserved as u64);
        drop(state);
        self.budget.queue.on_memory_freed();
    }
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

    use super::{BUFFER_MIN, ReadMemory};

    #[test]
    fn bytes_are_reserved_until_their_last_reader_drops_them() {
        let gauge = Gauge::default();
        let memory = ReadMemory::new(2 * BUFFER_MIN, gauge.clone(), Arc::default());
        let mut buffer = memory.take(1_000).unwrap().unwrap();
        buffer.room()[..6].copy_from_slice(b"onetwo");
        let bytes = buffer.freeze(6);
        let slice = bytes.slice(4..);
        drop(bytes);
        assert_eq!((gauge.get(), &slice[..]), (BUFFER_MIN as u64, b"wo".as_slice()));
        let copy = memory.copy([slice.clone(), Bytes::from_static(b"!")].into_iter()).unwrap();
        assert_eq!((gauge.get(), &copy[..]), (BUFFER_MIN as u64 + 3, b"wo!".as_slice()));
        assert!(memory.take(1_000).unwrap().is_none());
        drop(copy);
        assert!(memory.take(1_000).unwrap().is_some());
        drop(slice);
        assert!(memory.release_spares());
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_reserved_budget_refuses_and_a_free_one_grants_even_more_than_it_has() {
        let memory = ReadMemory::new(BUFFER_MIN, Gauge::default(), Arc::default());
        let large = memory.take(5 * BUFFER_MIN).unwrap().unwrap();
        assert!(memory.take(1).unwrap().is_none() && memory.copy([Bytes::from_static(b"x")].into_iter()).is_none());
        drop(large);
        assert!(memory.take(1).unwrap().is_some());
    }
}
