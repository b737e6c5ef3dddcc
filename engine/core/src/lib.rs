//! The storage engine's decisions, without I/O, clocks or threads: the partition log, and the write-ahead log's format,
//! recovery and segment use. `engine/shard` executes what is decided here.

pub mod log;
pub mod wal;
