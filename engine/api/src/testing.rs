//! For tests: an engine in memory, and the suite that every engine passes.

pub mod conformance;
mod heap;
mod in_memory;
mod no_tail_memory;
pub mod operations;
mod shard;
mod store;

pub use in_memory::{InMemoryEngine, InMemoryOptions};
pub use no_tail_memory::NoTailMemory;
