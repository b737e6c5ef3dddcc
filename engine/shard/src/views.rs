//! The state of a shard's partitions that readers see, and the memory of its recent batches. Taking
//! memory for new batches evicts old ones from the readers' view.

use std::sync::Arc;

use rustmq_engine_api::chunk::{ChunkPool, ChunkWriter};
use rustmq_engine_api::published::{PartitionState, Published};
use rustmq_engine_api::request::DiskReads;
use rustmq_engine_core::shard::{Memory, NewView, NoMemory, PartitionKey, ReadableLog, ReaderMemory};
use rustmq_engine_core::wal::UnindexedSegments;
use rustmq_model::Offset;

#[derive(Debug)]
struct View {
    key: PartitionKey,
    published: Arc<Published>,
}

#[derive(Debug)]
pub(crate) struct Views {
    chunks: ChunkPool,
    /// Serves reads of batches that have left memory.
    disk: Arc<dyn DiskReads>,
    /// Indexed by the key's slot.
    views: Vec<Option<View>>,
}

impl Views {
    pub(crate) fn new(chunks: ChunkPool, disk: Arc<dyn DiskReads>) -> Self {
        Self { chunks, disk, views: Vec::new() }
    }

    pub(crate) fn create(&mut self, view: NewView) {
        let NewView { key, id, frontiers, leadership, size_bytes, times, aborted, locations } = view;
        let log = ReadableLog::on_disk(locations, frontiers.durable_end);
        let state =
            PartitionState { frontiers, leadership, size_bytes, times, log, aborted: Arc::new(aborted), closed: false };
        if self.views.len() <= key.slot() {
            self.views.resize_with(key.slot() + 1, || None);
        }
        let before =
            self.views[key.slot()].replace(View { key, published: Published::new(id, state, Arc::clone(&self.disk)) });
        assert!(before.is_none(), "a partition's view is closed before another one takes its slot");
    }

    pub(crate) fn find(&self, key: PartitionKey) -> Option<&Arc<Published>> {
        self.views.get(key.slot())?.as_ref().filter(|view| view.key == key).map(|view| &view.published)
    }

    /// The partition of a key in the machine's actions: each of them has a view.
    pub(crate) fn of(&self, key: PartitionKey) -> &Arc<Published> {
        self.find(key)
            .expect("a view is created before the first action that names it, and no action names a closed one")
    }

    /// Closes the view of a partition that is gone: wakes its readers and drops its memory.
    pub(crate) fn close(&mut self, key: PartitionKey) {
        self.of(key).publish(|state| {
            state.closed = true;
            state.log = ReadableLog::default();
        });
        self.views[key.slot()] = None;
    }

    /// Ends all views because the shard has ended: wakes their waiters. Batches in memory can still
    /// be read.
    pub(crate) fn end(&self) {
        for view in self.views.iter().flatten() {
            view.published.publish(|state| state.closed = true);
        }
    }
}

impl Memory for Views {
    type Chunk = ChunkWriter;

    fn take(&mut self, length: usize) -> Result<ChunkWriter, NoMemory> {
        self.chunks.take(length)
    }

    fn is_short_of(&self, length: usize) -> bool {
        self.chunks.is_short_of(length)
    }
}

impl ReaderMemory for Views {
    fn evict(&mut self, key: PartitionKey, through: Offset, unindexed: &UnindexedSegments) {
        if let Some(published) = self.find(key) {
            published.change(|state| state.log.evict_through(through, unindexed));
        }
    }
}
