//! Runs the storage engine: one thread per shard, each with a write-ahead log, on monoio (`io_uring`, or epoll where that is
//! forbidden). Executes what `engine/core` decides; the rest of the process holds it through `engine/api`.
//!
//! Reading order: [`start`], then `shard_thread` (the loop, which reads `clock`) and `standby` (who serves when the disk stalls), `inboxes`, `shard` (one turn),
//! `wal_writer` (frames into commits), `append` and `requests` (what is asked for), `answer` (what is told), `reads`, `read_queue` and `window_cache`
//! (what has left memory), `tail` and `memory_watch` (memory), `relocation` and `move_read` (what frees segments), `retention`, `slots`, `disk`,
//! `recovery`, `folder`; `read_around`, `index_scan` and `aside` are for disks that lose sectors.

mod answer;
mod append;
mod aside;
mod clock;
mod config;
mod dio;
mod disk;
mod event;
mod folder;
mod inboxes;
mod index_scan;
mod memory_levels;
mod memory_watch;
mod metrics;
mod move_read;
mod partition;
mod read_ahead;
mod read_around;
mod read_memory;
mod read_queue;
mod reads;
mod recovery;
mod relocation;
mod repair;
mod requests;
mod retention;
mod shard;
mod shard_thread;
mod slots;
mod standby;
mod start;
mod tail;
mod wal_writer;
mod window;
mod window_cache;

pub use config::{Driver, EngineConfig};
pub use disk::DiskFaults;
pub use folder::{FORMAT_VERSION, FolderError, WalOwner};
pub use memory_levels::{MemorySource, SystemMemory};
pub use metrics::Metrics;
pub use partition::PartitionReplayError;
pub use recovery::RecoverError;
pub use repair::{LostRange, RepairError, RepairPlan, RepairReport, UnreadablePlace, plan_repair};
pub use rustmq_engine_core::tail_budget::{MemoryLevel, tail_share};
pub use start::{StartError, StartReport, start};
