//! The storage engine's decisions, without I/O, clocks or threads: the partition log, the write-ahead log's format, recovery and
//! segment use, and the machine that runs both for a shard; how much memory recent batches may take, and a mean of how
//! long the disk takes. `engine/shard` executes what is
//! decided here.

pub mod capped_mean;
pub mod log;
pub mod shard;
pub mod tail_budget;
pub mod wal;
