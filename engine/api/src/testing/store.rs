//! The durable batches of a shard, in a map instead of a disk. Reads of batches that have left
//! memory have a budget, and wait for it in their order.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rustmq_engine_core::shard::error::ReadError;
use rustmq_engine_core::shard::request::ColdRead;
use rustmq_engine_core::shard::{PartitionKey, TailBatch};
use rustmq_model::{Offset, TopicIdPartition};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use crate::read::ReadBatches;
use crate::request::{DiskRead, DiskReads, Submitted};

/// The durable batches of one shard.
#[derive(Clone, Debug)]
pub(super) struct BatchStore {
    logs: Arc<Mutex<Logs>>,
    memory: ReadMemory,
}

#[derive(Debug, Default)]
struct Logs {
    /// The batches of each partition, by their base offsets.
    batches: BTreeMap<PartitionKey, BTreeMap<Offset, Batch>>,
    keys: BTreeMap<TopicIdPartition, PartitionKey>,
}

#[derive(Debug)]
struct Batch {
    next: Offset,
    bytes: Bytes,
}

/// The memory that reads may hold, over all shards.
#[derive(Clone, Debug)]
pub(super) struct ReadMemory {
    /// A permit for each byte.
    free: Arc<Semaphore>,
    bytes: usize,
}

impl ReadMemory {
    pub(super) fn new(bytes: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(bytes)), bytes }
    }
}

impl BatchStore {
    pub(super) fn new(memory: ReadMemory) -> Self {
        Self { logs: Arc::default(), memory }
    }

    /// A partition was opened. Its id may be that of one which is not closed yet.
    pub(super) fn create(&self, id: TopicIdPartition, key: PartitionKey) {
        let mut logs = self.logs.lock();
        logs.keys.insert(id, key);
        logs.batches.insert(key, BTreeMap::new());
    }

    pub(super) fn remove(&self, key: PartitionKey) {
        let mut logs = self.logs.lock();
        logs.batches.remove(&key);
        logs.keys.retain(|_, other| *other != key);
    }

    /// Keeps copies: the memory of the originals is needed again.
    pub(super) fn append<'a>(&self, key: PartitionKey, batches: impl Iterator<Item = &'a TailBatch>) {
        let mut logs = self.logs.lock();
        let log = logs.batches.get_mut(&key).expect("a partition is created before its batches come");
        log.extend(batches.map(|batch| {
            let bytes = Bytes::copy_from_slice(&batch.bytes);
            (batch.base, Batch { next: batch.next, bytes })
        }));
    }

    pub(super) fn trim(&self, key: PartitionKey, log_start: Offset) {
        let mut logs = self.logs.lock();
        let log = logs.batches.get_mut(&key).expect("a partition is created before it is trimmed");
        while let Some(first) = log.first_entry()
            && first.get().next <= log_start
        {
            first.remove();
        }
    }

    /// The batches of a read. `None` if the partition is gone.
    pub(super) fn read(&self, read: &ColdRead) -> Option<Vec<Bytes>> {
        let logs = self.logs.lock();
        let log = logs.batches.get(logs.keys.get(&read.id)?)?;
        let before = log.range(..=read.from).next_back().map_or(read.from, |(base, _)| *base);
        let wanted = log.range(before..).map(|(_, batch)| batch).skip_while(|batch| batch.next <= read.from);
        let mut found: Vec<Bytes> = Vec::new();
        let mut room = read.max_bytes.min(self.memory.bytes / 2);
        for Batch { bytes, .. } in wanted.take_while(|batch| batch.next <= read.until) {
            let is_first = read.at_least_one && found.is_empty();
            if bytes.len() > room && !is_first {
                break;
            }
            room = room.saturating_sub(bytes.len());
            found.push(bytes.clone());
        }
        Some(found)
    }

    async fn answer(&self, read: &ColdRead, deadline: Instant) -> Result<ReadBatches, ReadError> {
        let found = self.read(read).ok_or(ReadError::Closed)?;
        let bytes = found.iter().map(Bytes::len).sum::<usize>().min(self.memory.bytes);
        let bytes = u32::try_from(bytes).expect("a read is far below 4 GiB");
        let memory = Arc::clone(&self.memory.free);
        let held = if read.at_least_one {
            timeout_at(deadline, memory.acquire_many_owned(bytes)).await.map_err(|_| ReadError::Busy)?
        } else {
            match memory.try_acquire_many_owned(bytes) {
                Ok(held) => Ok(held),
                Err(_) => return Ok(ReadBatches::default()),
            }
        };
        let held = Arc::new(held.map_err(|_| ReadError::Closed)?);
        let hold = |bytes| Bytes::from_owner(Part { bytes, _held: Arc::clone(&held) });
        Ok(ReadBatches { batches: found.into_iter().map(hold).collect(), ..ReadBatches::default() })
    }
}

impl DiskReads for BatchStore {
    fn submit(&self, read: Box<DiskRead>) -> Submitted {
        let store = self.clone();
        tokio::spawn(async move {
            let DiskRead { read, deadline, permit, reply, .. } = *read;
            let answer = store.answer(&read, Instant::from_std(deadline)).await;
            drop(permit);
            // The reader may have gone.
            let _ = reply.send(answer);
        });
        Submitted::Taken
    }
}

/// A batch that was read. The last one of a read releases its memory.
struct Part {
    bytes: Bytes,
    _held: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Part {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}
