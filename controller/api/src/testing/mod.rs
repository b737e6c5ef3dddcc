//! For tests: a controller in memory, and the suite that every controller passes.

pub mod conformance;
mod in_memory;

pub use in_memory::InMemoryController;
