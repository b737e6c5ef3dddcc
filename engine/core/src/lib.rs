//! The storage engine's decisions, without I/O, clocks or threads: the partition log, the write-ahead log's format, recovery and
//! segment use, and the machine that runs both for a shard; and how much memory recent batches may take. `engine/shard` executes what is
//! decided here.

pub mod log;
pub mod shard;
pub mod tail_budget;
pub mod wal;
