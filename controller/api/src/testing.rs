//! For tests: a controller in memory, and the suite that every controller passes.

pub mod conformance;
mod in_memory;

pub use in_memory::InMemoryController;

/// The bounds of a controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Commands in flight at a time.
    pub commands_max: usize,
    /// Batches that a subscriber may lag behind.
    pub batches_max: usize,
}

impl Default for Bounds {
    fn default() -> Self {
        Self { commands_max: 256, batches_max: 1024 }
    }
}
