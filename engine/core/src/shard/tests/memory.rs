//! Memory in vectors, which tracks the holders of chunks and the batches that readers see.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use rustmq_model::Offset;

use crate::shard::{Chunk, Memory, NoMemory, PartitionKey, ReadableLog, ReaderMemory, TailBatch};
use crate::wal::UnindexedSegments;

/// The readers' view of a partition.
#[derive(Debug, Default)]
pub struct Readable {
    pub log: ReadableLog,
    /// The newest batch ever published.
    newest: Option<Offset>,
}

impl Readable {
    pub fn of(log: ReadableLog) -> Self {
        Self { log, newest: None }
    }

    pub fn in_memory(&self) -> impl Iterator<Item = &TailBatch> {
        self.log.batches_from(self.log.tail_from()).into_iter().flatten()
    }

    pub fn show(&mut self, batch: TailBatch) {
        self.newest = Some(batch.base);
        self.log.extend([batch]);
    }
}

#[derive(Debug)]
pub struct VecMemory {
    /// The length of a chunk is a multiple of this.
    pub piece: usize,
    pub budget: usize,
    /// The number of chunks taken before one allocation fails.
    pub fails_after: Option<usize>,
    /// The most bytes that were held at one time.
    pub most: usize,
    /// The views of open partitions.
    pub readable: BTreeMap<PartitionKey, Readable>,
    pub evicted: Vec<(PartitionKey, Offset)>,
    /// The length of each chunk, and whether it is held.
    chunks: Vec<(usize, Weak<()>)>,
}

impl VecMemory {
    pub const fn new(piece: usize, budget: usize) -> Self {
        Self {
            piece,
            budget,
            fails_after: None,
            most: 0,
            readable: BTreeMap::new(),
            evicted: Vec::new(),
            chunks: Vec::new(),
        }
    }

    /// The number of chunks taken so far.
    pub fn taken(&self) -> usize {
        self.chunks.len()
    }

    /// The bytes of all held chunks.
    pub fn living(&self) -> usize {
        self.chunks.iter().filter(|(_, held)| held.strong_count() > 0).map(|(length, _)| length).sum()
    }
}

impl Memory for VecMemory {
    type Chunk = VecChunk;

    fn take(&mut self, length: usize) -> Result<VecChunk, NoMemory> {
        if self.fails_after.take_if(|after| *after == self.chunks.len()).is_some() {
            return Err(NoMemory { length, os_error: None });
        }
        let (held, length) = (Arc::new(()), length.next_multiple_of(self.piece));
        self.chunks.push((length, Arc::downgrade(&held)));
        self.most = self.most.max(self.living());
        Ok(VecChunk { open: vec![0xEE; length], held })
    }

    fn is_short_of(&self, length: usize) -> bool {
        self.living() + length.next_multiple_of(self.piece) > self.budget
    }
}

impl ReaderMemory for VecMemory {
    fn evict(&mut self, key: PartitionKey, through: Offset, unindexed: &UnindexedSegments) {
        self.evicted.push((key, through));
        let Some(readable) = self.readable.get_mut(&key) else { return };
        assert!(readable.newest >= Some(through), "{key:?}: offset {through} is evicted before it is published");
        readable.log.evict_through(through, unindexed);
        readable.log.check_invariants();
    }
}

#[derive(Debug)]
pub struct VecChunk {
    open: Vec<u8>,
    held: Arc<()>,
}

struct VecSlice {
    bytes: Vec<u8>,
    _held: Arc<()>,
}

impl AsRef<[u8]> for VecSlice {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Chunk for VecChunk {
    fn room(&self) -> usize {
        self.open.len()
    }

    fn open_part(&mut self) -> &mut [u8] {
        &mut self.open
    }

    fn freeze(&mut self, length: usize) -> Bytes {
        let bytes = self.open.drain(..length).collect();
        Bytes::from_owner(VecSlice { bytes, _held: Arc::clone(&self.held) })
    }
}
