//! The engine's handle: sends each request to the shard that owns the partition. Knows which shard
//! that is, and nothing about logs.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use rustmq_engine_core::shard::error::{AppendError, DeleteError, EngineStopped, OpenError, TrimError};
use rustmq_engine_core::shard::request::{
    Append, Appended, LogConfig, OpenPartition, ProducerState, TrimTo, Verification, Verify,
};
use rustmq_model::{Offset, TopicIdPartition};
use tokio::sync::{oneshot, watch};

use crate::error::ShutdownError;
use crate::published::Published;
use crate::reader::PartitionReader;
use crate::request::Request;
use crate::shard_handle::ShardHandle;
use crate::status::EngineStatus;

/// Which shard owns which partition. A shard adds a partition when it opens it, and removes it when
/// it deletes it.
#[derive(Debug, Default)]
pub struct Directory {
    partitions: RwLock<HashMap<TopicIdPartition, DirectoryEntry>>,
}

#[derive(Clone, Debug)]
struct DirectoryEntry {
    shard: usize,
    published: Arc<Published>,
}

impl Directory {
    pub fn insert(&self, shard: usize, published: Arc<Published>) {
        self.partitions.write().insert(published.id, DirectoryEntry { shard, published });
    }

    pub fn remove(&self, id: TopicIdPartition) {
        self.partitions.write().remove(&id);
    }

    fn find(&self, id: TopicIdPartition) -> Option<DirectoryEntry> {
        self.partitions.read().get(&id).cloned()
    }

    fn shard_of(&self, id: TopicIdPartition) -> Option<usize> {
        self.partitions.read().get(&id).map(|entry| entry.shard)
    }
}

/// The storage engine's handle. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Engine {
    shards: Arc<[ShardHandle]>,
    directory: Arc<Directory>,
}

impl Engine {
    /// For the crate that runs the shards.
    ///
    /// # Panics
    /// If `shards` is empty.
    #[must_use]
    pub fn new(shards: Vec<ShardHandle>, directory: Arc<Directory>) -> Self {
        assert!(!shards.is_empty(), "an engine has at least one shard");
        Self { shards: shards.into(), directory }
    }

    /// Every open partition, in order of its id. After a start these are the recovered partitions.
    #[must_use]
    pub fn partitions(&self) -> Vec<TopicIdPartition> {
        let mut ids: Vec<_> = self.directory.partitions.read().keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// The reader of a partition, or `None` unless the partition is open here.
    #[must_use]
    pub fn reader(&self, id: TopicIdPartition) -> Option<PartitionReader> {
        let entry = self.directory.find(id)?;
        Some(self.reader_of(entry.published, entry.shard))
    }

    fn reader_of(&self, published: Arc<Published>, shard: usize) -> PartitionReader {
        PartitionReader::new(published, self.shards[shard].clone())
    }

    /// Creates partitions, or opens existing ones under a leader epoch that is not lower than
    /// theirs. Answers in the order of the request, after everything is synced.
    pub async fn open(&self, partitions: Vec<OpenPartition>) -> Vec<Result<PartitionReader, OpenError>> {
        let routed = self.route(partitions, |open| self.shard_for(open.id));
        let opened = self.ask(routed, |partitions, reply| Request::Open { partitions, reply }).await;
        let shards = opened.into_iter();
        shards.map(|(shard, result)| result.map(|published| self.reader_of(published, shard))).collect()
    }

    /// Changes a partition's retention. Does nothing if the partition is not open.
    ///
    /// # Errors
    /// [`EngineStopped`] if the shard has ended.
    pub async fn configure(&self, id: TopicIdPartition, config: LogConfig) -> Result<(), EngineStopped> {
        let Some(shard) = self.directory.shard_of(id) else { return Ok(()) };
        let (reply, answer) = oneshot::channel();
        self.send(shard, Request::Configure { id, config, reply }).await?;
        answer.await.map_err(|_| EngineStopped)
    }

    /// Hands batches to their shards. Returns when the shards' inboxes have taken them, so that
    /// consecutive calls take effect in their order; waits for room in full inboxes. Dropping the
    /// returned wait withdraws nothing.
    pub async fn append(&self, appends: Vec<Append>) -> AppendWait {
        let count = appends.len();
        let routed = self.route(appends, |append| self.directory.shard_of(append.id));
        let mut wait = AppendWait(PartedAnswer { results: vec![None; count], parts: Vec::new() });
        for index in routed.unknown {
            wait.0.results[index] = Some(Err(AppendError::UnknownPartition));
        }
        for (shard, part) in routed.parts {
            let (reply, answer) = oneshot::channel();
            // A failed send drops the reply, and the wait then reports the append as stopped.
            let _ = self.send(shard, Request::Append { appends: part.items, reply }).await;
            wait.0.parts.push((part.indices, answer));
        }
        wait
    }

    /// Asks the partitions' logs, ahead of the append, which batches begin a transaction there: the
    /// transaction coordinator must confirm these, and each is then appended with the guard of its
    /// verification ([`AppendSource::Client`](crate::AppendSource::Client), KIP-890). The checks of
    /// a batch are those of its append, so that a batch that would be refused is refused here.
    /// Returns when the shards' inboxes have taken the batches; the answer needs no disk.
    ///
    /// A batch is verified after the earlier batches of its producer were appended: otherwise its
    /// sequence is out of order.
    pub async fn start_verification(&self, batches: Vec<Verify>) -> VerificationWait {
        let count = batches.len();
        let routed = self.route(batches, |batch| self.directory.shard_of(batch.id));
        let mut wait = VerificationWait(PartedAnswer { results: vec![None; count], parts: Vec::new() });
        for index in routed.unknown {
            wait.0.results[index] = Some(Err(AppendError::UnknownPartition));
        }
        for (shard, part) in routed.parts {
            let (reply, answer) = oneshot::channel();
            // A failed send drops the reply, and the wait then reports the batches as stopped.
            let _ = self.send(shard, Request::Verify { batches: part.items, reply }).await;
            wait.0.parts.push((part.indices, answer));
        }
        wait
    }

    /// What the partition remembers of its producers, in the order of their ids
    /// (`DescribeProducers`, KIP-664). `None` unless it is open.
    ///
    /// # Errors
    /// [`EngineStopped`] if the shard has ended.
    pub async fn describe_producers(&self, id: TopicIdPartition) -> Result<Option<Vec<ProducerState>>, EngineStopped> {
        let Some(shard) = self.directory.shard_of(id) else { return Ok(None) };
        let (reply, answer) = oneshot::channel();
        self.send(shard, Request::DescribeProducers { id, reply }).await?;
        answer.await.map_err(|_| EngineStopped)
    }

    /// Raises the log start. Answers the synced log start, which is higher than asked for if it
    /// already was.
    ///
    /// # Errors
    /// [`TrimError`] says why the log start did not move.
    pub async fn trim(&self, id: TopicIdPartition, to: TrimTo) -> Result<Offset, TrimError> {
        let shard = self.directory.shard_of(id).ok_or(TrimError::UnknownPartition)?;
        let (reply, answer) = oneshot::channel();
        self.send(shard, Request::Trim { id, to, reply }).await?;
        answer.await.map_err(|_| TrimError::Stopped)?
    }

    /// Deletes partitions and all their records. Answers in the order of the request, after the
    /// deletions are synced.
    pub async fn delete(&self, ids: Vec<TopicIdPartition>) -> Vec<Result<(), DeleteError>> {
        let routed = self.route(ids, |id| self.directory.shard_of(*id).or(Some(0)));
        let deleted = self.ask(routed, |ids, reply| Request::Delete { ids, reply }).await;
        deleted.into_iter().map(|(_, result)| result).collect()
    }

    #[must_use]
    pub fn status(&self) -> EngineStatus {
        EngineStatus { shards: self.shards.iter().map(|shard| shard.figures.status()).collect() }
    }

    /// For each shard, in order: receives the reason when the shard fails for good. A failed shard
    /// acknowledges nothing more while this process lives.
    #[must_use]
    pub fn failures(&self) -> Vec<watch::Receiver<Option<String>>> {
        self.shards.iter().map(|shard| shard.figures.watch_poisoned()).collect()
    }

    /// Writes the last proof of each log, syncs, and ends the shards, however long the disk takes.
    /// Later requests are answered with `Stopped`.
    pub async fn shutdown(&self) {
        let mut answers = Vec::new();
        for shard in 0..self.shards.len() {
            let (reply, answer) = oneshot::channel();
            if self.send(shard, Request::Shutdown { reply }).await.is_ok() {
                answers.push(answer);
            }
        }
        for answer in answers {
            // An error means that the shard has already ended.
            let _ = answer.await;
        }
    }

    /// Shuts down as [`Self::shutdown`] does, but gives up after `limit`, for a process that must
    /// end even on a stalled disk.
    ///
    /// # Errors
    /// [`ShutdownError`] if a shard has not ended in time; it keeps waiting for its disk, and the
    /// process should end. Everything that was acknowledged is synced; everything else gets no
    /// answer.
    pub async fn shutdown_within(&self, limit: Duration) -> Result<(), ShutdownError> {
        tokio::time::timeout(limit, self.shutdown()).await.map_err(|_| ShutdownError { limit })
    }

    async fn send(&self, shard: usize, request: Request) -> Result<(), EngineStopped> {
        self.shards[shard].inbox.send(request).await.map_err(|_| EngineStopped)
    }

    /// The shard of a partition, or the shard that a new partition goes to: the partitions of a
    /// topic are spread over the shards in turn.
    fn shard_for(&self, id: TopicIdPartition) -> Option<usize> {
        let count = self.shards.len() as u128;
        let round = || {
            let spread = (id.topic_id.0 >> 64) ^ id.topic_id.0;
            let partition = u128::from(id.partition.0.unsigned_abs());
            usize::try_from((spread % count + partition % count) % count).expect("below the number of shards")
        };
        Some(self.directory.shard_of(id).unwrap_or_else(round))
    }

    fn route<T>(&self, items: Vec<T>, shard_of: impl Fn(&T) -> Option<usize>) -> Routed<T> {
        let mut routed = Routed { count: items.len(), parts: Vec::new(), unknown: Vec::new() };
        for (index, item) in items.into_iter().enumerate() {
            let Some(shard) = shard_of(&item) else {
                routed.unknown.push(index);
                continue;
            };
            // The shards are few: a linear search beats a map.
            let at = routed.parts.iter().position(|(other, _)| *other == shard).unwrap_or_else(|| {
                routed.parts.push((shard, Part { indices: Vec::new(), items: Vec::new() }));
                routed.parts.len() - 1
            });
            routed.parts[at].1.indices.push(index);
            routed.parts[at].1.items.push(item);
        }
        routed
    }

    /// Sends every part, then collects the answers in the order of the items.
    async fn ask<T, R, E: From<EngineStopped>>(
        &self,
        routed: Routed<T>,
        request: impl Fn(Vec<T>, oneshot::Sender<Vec<Result<R, E>>>) -> Request,
    ) -> Vec<(usize, Result<R, E>)> {
        let mut results: Vec<_> = (0..routed.count).map(|_| (0, Err(E::from(EngineStopped)))).collect();
        let mut waits = Vec::new();
        for (shard, part) in routed.parts {
            let (reply, answer) = oneshot::channel();
            // A failed send drops the reply, and the results of this part stay `Stopped`.
            let _ = self.send(shard, request(part.items, reply)).await;
            waits.push((shard, part.indices, answer));
        }
        for (shard, indices, answer) in waits {
            let Ok(answers) = answer.await else { continue };
            for (index, answer) in indices.into_iter().zip(answers) {
                results[index] = (shard, answer);
            }
        }
        results
    }
}

struct Part<T> {
    indices: Vec<usize>,
    items: Vec<T>,
}

struct Routed<T> {
    count: usize,
    parts: Vec<(usize, Part<T>)>,
    unknown: Vec<usize>,
}

/// The pending answer to an append.
#[derive(Debug)]
#[must_use = "an append is acknowledged only by its answer"]
pub struct AppendWait(PartedAnswer<Appended>);

impl AppendWait {
    /// Returns when every batch is durable or refused, with the results in the order of the
    /// request.
    pub async fn wait(self) -> Vec<Result<Appended, AppendError>> {
        self.0.collect().await
    }
}

/// The pending answer to [`Engine::start_verification`].
#[derive(Debug)]
#[must_use = "the answer says which batches their coordinator must confirm"]
pub struct VerificationWait(PartedAnswer<Verification>);

impl VerificationWait {
    /// The results in the order of the request.
    pub async fn wait(self) -> Vec<Result<Verification, AppendError>> {
        self.0.collect().await
    }
}

/// The answer to batches that went to several shards.
#[derive(Debug)]
struct PartedAnswer<T> {
    results: Vec<Option<Result<T, AppendError>>>,
    /// The places of a shard's batches in the request, and its answer.
    parts: Vec<(Vec<usize>, oneshot::Receiver<Answers<T>>)>,
}

type Answers<T> = Vec<Result<T, AppendError>>;

impl<T> PartedAnswer<T> {
    async fn collect(mut self) -> Vec<Result<T, AppendError>> {
        for (indices, answer) in self.parts {
            let Ok(answers) = answer.await else { continue };
            for (index, answer) in indices.into_iter().zip(answers) {
                self.results[index] = Some(answer);
            }
        }
        self.results.into_iter().map(|result| result.unwrap_or(Err(AppendError::Stopped))).collect()
    }
}
