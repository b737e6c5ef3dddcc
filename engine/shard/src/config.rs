//! What the engine is started with: resolved values; reading configuration files is the process's matter.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustmq_model::ByteSize;

use crate::disk::DiskFaults;
use crate::folder::WalOwner;
use crate::memory_levels::MemorySource;

/// Which driver the shards use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Driver {
    /// `io_uring` where the kernel lets us, else epoll.
    #[default]
    Auto,
    /// Refuse to start without `io_uring`.
    Uring,
    Epoll,
}

#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// The folder of the WALs. Created if need be; the parent must exist.
    pub dir: PathBuf,
    /// Refuse to make the folder: there was one.
    pub must_exist: bool,
    /// Whose log it is. A folder that has an owner is refused to any other; one that has none gets this one.
    pub owner: Option<WalOwner>,
    /// Shards (threads), each with a WAL. A folder that has more WALs gets a shard for each of them.
    pub shards: usize,
    /// Size of a WAL segment. A folder keeps the size that it was made with.
    pub segment_size: ByteSize,
    /// Bytes that all WALs together may take on disk. Rounded down to segments, at least six a WAL.
    pub capacity: ByteSize,
    /// Memory for recent batches, over all shards. Taken as needed.
    pub tail_memory: ByteSize,
    /// Where to look whether others need that memory: while less than a tenth of it is left, half of what recent batches take is given back, again
    /// and again. `None` keeps to `tail_memory` whatever else goes on.
    pub memory_source: Option<Arc<dyn MemorySource>>,
    /// Sync before acknowledging. Without it, a power cut loses what the operating system had not written.
    pub fsync: bool,
    pub driver: Driver,
    /// While small commits take less than this in the mean, a shard makes them itself; others it leaves to the driver. Zero leaves all to it.
    pub quick_commit: Duration,
    /// While commits take this or more in the mean, beyond what their bytes take, a shard may have two in flight. Zero: always.
    pub slow_commit: Duration,
    /// Threads that read what has left memory.
    pub read_threads: usize,
    /// Memory for what they read, until it is sent; a read that finds no room waits for it in turn, as long as its reader does.
    pub read_memory: ByteSize,
    /// Reads that may be with them or wait for memory, over all shards; more wait in turn, as long as their readers do.
    pub read_queue: usize,
    /// How often retention and producer expiry are looked at.
    pub retention_interval: Duration,
    /// How long batches that are to be moved must be unreadable, from the first failure in their segment on, before they are given up.
    pub damage_patience: Duration,
    /// After this long without appends a shard proves what it wrote last.
    pub idle_proof_after: Duration,
    /// Requests that wait for one shard; senders wait for room.
    pub inbox: usize,
    /// Makes the disk fail, to prove what the engine then does. Tests only.
    #[doc(hidden)]
    pub faults: Option<Arc<DiskFaults>>,
}

impl EngineConfig {
    /// Half the processors, at least one.
    #[must_use]
    pub fn default_shards() -> usize {
        std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1))
    }

    /// The defaults of a single small node.
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
            damage_patience: Duration::from_secs(30),
            idle_proof_after: Duration::from_millis(50),
            inbox: 1024,
            faults: None,
        }
    }
}
