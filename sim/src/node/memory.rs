//! The memory of the simulated shard: vectors with a budget, and the view that readers have of each
//! partition.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use rustmq_engine_core::shard::{Chunk, Memory, NoMemory, PartitionKey, ReadableLog, ReaderMemory};
use rustmq_engine_core::wal::UnindexedSegments;
use rustmq_model::Offset;

use crate::{Chance, Dice};

#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// The length of a chunk is a multiple of this, in bytes.
    pub piece: usize,
    pub budget: usize,
    /// For each chunk: there is no memory for it.
    pub fails: Chance,
}

#[derive(Debug)]
pub struct NodeMemory {
    options: MemoryOptions,
    dice: Dice,
    /// The length of all chunks that are still referenced, in bytes.
    held: Arc<AtomicUsize>,
    /// The partitions with an open view.
    readable: BTreeMap<PartitionKey, ReadableLog>,
    pub evictions: usize,
    pub failures: usize,
}

impl NodeMemory {
    pub fn new(options: MemoryOptions, dice: Dice) -> Self {
        Self { options, dice, held: Arc::default(), readable: BTreeMap::new(), evictions: 0, failures: 0 }
    }

    pub fn open(&mut self, key: PartitionKey, log: ReadableLog) {
        self.readable.insert(key, log);
    }

    pub fn close(&mut self, key: PartitionKey) {
        self.readable.remove(&key);
    }

    /// The readers' view of a partition. Panics if the view is not open.
    pub fn log(&mut self, key: PartitionKey) -> &mut ReadableLog {
        self.readable.get_mut(&key).expect("the machine names only partitions with a view")
    }

    /// The readers' views of all partitions.
    pub fn logs(&self) -> impl Iterator<Item = (PartitionKey, &ReadableLog)> {
        self.readable.iter().map(|(key, log)| (*key, log))
    }

    /// The readers' view of a partition, if it is still open.
    pub fn find(&self, key: PartitionKey) -> Option<&ReadableLog> {
        self.readable.get(&key)
    }
}

impl Memory for NodeMemory {
    type Chunk = NodeChunk;

    fn take(&mut self, length: usize) -> Result<NodeChunk, NoMemory> {
        if self.dice.happens(self.options.fails) {
            self.failures += 1;
            return Err(NoMemory { length, os_error: None });
        }
        let length = length.next_multiple_of(self.options.piece);
        let held = Held { length, of: Arc::clone(&self.held) };
        self.held.fetch_add(length, Ordering::Relaxed);
        Ok(NodeChunk { open: vec![0xEE; length], held: Arc::new(held) })
    }

    fn is_short_of(&self, length: usize) -> bool {
        let wanted = length.next_multiple_of(self.options.piece);
        self.held.load(Ordering::Relaxed) + wanted > self.options.budget
    }
}

impl ReaderMemory for NodeMemory {
    fn evict(&mut self, key: PartitionKey, through: Offset, unindexed: &UnindexedSegments) {
        let Some(log) = self.readable.get_mut(&key) else { return };
        let before = log.tail_length();
        log.evict_through(through, unindexed);
        self.evictions += before - log.tail_length();
    }
}

/// Counts a chunk's bytes until nobody references a part of the chunk.
#[derive(Debug)]
struct Held {
    length: usize,
    of: Arc<AtomicUsize>,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.of.fetch_sub(self.length, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub struct NodeChunk {
    open: Vec<u8>,
    held: Arc<Held>,
}

struct Part {
    bytes: Vec<u8>,
    _held: Arc<Held>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Chunk for NodeChunk {
    fn room(&self) -> usize {
        self.open.len()
    }

    fn open_part(&mut self) -> &mut [u8] {
        &mut self.open
    }

    fn freeze(&mut self, length: usize) -> Bytes {
        let bytes = self.open.drain(..length).collect();
        Bytes::from_owner(Part { bytes, _held: Arc::clone(&self.held) })
    }
}
