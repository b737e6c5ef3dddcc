//! The memory that the process allows recent batches to take: a fixed size, or a share of the
//! system's memory, which shrinks while that is short. The process may change it while the engine
//! runs; [`crate::memory_watch`] applies the change.

use std::sync::Arc;

use parking_lot::Mutex;
use rustmq_engine_core::tail_budget::tail_share;
use rustmq_model::ByteSize;

use crate::memory_levels::{MemorySource, SystemMemory};

/// The memory for recent batches, over all shards. Taken as needed. All clones are the same one.
#[derive(Clone, Debug)]
pub struct TailMemory(Arc<Mutex<Wanted>>);

#[derive(Debug)]
struct Wanted {
    size: WantedSize,
    /// Rises with every change.
    version: u64,
}

#[derive(Clone, Debug)]
enum WantedSize {
    Fixed(ByteSize),
    /// A share of the system's memory.
    Share,
    /// At most so much, and less while the source reports that memory is short.
    Following(ByteSize, Arc<dyn MemorySource>),
}

impl WantedSize {
    fn of(configured: Option<ByteSize>) -> Self {
        configured.map_or(Self::Share, Self::Fixed)
    }

    /// Whether the configuration asks for this size.
    fn is(&self, configured: Option<ByteSize>) -> bool {
        match self {
            Self::Fixed(size) => configured == Some(*size),
            Self::Share => configured.is_none(),
            Self::Following(..) => false,
        }
    }
}

/// The limit that the engine must keep.
#[derive(Clone, Debug)]
pub(crate) struct TailLimit {
    /// The most bytes over all shards.
    pub full: ByteSize,
    /// Reports how much memory the system has left. While less than a tenth of it is left, the
    /// shards repeatedly give back half of the memory of their recent batches. `None` keeps `full`
    /// fixed.
    pub source: Option<Arc<dyn MemorySource>>,
    version: u64,
}

impl TailMemory {
    /// A fixed size, or `None` for a share of the system's memory.
    #[must_use]
    pub fn new(size: Option<ByteSize>) -> Self {
        Self(Arc::new(Mutex::new(Wanted { size: WantedSize::of(size), version: 0 })))
    }

    /// At most `full`, and less while `source` reports that memory is short.
    #[must_use]
    pub fn following(full: ByteSize, source: Arc<dyn MemorySource>) -> Self {
        Self(Arc::new(Mutex::new(Wanted { size: WantedSize::Following(full, source), version: 0 })))
    }

    /// Changes the size. A running engine follows within a second. The same size is no change. Does
    /// no I/O: the engine's own thread reads how much memory the system has.
    pub fn resize(&self, size: Option<ByteSize>) {
        let mut wanted = self.0.lock();
        if !wanted.size.is(size) {
            *wanted = Wanted { size: WantedSize::of(size), version: wanted.version + 1 };
        }
    }

    /// The limit. May block: a share depends on figures of the system.
    pub(crate) fn limit(&self) -> TailLimit {
        let (size, version) = {
            let wanted = self.0.lock();
            (wanted.size.clone(), wanted.version)
        };
        TailLimit::new(size, version)
    }

    /// The limit, if it is another than `known`. May block, as [`Self::limit`].
    pub(crate) fn changed_since(&self, known: &TailLimit) -> Option<TailLimit> {
        let has_changed = self.0.lock().version != known.version;
        has_changed.then(|| self.limit())
    }
}

impl TailLimit {
    fn new(size: WantedSize, version: u64) -> Self {
        match size {
            WantedSize::Fixed(full) => Self { full, source: None, version },
            WantedSize::Following(full, source) => Self { full, source: Some(source), version },
            WantedSize::Share => {
                let system = SystemMemory::default();
                let levels = system.levels().unwrap_or_else(|error| {
                    tracing::warn!(%error, "how much memory the system has is not known: the log takes the least for its tail");
                    Vec::new()
                });
                Self { full: tail_share(&levels), source: Some(Arc::new(system)), version }
            }
        }
    }
}
