//! An engine without files and threads: the real machine of a shard decides, in a task of the
//! runtime that starts it. Nothing outlives the process, so there is no recovery: a broker can
//! start again on the same engine, the engine itself cannot.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use rustmq_model::ByteSize;
use tokio::sync::{Semaphore, mpsc, watch};

use super::heap::HeapMemory;
use super::shard::{InMemoryShard, ShardParts};
use super::store::{BatchStore, ReadMemory};
use crate::engine::{Directory, Engine};
use crate::shard_handle::ShardHandle;
use crate::status::ShardGauges;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InMemoryOptions {
    pub shards: usize,
    /// The capacity of a shard's write-ahead log. At least 24 MiB.
    pub capacity: ByteSize,
    /// The memory of a shard's recent batches. Older ones are read as from a disk.
    pub tail_memory: ByteSize,
    /// The memory that reads of older batches may hold, over all shards.
    pub read_memory: ByteSize,
    /// The most reads of older batches under way.
    pub reads_max: usize,
    /// How often a shard checks retention and the expiry of producers.
    pub retention_interval: Duration,
    /// Requests that wait for a shard; senders wait for room.
    pub inbox: usize,
}

impl Default for InMemoryOptions {
    fn default() -> Self {
        Self {
            shards: 1,
            capacity: ByteSize::gib(16),
            tail_memory: ByteSize::mib(64),
            read_memory: ByteSize::mib(64),
            reads_max: 256,
            retention_interval: Duration::from_secs(30),
            inbox: 1024,
        }
    }
}

/// The behaviour of commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Device {
    /// They end in the next step of the shard's task.
    Working,
    /// They do not end, as on a disk that stalls.
    Stalled,
    /// They fail.
    Broken,
}

/// A running engine, which dereferences to its [`Engine`], with switches for its device.
#[derive(Debug)]
pub struct InMemoryEngine {
    engine: Engine,
    device: watch::Sender<Device>,
}

impl InMemoryEngine {
    /// Starts the shards' tasks on the current runtime, which needs its timer. They end with
    /// [`Engine::shutdown`], or with the last handle.
    #[must_use]
    pub fn start(options: InMemoryOptions) -> Self {
        let (device, _) = watch::channel(Device::Working);
        let directory = Arc::new(Directory::default());
        let read_permits = Arc::new(Semaphore::new(options.reads_max.max(1)));
        let read_memory = usize::try_from(options.read_memory.0).expect("memory fits in an address space");
        let read_memory = ReadMemory::new(read_memory);
        let handles = (0..options.shards.max(1)).map(|number| {
            let (inbox, requests) = mpsc::channel(options.inbox.max(1));
            let memory = HeapMemory::new(options.tail_memory.0);
            let gauges = Arc::new(ShardGauges::new(memory.clone()));
            let parts = ShardParts {
                number,
                options,
                memory,
                store: BatchStore::new(read_memory.clone()),
                directory: Arc::clone(&directory),
                gauges: Arc::clone(&gauges),
                requests,
                device: device.subscribe(),
            };
            tokio::spawn(InMemoryShard::new(parts).run());
            ShardHandle { inbox, read_permits: Arc::clone(&read_permits), figures: gauges }
        });
        Self { engine: Engine::new(handles.collect(), Arc::clone(&directory)), device }
    }

    /// From now on no commit ends, until [`Self::resume`].
    pub fn stall(&self) {
        self.device.send_replace(Device::Stalled);
    }

    pub fn resume(&self) {
        self.device.send_replace(Device::Working);
    }

    /// From now on commits fail, also those that are stalled. The first one ends its shard's
    /// appends for good.
    pub fn break_device(&self) {
        self.device.send_replace(Device::Broken);
    }
}

impl Deref for InMemoryEngine {
    type Target = Engine;

    fn deref(&self) -> &Engine {
        &self.engine
    }
}
