//! Heap memory for recent batches, with a budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};
use rustmq_engine_core::shard::{Chunk, Memory, NoMemory};

use crate::status::{TailMemory, TailMemoryUsage};

/// The length of a chunk is a multiple of this, in bytes.
const PIECE: usize = 16 << 10;

#[derive(Clone, Debug)]
pub(super) struct HeapMemory(Arc<Figures>);

/// In bytes.
#[derive(Debug)]
struct Figures {
    budget: u64,
    /// Chunks of which a part is still referenced.
    live: AtomicU64,
    taken: AtomicU64,
}

impl HeapMemory {
    pub(super) fn new(budget: u64) -> Self {
        Self(Arc::new(Figures { budget, live: AtomicU64::new(0), taken: AtomicU64::new(0) }))
    }
}

impl TailMemory for HeapMemory {
    fn usage(&self) -> TailMemoryUsage {
        let (live, taken) = (self.0.live.load(Ordering::Relaxed), self.0.taken.load(Ordering::Relaxed));
        TailMemoryUsage { budget: self.0.budget, live, spare: 0, mapped: taken }
    }
}

impl Memory for HeapMemory {
    type Chunk = HeapChunk;

    fn take(&mut self, length: usize) -> Result<HeapChunk, NoMemory> {
        let length = length.max(1).next_multiple_of(PIECE);
        self.0.live.fetch_add(length as u64, Ordering::Relaxed);
        self.0.taken.fetch_add(length as u64, Ordering::Relaxed);
        let held = Arc::new(Held { length: length as u64, figures: Arc::clone(&self.0) });
        Ok(HeapChunk { open: BytesMut::zeroed(length), held })
    }

    fn is_short_of(&self, length: usize) -> bool {
        self.0.live.load(Ordering::Relaxed) + length.next_multiple_of(PIECE) as u64 > self.0.budget
    }
}

/// Counts a chunk as live until nobody references a part of it.
#[derive(Debug)]
struct Held {
    length: u64,
    figures: Arc<Figures>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.figures.live.fetch_sub(self.length, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(super) struct HeapChunk {
    open: BytesMut,
    held: Arc<Held>,
}

/// A frozen part of a chunk.
struct Part {
    bytes: Bytes,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Chunk for HeapChunk {
    fn room(&self) -> usize {
        self.open.len()
    }

    fn open_part(&mut self) -> &mut [u8] {
        &mut self.open
    }

    fn freeze(&mut self, length: usize) -> Bytes {
        let bytes = self.open.split_to(length).freeze();
        Bytes::from_owner(Part { bytes, _held: Arc::clone(&self.held) })
    }
}
