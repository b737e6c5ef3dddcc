//! Runs the storage engine: one thread per shard, each with a write-ahead log, on monoio
//! (`io_uring`, or epoll where that is forbidden). Executes the decisions of `engine/core`; the
//! rest of the process uses it through `engine/api`.
//!
//! ```
//! use rustmq_engine_api::{
//!     Append, AppendFrontier, AppendSource, Isolation, LogConfig, OpenPartition, ReadRequest,
//! };
//! use rustmq_engine_shard::{EngineConfig, EngineSettings, Metrics, start};
//! use rustmq_model::batch::{BatchHeader, Codec};
//! use rustmq_model::record::BatchBuilder;
//! use rustmq_model::{
//!     ByteSize, LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicIdPartition,
//! };
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let folder = tempfile::tempdir()?;
//! let segment_size = ByteSize::mib(1);
//! let settings = EngineSettings { shards: Some(1), segment_size, ..EngineSettings::default() };
//! let mut config = EngineConfig::new(settings, folder.path().join("wal"));
//! config.capacity = ByteSize::mib(16);
//! let (engine, report) = start(&config, &Metrics::default())?;
//! assert_eq!(report.partitions, 0);
//!
//! let id = TopicIdPartition { topic_id: TopicId(1), partition: PartitionId(0) };
//! let mut builder = BatchBuilder::new(Codec::None);
//! builder.push(Timestamp(1_000), None, Some(b"value"), &[]);
//! let batch = builder.build();
//! let header = BatchHeader::parse(&batch)?;
//!
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
//! runtime.block_on(async {
//!     let config = LogConfig::unlimited();
//!     let open = OpenPartition { id, leader_epoch: LeaderEpoch(0), config };
//!     let reader = engine.open(vec![open]).await.remove(0)?;
//!
//!     let until = AppendFrontier::DurableEnd;
//!     let append = Append { id, leader_epoch: None, batch, header, source: AppendSource::Client(None), until };
//!     let appended = engine.append(vec![append]).await.wait().await.remove(0)?;
//!     assert_eq!(appended.base_offset, Offset(0));
//!
//!     // The answer means that the batch is synced, so it can be read.
//!     let isolation = Isolation::ReadUncommitted;
//!     let request =
//!         ReadRequest { from: Offset(0), max_bytes: 1 << 20, at_least_one: true, isolation };
//!     assert_eq!(reader.read(request).await?.batches.len(), 1);
//!     engine.shutdown().await;
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Reading order: [`start`], then `driver` (a shard's machine, and one turn of it), `execute` (the
//! machine's actions), `shard_thread` (makes turns, and waits between them) and `standby` (makes
//! them while the disk stalls). Then
//! - the machine's inputs: `event` (messages of other threads), `clock`;
//! - the means of its actions: `disk` and `executions` (commits), `slots` and `slot_files` (the
//!   files of the log), `move_read` (reads batches that must move);
//! - reads of batches that have left memory: `shard_reads`, `read_pool`, `read_queue`, `reader`,
//!   `window_cache`, `scattered_groups`;
//! - the start and its surroundings: `recovery`, `folder`, `repair`, `tail_memory`,
//!   `memory_watch`.
//!
//! `read_around`, `index_scan` and `damaged_copies` are for disks that lose sectors.

mod clock;
mod config;
mod damaged_copies;
mod direct_io;
mod disk;
mod driver;
mod event;
mod execute;
mod executions;
mod folder;
mod index_cache;
mod index_scan;
mod memory_levels;
mod memory_watch;
mod metrics;
mod move_read;
mod read_ahead;
mod read_around;
mod read_job;
mod read_memory;
mod read_pool;
mod read_queue;
mod reader;
mod rebuild_job;
mod recovery;
mod repair;
mod scattered_groups;
mod segment_file;
mod shard_reads;
mod shard_thread;
mod slot_files;
mod slots;
mod standby;
mod start;
mod tail_chunks;
mod tail_memory;
mod window;
mod window_cache;

pub use config::{Driver, DriverKind, EngineConfig, EngineSettings};
#[cfg(feature = "testing")]
pub use disk::DiskFaults;
pub use folder::{FORMAT_VERSION, FolderError, WalOwner};
pub use memory_levels::{MemorySource, SystemMemory};
pub use metrics::Metrics;
pub use recovery::RecoverError;
pub use repair::{LostRange, RepairError, RepairPlan, RepairReport, UnreadablePlace, plan_repair};
pub use rustmq_engine_core::shard::starting::PartitionReplayError;
pub use rustmq_engine_core::tail_budget::MemoryLevel;
pub use start::{StartError, StartReport, start};
pub use tail_memory::TailMemory;
