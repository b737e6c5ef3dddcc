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
    /// The configured size; `None` asks for a share of the system's memory.
    size: Option<ByteSize>,
    limit: TailLimit,
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
    /// Rises with every change.
    version: u64,
}

impl TailMemory {
    /// A fixed size, or `None` for a share of the system's memory.
    #[must_use]
    pub fn new(size: Option<ByteSize>) -> Self {
        Self(Arc::new(Mutex::new(Wanted { size, limit: TailLimit::new(size, 0) })))
    }

    /// At most `full`, and less while `source` reports that memory is short.
    #[must_use]
    pub fn following(full: ByteSize, source: Arc<dyn MemorySource>) -> Self {
        let limit = TailLimit { full, source: Some(source), version: 0 };
        Self(Arc::new(Mutex::new(Wanted { size: None, limit })))
    }

    /// Changes the size. A running engine follows within a second. The same size is no change.
    pub fn resize(&self, size: Option<ByteSize>) {
        let mut wanted = self.0.lock();
        if wanted.size != size {
            let limit = TailLimit::new(size, wanted.limit.version + 1);
            *wanted = Wanted { size, limit };
        }
    }

    pub(crate) fn limit(&self) -> TailLimit {
        self.0.lock().limit.clone()
    }

    /// The limit, if it is another than `known`.
    pub(crate) fn changed_since(&self, known: &TailLimit) -> Option<TailLimit> {
        let wanted = self.0.lock();
        (wanted.limit.version != known.version).then(|| wanted.limit.clone())
    }
}

impl TailLimit {
    fn new(size: Option<ByteSize>, version: u64) -> Self {
        if let Some(full) = size {
            return Self { full, source: None, version };
        }
        let system = SystemMemory::default();
        let levels = system.levels().unwrap_or_else(|error| {
            tracing::warn!(%error, "how much memory the system has is not known: the log takes the least for its tail");
            Vec::new()
        });
        Self { full: tail_share(&levels), source: Some(Arc::new(system)), version }
    }
}
