//! The engine's configuration, in resolved values. The process reads the configuration files.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustmq_model::ByteSize;

use crate::disk::DiskFaults;
use crate::folder::WalOwner;
use crate::memory_levels::MemorySource;

/// The driver that the shards use for their files.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// `io_uring` where the kernel allows it, else epoll.
    #[default]
    Auto,
    /// Refuses to start without `io_uring`.
    Uring,
    Epoll,
}

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

#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The folder of the WALs. Created if it is missing; its parent must exist.
    pub dir: PathBuf,
    /// Refuses to create the folder, because it existed before.
    pub must_exist: bool,
    /// The data folder that the WALs belong to. A folder with an owner refuses any other; a folder
    /// without one gets this one.
    pub owner: Option<WalOwner>,
    /// The number of shards; each has a thread and a WAL. A folder with more WALs gets a shard for
    /// each of them.
    pub shards: usize,
    /// The size of a WAL segment. A folder keeps the size that it was created with.
    pub segment_size: ByteSize,
    /// The most disk space that all WALs together may take. Rounded down to whole segments, at
    /// least six for each WAL.
    pub capacity: ByteSize,
    /// The memory for recent batches, over all shards. Taken as needed.
    pub tail_memory: ByteSize,
    /// Reports how much memory the system has left. While less than a tenth of it is left, the
    /// shards repeatedly give back half of the memory of their recent batches. `None` keeps
    /// `tail_memory` fixed.
    pub memory_source: Option<Arc<dyn MemorySource>>,
    /// Sync before acknowledging. Without it, a power cut loses everything that the operating
    /// system has not written yet.
    pub fsync: bool,
    pub driver: Driver,
    /// While small commits take less than this on average, a shard executes them itself; it leaves
    /// other commits to the driver. Zero leaves all of them to the driver.
    pub quick_commit: Duration,
    /// While commits take at least this on average, not counting the time for their bytes, a shard
    /// may have two of them in flight. Zero always allows two.
    pub slow_commit: Duration,
    /// The threads that read batches which have left memory.
    pub read_threads: usize,
    /// The memory for batches read from disk, held until they are sent. A read that finds none free
    /// waits for it in turn, at most as long as its reader waits.
    pub read_memory: ByteSize,
    /// The reads from disk that may be queued, executed or waiting for memory, over all shards.
    /// Further reads wait in turn, at most as long as their readers wait.
    pub read_queue: usize,
    /// How often a shard checks retention and the expiry of producers.
    pub retention_interval: Duration,
    /// How long batches that must move have to be unreadable, from the first failure in their
    /// segment on, before they count as damaged.
    pub damage_timeout: Duration,
    /// After this long without appends a shard writes a proof of its last group.
    pub idle_proof_after: Duration,
    /// The capacity of a shard's request queue; senders wait for room.
    pub inbox: usize,
    /// Injects disk failures. Tests only.
    #[doc(hidden)]
    pub faults: Option<Arc<DiskFaults>>,
}

impl EngineConfig {
    /// Half of the processors, at least one.
    #[must_use]
    pub fn default_shards() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
    }

    /// The defaults for a single small node.
    #[must_use]
    pub fn new(dir: PathBuf) -> Self {
        Self {
            dir,
            must_exist: false,
            owner: None,
            shards: Self::default_shards(),
            segment_size: ByteSize::mib(64),
            capacity: ByteSize::gib(10),
            tail_memory: ByteSize::mib(128),
            memory_source: None,
            fsync: true,
            driver: Driver::Auto,
            quick_commit: Duration::from_millis(1),
            slow_commit: Duration::from_millis(1),
            read_threads: 3,
            read_memory: ByteSize::mib(64),
            read_queue: 256,
            retention_interval: Duration::from_secs(30),
            damage_timeout: Duration::from_secs(30),
            idle_proof_after: Duration::from_millis(50),
            inbox: 1024,
            faults: None,
        }
    }
}
