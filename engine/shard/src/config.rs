//! The engine's configuration: the operator's settings, and the values that the process adds. The
//! process reads the configuration files.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustmq_model::ByteSize;
use rustmq_settings::{SettingValue, settings};

use crate::disk::DiskFaults;
use crate::folder::WalOwner;
use crate::tail_memory::TailMemory;

settings! {
    /// The operator's settings of the storage engine.
    pub struct EngineSettings {
        /// The write-ahead log's folder. It belongs to one data folder, and is refused to any
        /// other.
        #[setting("wal.path", Text { what: "a path", bytes_max: 4096 }, unset "`wal` in the data folder", on restart)]
        pub wal_path: Option<PathBuf>,
        /// The most bytes of disk that the write-ahead log takes, at least six segments for each
        /// shard. At capacity, produce is refused with a retriable storage error until retention,
        /// DeleteRecords or topic deletion frees segments.
        #[setting(
            "wal.capacity_bytes",
            Size { min: ByteSize::mib(96), max: ByteSize::tib(64) },
            unset "half of what was free when the data folder was made",
            on restart
        )]
        pub wal_capacity: Option<ByteSize>,
        /// The size of a segment file. `message.max.bytes` must not pass half of it.
        #[setting(
            "wal.segment_size_bytes",
            Size { min: ByteSize::mib(16), max: ByteSize::mib(4095) },
            default "64MiB",
            on creation
        )]
        pub segment_size: ByteSize,
        /// Whether an acknowledgement waits for the sync. `false` trades durability for speed: a
        /// power cut loses acknowledged records.
        #[setting("wal.fsync_on_write", Flag, default "true", on restart)]
        pub fsync_on_write: bool,
        /// The most memory for the log's tail, from which live readers are served. Taken as needed,
        /// and kept. A size that is set is fixed. A smaller one takes effect within a second:
        /// recent batches beyond it leave memory, and are read from disk.
        #[setting(
            "cache.write_cache_size_bytes" or "RUSTMQ_CACHE_SIZE",
            Size { min: ByteSize::mib(16), max: ByteSize::tib(1) },
            unset "an eighth of the memory of the machine, or of the cgroup that limits it, at least 128 MiB; \
                while less than a tenth of that memory is available, half of what the tail takes is given back \
                each second, down to 16 MiB, and may be taken again once a fifth is available",
            on reload
        )]
        pub tail_memory: Option<ByteSize>,
        /// Threads that own partitions and write. Each has a write-ahead log; a data folder with
        /// more logs gets a thread for each of them.
        #[setting(
            "engine.shards",
            Count { unit: "threads", min: 1, max: 256 },
            unset "half the processors, at least one",
            on restart
        )]
        pub shards: Option<usize>,
        /// How shards wait, and make the commits that are large or go to a slow disk. `auto` takes
        /// io_uring where the kernel allows it, and says which it took.
        #[setting("engine.driver", Choice(&["auto", "io_uring", "epoll"]), default "auto", on restart)]
        pub driver: Driver,
        /// Threads that read what has left memory; all but one of several may read ahead.
        #[setting("engine.read_threads", Count { unit: "threads", min: 1, max: 64 }, default "3", on restart)]
        pub read_threads: usize,
    }
}

impl EngineSettings {
    /// The folder of the write-ahead log.
    #[must_use]
    pub fn wal_dir(&self, data_dir: &Path) -> PathBuf {
        self.wal_path.clone().unwrap_or_else(|| data_dir.join("wal"))
    }

    /// The number of shards; if none is set, half of the processors, at least one.
    #[must_use]
    pub fn shard_count(&self) -> usize {
        let default = || std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).max(1));
        self.shards.unwrap_or_else(default).max(1)
    }
}

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

impl SettingValue for Driver {
    fn parse(canonical: &str) -> Option<Self> {
        match canonical {
            "auto" => Some(Self::Auto),
            "io_uring" => Some(Self::Uring),
            "epoll" => Some(Self::Epoll),
            _ => None,
        }
    }
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
    pub settings: EngineSettings,
    /// The folder of the WALs. Created if it is missing; its parent must exist.
    pub dir: PathBuf,
    /// Refuses to create the folder, because it existed before.
    pub must_exist: bool,
    /// The data folder that the WALs belong to. A folder with an owner refuses any other; a folder
    /// without one gets this one.
    pub owner: Option<WalOwner>,
    /// The most disk space that all WALs together may take. Rounded down to whole segments, at
    /// least six for each WAL.
    pub capacity: ByteSize,
    /// The memory for recent batches, over all shards. It begins as the settings say, and may be
    /// changed while the engine runs.
    pub tail_memory: TailMemory,
    /// While small commits take less than this on average, a shard executes them itself; it leaves
    /// other commits to the driver. Zero leaves all of them to the driver.
    pub quick_commit: Duration,
    /// While commits take at least this on average, not counting the time for their bytes, a shard
    /// may have two of them in flight. Zero always allows two.
    pub slow_commit: Duration,
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
    /// A configuration with these settings and a log in `dir`, and with defaults for everything
    /// else.
    #[must_use]
    pub fn new(settings: EngineSettings, dir: PathBuf) -> Self {
        Self {
            dir,
            must_exist: false,
            owner: None,
            capacity: settings.wal_capacity.unwrap_or(ByteSize::gib(10)),
            tail_memory: TailMemory::new(settings.tail_memory),
            quick_commit: Duration::from_millis(1),
            slow_commit: Duration::from_millis(1),
            read_memory: ByteSize::mib(64),
            read_queue: 256,
            retention_interval: Duration::from_secs(30),
            damage_timeout: Duration::from_secs(30),
            idle_proof_after: Duration::from_millis(50),
            inbox: 1024,
            faults: None,
            settings,
        }
    }
}
