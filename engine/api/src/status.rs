//! The engine's figures for metrics, the banner and `DescribeLogDirs`. Any thread may read them at
//! any time.

use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStatus {
    pub shards: Vec<ShardStatus>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardStatus {
    /// Size of the WAL's slot files, spare slots included, in bytes.
    pub wal_bytes: u64,
    /// Size of the segments in use, in bytes.
    pub wal_used_bytes: u64,
    pub wal_capacity_bytes: u64,
    /// Size of the chunks that have owners, in bytes. Includes evicted chunks that readers still
    /// hold.
    pub tail_memory_bytes: u64,
    /// The budget for chunks, in bytes.
    pub tail_memory_budget_bytes: u64,
    /// Memory that the pool keeps for the next chunks, in bytes.
    pub tail_memory_spare_bytes: u64,
    /// Memory that the system has mapped for chunks since the start, in bytes.
    pub tail_memory_mapped_bytes: u64,
    pub partitions: u64,
    /// Why the shard has failed for good: a write or a sync failed, or one of its threads panicked.
    /// A poisoned shard acknowledges nothing more.
    pub poisoned: Option<String>,
    /// The WAL is full: appends are refused until space is freed.
    pub full: bool,
}

/// Where an [`crate::Engine`] asks for the figures of one shard.
pub trait ShardFigures: Debug + Send + Sync {
    fn status(&self) -> ShardStatus;

    /// Receives the reason when the shard fails for good.
    fn watch_poisoned(&self) -> watch::Receiver<Option<String>>;
}

/// The memory of a shard's recent batches. Readers release it on their own threads, so its figures
/// are taken when they are asked for.
pub trait TailMemory: Debug + Send + Sync {
    fn usage(&self) -> TailMemoryUsage;
}

/// As in [`ShardStatus`], in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TailMemoryUsage {
    pub budget: u64,
    /// The chunks that have owners.
    pub live: u64,
    /// Kept for the next chunks.
    pub spare: u64,
    /// Mapped by the system since the start.
    pub mapped: u64,
}

/// One shard's current figures, which the shard updates.
#[derive(Debug)]
pub struct ShardGauges<M> {
    pub wal_bytes: AtomicU64,
    pub wal_used_bytes: AtomicU64,
    pub wal_capacity_bytes: AtomicU64,
    pub partitions: AtomicU64,
    pub full: AtomicBool,
    poisoned: watch::Sender<Option<String>>,
    memory: M,
}

impl<M: TailMemory> ShardGauges<M> {
    #[must_use]
    pub fn new(memory: M) -> Self {
        Self {
            wal_bytes: AtomicU64::default(),
            wal_used_bytes: AtomicU64::default(),
            wal_capacity_bytes: AtomicU64::default(),
            partitions: AtomicU64::default(),
            full: AtomicBool::default(),
            poisoned: watch::Sender::default(),
            memory,
        }
    }

    /// Marks the shard as failed for good. Keeps the first reason: later failures follow from it.
    pub fn poison(&self, reason: &str) {
        self.poisoned.send_if_modified(|poisoned| {
            let is_first = poisoned.is_none();
            poisoned.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }
}

impl<M: TailMemory> ShardFigures for ShardGauges<M> {
    fn status(&self) -> ShardStatus {
        let load = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        let TailMemoryUsage { budget, live, spare, mapped } = self.memory.usage();
        ShardStatus {
            wal_bytes: load(&self.wal_bytes),
            wal_used_bytes: load(&self.wal_used_bytes),
            wal_capacity_bytes: load(&self.wal_capacity_bytes),
            tail_memory_bytes: live,
            tail_memory_budget_bytes: budget,
            tail_memory_spare_bytes: spare,
            tail_memory_mapped_bytes: mapped,
            partitions: load(&self.partitions),
            poisoned: self.poisoned.borrow().clone(),
            full: self.full.load(Ordering::Relaxed),
        }
    }

    fn watch_poisoned(&self) -> watch::Receiver<Option<String>> {
        self.poisoned.subscribe()
    }
}
