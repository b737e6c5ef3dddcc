//! What the engine says of itself, for metrics, the banner and `DescribeLogDirs`. Read at any time from any thread.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::watch;

use crate::chunk::{ChunkPool, ChunkUsage};

/// How a shard reaches its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DriverKind {
    /// `io_uring`.
    Uring,
    /// `epoll`, with a thread beside each shard that makes the commits which the shard does not make itself.
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
    /// Bytes of the WAL's slot files, spares included.
    pub wal_bytes: u64,
    /// Bytes of the segments in use.
    pub wal_used_bytes: u64,
    pub wal_capacity_bytes: u64,
    /// Bytes of chunks in memory, those that only readers still hold included.
    pub tail_memory_bytes: u64,
    /// Bytes that chunks may take.
    pub tail_memory_budget_bytes: u64,
    /// Bytes kept for the next chunks.
    pub tail_memory_spare_bytes: u64,
    /// Bytes for chunks that came from the system since the start.
    pub tail_memory_mapped_bytes: u64,
    pub partitions: u64,
    /// Why the shard has failed for good: a write or sync failed, or one of its threads panicked. Nothing more is acknowledged.
    pub poisoned: Option<String>,
    /// Appends are refused until something is freed.
    pub full: bool,
}

/// Where one shard keeps its figures up to date.
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

    /// The shard has failed for good. The first reason stays: what follows comes of it.
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
        let ChunkUsage { budget, living, spare, mapped } = self.chunks.usage();
        ShardStatus {
            wal_bytes: load(&self.wal_bytes),
            wal_used_bytes: load(&self.wal_used_bytes),
            wal_capacity_bytes: load(&self.wal_capacity_bytes),
            tail_memory_bytes: living,
            tail_memory_budget_bytes: budget,
            tail_memory_spare_bytes: spare,
            tail_memory_mapped_bytes: mapped,
            partitions: load(&self.partitions),
            poisoned: self.poisoned.borrow().clone(),
            full: self.full.load(Ordering::Relaxed),
        }
    }
}
