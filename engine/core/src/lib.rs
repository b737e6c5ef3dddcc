//! The storage engine's decisions, without I/O, clocks or threads: the partition log, and the write-ahead log's format,
//! recovery and segment use; the words in which a shard is asked and answers; and how much memory recent batches may take.
//! `engine/shard` executes what is decided here.

pub mod log;
pub mod shard;
pub mod tail_budget;
pub mod wal;
