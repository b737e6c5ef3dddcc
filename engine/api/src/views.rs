//! The state of a shard's partitions that readers see, and the memory of its recent batches, which
//! the driver provides. Taking memory for new batches evicts old ones from the readers' view. For
//! the crate that runs the shards.

use std::marker::PhantomData;
use std::sync::Arc;

use rustmq_engine_core::shard::error::{AppendError, CutError, DeleteError, OpenError, TrimError};
use rustmq_engine_core::shard::request::{Appended, ProducerState, Verification};
use rustmq_engine_core::shard::{Host, Memory, NewView, NoMemory, PartitionKey, ReadableLog, ReaderMemory};
use rustmq_engine_core::wal::UnindexedSegments;
use rustmq_model::Offset;

use crate::published::{PartitionState, Published};
use crate::request::{DiskReads, Reply};

/// The types of a shard whose requests come from an [`crate::Engine`]: replies are channels, and
/// `M` is the memory of recent batches.
#[derive(Debug)]
pub struct Channels<M>(PhantomData<M>);

impl<M: Memory> Host for Channels<M> {
    type Memory = Views<M>;
    type OpenReply = Reply<Vec<Result<Arc<Published>, OpenError>>>;
    type AppendReply = Reply<Vec<Result<Appended, AppendError>>>;
    type VerifyReply = Reply<Vec<Result<Verification, AppendError>>>;
    type ProducersReply = Reply<Option<Vec<ProducerState>>>;
    type TrimReply = Reply<Result<Offset, TrimError>>;
    type DeleteReply = Reply<Vec<Result<(), DeleteError>>>;
    type CutReply = Reply<Result<Offset, CutError>>;
    type DoneReply = Reply<()>;
}

#[derive(Debug)]
struct View {
    key: PartitionKey,
    published: Arc<Published>,
}

/// The views of one shard.
#[derive(Debug)]
pub struct Views<M> {
    memory: M,
    /// Serves reads of batches that have left memory.
    disk: Arc<dyn DiskReads>,
    /// Indexed by the key's slot.
    views: Vec<Option<View>>,
}

impl<M> Views<M> {
    #[must_use]
    pub fn new(memory: M, disk: Arc<dyn DiskReads>) -> Self {
        Self { memory, disk, views: Vec::new() }
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

    fn find(&self, key: PartitionKey) -> Option<&Arc<Published>> {
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
    pub fn end(&self) {
        for view in self.views.iter().flatten() {
            view.published.publish(|state| state.closed = true);
        }
    }
}

impl<M: Memory> Memory for Views<M> {
    type Chunk = M::Chunk;

    fn take(&mut self, length: usize) -> Result<M::Chunk, NoMemory> {
        self.memory.take(length)
    }

    fn is_short_of(&self, length: usize) -> bool {
        self.memory.is_short_of(length)
    }
}

impl<M: Memory> ReaderMemory for Views<M> {
    fn evict(&mut self, key: PartitionKey, through: Offset, unindexed: &UnindexedSegments) {
        if let Some(published) = self.find(key) {
            published.change(|state| state.log.evict_through(through, unindexed));
        }
    }
}
