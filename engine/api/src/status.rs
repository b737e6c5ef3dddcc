//! The engine's figures for metrics, the banner and `DescribeLogDirs`. Any thread may read them at
//! any time.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::chunk::{ChunkPool, ChunkUsage};

/// How a shard reaches its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// `io_uring`.
    Uring,
    /// `epoll`, with a disk thread beside each shard for the commits that the shard does not make
    /// itself.
    Epoll,
}

impl DriverKind {
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Uring => "io_uring",
            Self::Epoll => "epoll",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineStatus {
    pub driver: DriverKind,
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

/// One shard's current figures, which the shard updates.
#[derive(Debug, Default)]
pub struct ShardGauges {
    pub wal_bytes: AtomicU64,
    pub wal_used_bytes: AtomicU64,
    pub wal_capacity_bytes: AtomicU64,
    pub partitions: AtomicU64,
    pub full: AtomicBool,
    poisoned: watch::Sender<Option<String>>,
    pub chunks: ChunkPool,
}

impl ShardGauges {
    #[must_use]
    pub fn new(chunks: ChunkPool) -> Self {
        Self { chunks, ..Self::default() }
    }

    /// Marks the shard as failed for good. Keeps the first reason: later failures follow from it.
    pub fn poison(&self, reason: &str) {
        self.poisoned.send_if_modified(|poisoned| {
            let is_first = poisoned.is_none();
            poisoned.get_or_insert_with(|| reason.to_owned());
            is_first
        });
    }

    pub(crate) fn watch_poisoned(&self) -> watch::Receiver<Option<String>> {
        self.poisoned.subscribe()
    }

    #[must_use]
    pub fn status(&self) -> ShardStatus {
        let load = |gauge: &AtomicU64| gauge.load(Ordering::Relaxed);
        let ChunkUsage { budget, live, spare, mapped } = self.chunks.usage();
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
}
