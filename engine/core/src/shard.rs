//! One shard: the logs of its partitions and the write-ahead log that they share, as a state
//! machine that takes the time as an argument and does no I/O.
//!
//! Reading order: [`machine`] holds the parts and takes requests, [`turn`] has the steps of a turn,
//! [`host`] the driver's types, [`actions`] the machine's requests to the driver. Each decision has
//! its own file: [`appends`], [`placement`] (open, lead, trim, close), [`cuts`] (truncate, reset)
//! with [`log_rebuild`], [`retention`], [`cleaner`] (moving data out of the oldest segment),
//! [`repair_checkpoints`] and [`slot_preparation`]. All of them get room from [`staging`], which
//! plans commits in [`commit_builder`] and checkpoints in [`checkpointing`].
//!
//! [`commits`] tracks the commits in flight, [`disk_pace`] decides whether there may be two, and
//! [`publication`] makes durable batches readable. [`waiting`] holds changes and answers until
//! their commit is durable, [`placement_change`] defines these changes, [`append_waits`] holds
//! appends until frontiers pass them, and [`wait_queue`] orders them. [`readable_log`] is the
//! readers' view of a partition, [`location`] plans reads of batches that have left memory.
//! [`starting`] replays the recovered partitions. [`partitions`] holds the open logs, [`backlog`]
//! the requests that wait for a turn, [`memory`] the buffers, and [`tail`] the order in which
//! batches leave memory. [`error`] lists why requests are refused, [`failure`] the failures of the
//! disk and of memory among that. [`invariants`] states the relations between these parts.

pub mod actions;
mod append_waits;
mod appends;
mod backlog;
mod checkpointing;
mod cleaner;
pub mod commit;
pub mod commit_builder;
mod commits;
mod cuts;
mod disk_pace;
pub mod disk_step;
pub mod error;
pub mod failure;
pub mod host;
mod invariants;
pub mod location;
mod log_rebuild;
mod machine;
pub mod memory;
pub mod now;
pub mod partitions;
mod placement;
mod placement_change;
mod publication;
mod read_attempts;
pub mod readable_log;
mod repair_checkpoints;
pub mod request;
mod retention;
pub mod slot_preparation;
mod spare_memory;
mod staging;
pub mod starting;
mod tail;
mod turn;
mod wait_queue;
mod waiting;

pub use actions::{Action, Fact, NewView, Publication, PublishedRun};
pub use appends::AppendCount;
pub use cleaner::MoveError;
pub use commit::{Commit, StagedBatch, SyncPolicy};
pub use commit_builder::{CommitBuilder, LogIdentity, NoRoom, Room};
pub use commits::{CommitNumber, CommitSteps};
pub use disk_step::DiskStep;
pub use host::{Host, ReaderMemory};
pub use location::{NextLocation, NoPlan, ReadPlan, plan_read};
pub use log_rebuild::{LogRebuild, RebuildError};
pub use machine::{Shard, ShardConfig};
pub use memory::{Chunk, Memory, NoMemory};
pub use now::Now;
pub use partitions::{Leadership, LogVersion, Partition, PartitionKey, Partitions};
pub use read_attempts::READ_ATTEMPTS;
pub use readable_log::{BatchPlace, ReadableLog, TailBatch};
pub use slot_preparation::{Preparation, Urgency};

#[cfg(test)]
mod tests;
