//! The memory of what is read from disk: one budget for all buffers, from when they are filled until nobody holds them, whether for other
//! readers (`window_cache`) or on the way to a client. So a slow client, or many, hold no more than the budget. Who waits for memory, and in
//! what order, is the queue's matter.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use bytes::Bytes;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use rustmq_engine_api::chunk::{ChunkPool, ChunkWriter};
use rustmq_engine_core::shard::NoMemory;

use crate::read_queue::ReadQueue;

/// Lengths of buffers are multiples of this.
const BUFFER_MIN: usize = 512 << 10;
/// What one read may take of the memory, so that several can go on at once.
const READ_PART: usize = 8;

#[derive(Clone, Debug)]
pub(crate) struct ReadMemory(Arc<Budget>);

#[derive(Debug)]
struct Budget {
    limit: usize,
    holdings: Mutex<Holdings>,
    /// Hears of what is given back.
    queue: Arc<ReadQueue>,
    /// What is held, for whoever watches.
    gauge: Gauge<u64, AtomicU64>,
}

#[derive(Debug)]
struct Holdings {
    bytes: usize,
    /// Where buffers that nobody holds are used again: with its spare ones it stays within the limit.
    pool: ChunkPool,
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

/// Aligned memory to read into.
#[derive(Debug)]
pub(crate) struct ReadBuffer {
    chunk: ChunkWriter,
    share: Share,
}

/// The memory goes back before the share of it.
struct HeldBytes {
    bytes: Bytes,
    _share: Share,
}

impl ReadMemory {
    pub(crate) fn new(limit: usize, gauge: Gauge<u64, AtomicU64>, queue: Arc<ReadQueue>) -> Self {
        let holdings = Holdings { bytes: 0, pool: ChunkPool::new(BUFFER_MIN, limit as u64) };
        Self(Arc::new(Budget { limit, holdings: Mutex::new(holdings), queue, gauge }))
    }

    pub(crate) fn limit(&self) -> usize {
        self.0.limit
    }

    /// What one read may take at most.
    pub(crate) fn read_bytes_max(&self) -> usize {
        self.0.limit / READ_PART
    }

    /// A buffer of `length` bytes or more; `None` without room. More than the whole budget is given when nothing else is held: a single group
    /// may be larger.
    pub(crate) fn take(&self, length: usize) -> Result<Option<ReadBuffer>, NoMemory> {
        let length = length.max(1).next_multiple_of(BUFFER_MIN);
        let Some((share, pool)) = self.share(length) else { return Ok(None) };
        Ok(Some(ReadBuffer { chunk: ChunkWriter::new(length, &pool)?, share }))
    }

    /// A copy that is counted too; `None` without room.
    pub(crate) fn copy(&self, parts: impl Iterator<Item = Bytes> + Clone) -> Option<Bytes> {
        let (share, _) = self.share(parts.clone().map(|part| part.len()).sum())?;
        let mut bytes = Vec::with_capacity(share.bytes);
        parts.for_each(|part| bytes.extend_from_slice(&part));
        Some(Bytes::from_owner(HeldBytes { bytes: bytes.into(), _share: share }))
    }

    fn share(&self, bytes: usize) -> Option<(Share, ChunkPool)> {
        let budget = &self.0;
        let mut holdings = budget.holdings.lock();
        if holdings.bytes > 0 && holdings.bytes + bytes > budget.limit {
            return None;
        }
        holdings.bytes += bytes;
        budget.gauge.set(holdings.bytes as u64);
        Some((Share { budget: Arc::clone(budget), bytes }, holdings.pool.clone()))
    }

    /// Gives spare buffers back to the system. Whether nothing is held.
    pub(crate) fn give_up_spares(&self) -> bool {
        let holdings = self.0.holdings.lock();
        // A budget of nothing keeps no spares.
        holdings.pool.set_budget(0);
        holdings.pool.set_budget(self.0.limit as u64);
        holdings.bytes == 0
    }
}

impl ReadBuffer {
    /// All of it, with whatever an earlier use left there.
    pub(crate) fn room(&mut self) -> &mut [u8] {
        self.chunk.open_part()
    }

    /// Its first `length` bytes, for any number of readers.
    pub(crate) fn freeze(mut self, length: usize) -> Bytes {
        Bytes::from_owner(HeldBytes { bytes: self.chunk.freeze(length), _share: self.share })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut holdings = self.budget.holdings.lock();
        holdings.bytes -= self.bytes;
        self.budget.gauge.set(holdings.bytes as u64);
        drop(holdings);
        self.budget.queue.on_room();
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
    fn what_was_read_is_counted_until_its_last_reader_lets_go() {
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
        assert!(memory.give_up_spares());
        assert_eq!(gauge.get(), 0);
    }

    #[test]
    fn a_budget_that_is_held_refuses_and_a_free_one_gives_even_more_than_it_has() {
        let memory = ReadMemory::new(BUFFER_MIN, Gauge::default(), Arc::default());
        let large = memory.take(5 * BUFFER_MIN).unwrap().unwrap();
        assert!(memory.take(1).unwrap().is_none() && memory.copy([Bytes::from_static(b"x")].into_iter()).is_none());
        drop(large);
        assert!(memory.take(1).unwrap().is_some());
    }
}
