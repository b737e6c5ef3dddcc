//! Runs the storage engine: one thread per shard, each with a write-ahead log, on monoio (`io_uring`, or epoll where that is
//! forbidden). Executes what `engine/core` decides; the rest of the process holds it through `engine/api`.
//!
//! Reading order: [`start`], then `driver` (a shard's machine with all that it needs, and one turn of it), `execute` (what is done about each of the
//! machine's decisions), `shard_thread` (makes turns, and waits between them) and `standby` (makes them while the disk stalls). Then
//! - what the machine is told: `event` (by other threads), `clock`;
//! - what it asks for: `views` (what readers see, and the memory for it), `disk` and `executions` (commits), `slots` and `slot_files` (the files that they go to),
//!   `move_read` (batches that are to be written anew);
//! - what readers ask for that has left memory: `shard_reads`, `read_pool`, `read_queue`, `reader`, `window_cache`, `groups_apart`;
//! - what starts with it: `recovery`, `folder`, `repair`, `memory_watch`.
//!
//! `read_around`, `index_scan` and `aside` are for disks that lose sectors.

mod aside;
mod clock;
mod config;
mod dio;
mod disk;
mod driver;
mod event;
mod execute;
mod executions;
mod folder;
mod groups_apart;
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
mod segment_file;
mod shard_reads;
mod shard_thread;
mod slot_files;
mod slots;
mod standby;
mod start;
mod views;
mod window;
mod window_cache;

pub use config::{Driver, EngineConfig};
pub use disk::DiskFaults;
pub use folder::{FORMAT_VERSION, FolderError, WalOwner};
pub use memory_levels::{MemorySource, SystemMemory};
pub use metrics::Metrics;
pub use recovery::RecoverError;
pub use repair::{LostRange, RepairError, RepairPlan, RepairReport, UnreadablePlace, plan_repair};
pub use rustmq_engine_core::shard::starting::PartitionReplayError;
pub use rustmq_engine_core::tail_budget::{MemoryLevel, tail_share};
pub use start::{StartError, StartReport, start};
