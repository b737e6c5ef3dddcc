//! One shard: the logs of its partitions and the write-ahead log that they share, as a machine that is told the time and does no I/O.
//!
//! Reading order: [`machine`] is what a driver calls, [`turn`] the order of what it does, [`host`] what a driver lends, [`actions`] what it is
//! asked for. The decisions, each in its file: [`appends`], [`placement`] (open, lead, trim, close), [`cuts`] (truncate, reset) with [`log_rebuild`], [`retention`], [`cleaner`] (freeing
//! segments), [`repair_checkpoints`], [`slot_preparation`]; all of them get room from [`staging`], which plans commits in [`gathering`], and checkpoints in [`checkpointing`].
//! [`commits`] says which commits are under way, [`disk_pace`] whether there may be two, [`publication`] what readers see of one, [`waiting`] what takes
//! effect and who is answered after it, [`placement_change`] what that effect is, [`append_waits`] which appends those are and [`wait_queue`] in which order. [`readable_log`] is what readers find of a partition, [`location`] how they read what has left memory. [`starting`] makes
//! the partitions of what recovery found.

pub mod actions;
mod append_waits;
mod appends;
mod backlog;
mod checkpointing;
mod cleaner;
pub mod commit;
mod commits;
mod cuts;
mod disk_pace;
pub mod disk_step;
pub mod error;
pub mod gathering;
pub mod host;
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
pub use commits::{CommitNumber, CommitSteps};
pub use disk_step::DiskStep;
pub use gathering::{BatchOf, Gathering, NoRoom, Room};
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
