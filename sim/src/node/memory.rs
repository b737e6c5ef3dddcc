//! The memory of the simulated shard: vectors with a budget, and the view that readers have of each
//! partition.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use rustmq_engine_core::log::AbortedIndex;
use rustmq_engine_core::shard::{Chunk, Memory, NoMemory, PartitionKey, ReadableLog, ReaderMemory};
use rustmq_engine_core::wal::UnindexedSegments;
use rustmq_model::Offset;

use super::oracle::Moment;
use crate::{Chance, Rng};

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
    rng: Rng,
    /// The length of all chunks that are still referenced, in bytes.
    held: Arc<AtomicUsize>,
    frozen: Rc<RefCell<Frozen>>,
    /// The partitions with an open view.
    readable: BTreeMap<PartitionKey, ReadableLog>,
    aborted: BTreeMap<PartitionKey, AbortedIndex>,
    pub evictions: usize,
    pub failures: usize,
}

/// Notes when the machine fixes the bytes of each write. A group cannot name a commit that ended
/// later.
#[derive(Debug)]
struct Frozen {
    /// The newest commit of which the machine knows that it is durable.
    ended: Moment,
    /// Its value for each write that is fixed and that no commit has taken yet.
    writes: VecDeque<Moment>,
}

impl NodeMemory {
    pub fn new(options: MemoryOptions, rng: Rng, ended: Moment) -> Self {
        let frozen = Rc::new(RefCell::new(Frozen { ended, writes: VecDeque::new() }));
        let (readable, aborted) = (BTreeMap::new(), BTreeMap::new());
        Self { options, rng, held: Arc::default(), frozen, readable, aborted, evictions: 0, failures: 0 }
    }

    /// The machine knows that the log is durable up to this commit.
    pub fn on_ended(&self, ended: Moment) {
        self.frozen.borrow_mut().ended = ended;
    }

    /// The newest durable commit at the time when the bytes of the next write were fixed.
    pub fn take_frozen(&self) -> Moment {
        self.frozen
            .borrow_mut()
            .writes
            .pop_front()
            .expect("the machine writes bytes that it has frozen, in their order")
    }

    pub fn open(&mut self, key: PartitionKey, log: ReadableLog, aborted: AbortedIndex) {
        self.readable.insert(key, log);
        self.aborted.insert(key, aborted);
    }

    pub fn close(&mut self, key: PartitionKey) {
        self.readable.remove(&key);
        self.aborted.remove(&key);
    }

    /// The readers' view of a partition. Panics if the view is not open.
    pub fn log(&mut self, key: PartitionKey) -> &mut ReadableLog {
        self.readable.get_mut(&key).expect("the machine names only partitions with a view")
    }

    /// The aborted transactions that readers see. Panics if the view is not open.
    pub fn aborted(&mut self, key: PartitionKey) -> &mut AbortedIndex {
        self.aborted.get_mut(&key).expect("the machine names only partitions with a view")
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
        if self.rng.happens(self.options.fails) {
            self.failures += 1;
            return Err(NoMemory { length, os_error: None });
        }
        let length = length.next_multiple_of(self.options.piece);
        let held = Held { length, of: Arc::clone(&self.held) };
        self.held.fetch_add(length, Ordering::Relaxed);
        Ok(NodeChunk { open: vec![0xEE; length], held: Arc::new(held), frozen: Rc::clone(&self.frozen) })
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
    frozen: Rc<RefCell<Frozen>>,
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
        let mut frozen = self.frozen.borrow_mut();
        let ended = frozen.ended;
        frozen.writes.push_back(ended);
        let bytes = self.open.drain(..length).collect();
        Bytes::from_owner(Part { bytes, _held: Arc::clone(&self.held) })
    }
}
