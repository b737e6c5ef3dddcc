//! Memory in vectors, with a budget, and what readers see of each partition in it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use rustmq_engine_core::log::Frontiers;
use rustmq_engine_core::shard::{Chunk, Memory, NoMemory, PartitionKey, ReaderMemory, TailBatch};
use rustmq_model::Offset;

use crate::{Chance, Dice};

#[derive(Clone, Copy, Debug)]
pub struct MemoryOptions {
    /// Chunks are as long as whole pieces.
    pub piece: usize,
    pub budget: usize,
    /// Of a chunk that is asked for: there is no memory for it.
    pub fails: Chance,
}

#[derive(Debug)]
pub struct NodeMemory {
    options: MemoryOptions,
    dice: Dice,
    /// Bytes of the chunks that somebody holds.
    held: Arc<AtomicUsize>,
    /// The batches in memory of partitions whose view is open.
    readable: BTreeMap<PartitionKey, VecDeque<TailBatch>>,
    pub evictions: usize,
    pub failures: usize,
}

impl NodeMemory {
    pub fn new(options: MemoryOptions, dice: Dice) -> Self {
        Self { options, dice, held: Arc::default(), readable: BTreeMap::new(), evictions: 0, failures: 0 }
    }

    pub fn show(&mut self, key: PartitionKey, batch: TailBatch) {
        self.readable.entry(key).or_default().push_back(batch);
    }

    /// The log starts there now.
    pub fn trim(&mut self, key: PartitionKey, log_start: Offset) {
        if let Some(batches) = self.readable.get_mut(&key) {
            while batches.pop_front_if(|batch| batch.next <= log_start).is_some() {}
        }
    }

    /// The log was cut back, and these are its frontiers.
    pub fn cut(&mut self, key: PartitionKey, frontiers: &Frontiers) {
        if let Some(batches) = self.readable.get_mut(&key) {
            batches.retain(|batch| batch.next > frontiers.log_start && batch.next <= frontiers.durable_end);
        }
    }

    pub fn close(&mut self, key: PartitionKey) {
        self.readable.remove(&key);
    }

    /// Batches of the partition from this offset on, as far as they are in memory.
    pub fn batches_from(&self, key: PartitionKey, from: Offset) -> impl Iterator<Item = &TailBatch> {
        self.readable.get(&key).into_iter().flatten().filter(move |batch| batch.next > from)
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
    fn evict(&mut self, key: PartitionKey, through: Offset) {
        let Some(batches) = self.readable.get_mut(&key) else { return };
        while batches.pop_front_if(|batch| batch.base <= through).is_some() {
            self.evictions += 1;
        }
    }
}

/// Its bytes count as long as somebody holds a part of the chunk.
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
