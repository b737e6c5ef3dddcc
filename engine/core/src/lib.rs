//! The storage engine's decisions, without I/O, clocks or threads. `engine/shard` executes them.
//!
//! - [`log`]: the state of one partition's log, without its bytes.
//! - [`wal`]: the write-ahead log: its format, its recovery, the use of its segments.
//! - [`shard`]: the machine that runs the partitions and the WAL of a shard.
//! - [`replication`]: the machine that replicates one partition.
//! - [`tagged_fields`]: optional fields at the end of frames and checkpoints.
//! - [`tail_budget`]: the memory budget of recent batches.
//! - [`capped_mean`]: a mean of durations, such as those of commits.

pub mod capped_mean;
pub mod log;
pub mod replication;
pub mod shard;
pub mod tagged_fields;
pub mod tail_budget;
pub mod wal;
