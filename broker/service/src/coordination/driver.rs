//! The task behind one coordinator: loads it from its log, carries out its appends and trims, and
//! wakes it at its timeouts. It decides nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::RwLock;
use rustmq_broker_core::coordinator::{
    AppendFailure, AppendId, Committed, CoordinatorMachine, CoordinatorRecord, CoordinatorState, Loader, ReplayFault,
    TrimFailed,
};
use rustmq_engine_api::{Append, AppendError, AppendFrontier, Appended, Engine, PartitionReader, ReadError, TrimTo};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{Offset, TopicId, TopicIdPartition, TopicName};

use super::kind::CoordinatorKind;
use super::log_reader::LogReader;
use super::shard::{CoordinatorShard, LogWork};
use crate::clock::wall_clock;
use crate::view::ClusterView;

/// A log that cannot be read is tried again after this.
const LOAD_RETRY: Duration = Duration::from_secs(1);
/// Pieces of work that are taken at a time; the appends among them are one request to the engine.
const WORK_MAX: usize = 256;
/// Requests to the engine that wait for their sync at a time.
pub(super) const REQUESTS_MAX: usize = 8;

/// The inputs of a driver.
pub(super) struct Parts<K: CoordinatorKind> {
    pub(super) kind: Arc<K>,
    pub(super) shard: Arc<CoordinatorShard<K::Machine>>,
    pub(super) engine: Engine,
    pub(super) view: Arc<RwLock<ClusterView>>,
    pub(super) reader: PartitionReader,
    /// Bound on the decompressed records of one batch.
    pub(super) decompressed_bytes_max: usize,
    pub(super) batch_bytes_max: usize,
}

/// Loads the coordinator, and runs until it has resigned.
pub(super) async fn run<K: CoordinatorKind>(parts: Parts<K>) {
    let Some(loader) = load(&parts).await else { return };
    let Parts { shard, engine, view, batch_bytes_max, .. } = parts;
    shard.activate(loader);
    report_missing_topics::<K>(&shard, &view);
    Driver { shard, engine, batch_bytes_max, requests: FuturesUnordered::new() }.run().await;
}

/// Replays the log. None if the coordinator has resigned or the partition has ended before all of
/// it was read: nothing is served from a part of a log.
async fn load<K: CoordinatorKind>(parts: &Parts<K>) -> Option<Loader<K::Machine>> {
    let (partition, kind, started) = (parts.shard.id, K::NAME, tokio::time::Instant::now());
    let (mut log, mut loader) = begin_load(parts);
    while !loader.is_complete() {
        let read = tokio::select! {
            read = log.next(loader.position()) => read,
            () = parts.shard.news.notified() => {
                if parts.shard.state() == CoordinatorState::Resigned {
                    return None;
                }
                continue;
            }
        };
        let (failure, is_trimmed) = match read {
            Ok(batches) => match loader.replay(&batches, |fault| report_fault(partition, kind, &fault)) {
                Ok(()) => continue,
                Err(error) => (error.to_string(), false),
            },
            Err(ReadError::Closed) => return None,
            Err(error) => (error.to_string(), matches!(error, ReadError::OutOfRange { .. })),
        };
        let offset = loader.position().0;
        tracing::error!(%partition, kind, offset, error = failure, "a coordinator cannot be loaded: it is tried again");
        tokio::time::sleep(LOAD_RETRY).await;
        if is_trimmed {
            // Tombstones may be gone that the records before them, replayed already, had.
            (log, loader) = begin_load(parts);
        }
    }
    let (offset, seconds) = (loader.position().0, started.elapsed().as_secs_f64());
    tracing::debug!(%partition, kind, offset, seconds, "a coordinator is loaded");
    Some(loader)
}

/// The log as it is now, and a machine that has replayed nothing of it.
fn begin_load<K: CoordinatorKind>(parts: &Parts<K>) -> (LogReader, Loader<K::Machine>) {
    let log = LogReader::new(parts.reader.clone());
    let machine = parts.kind.machine(parts.batch_bytes_max);
    let loader = Loader::new(machine, log.range(), parts.decompressed_bytes_max);
    (log, loader)
}

fn report_fault<E: std::error::Error>(partition: impl std::fmt::Display, kind: &str, fault: &ReplayFault<E>) {
    match fault {
        ReplayFault::Batch { base_offset, error } => {
            let offset = base_offset.0;
            tracing::error!(%partition, kind, offset, %error, "a batch of a coordinator's log is not readable");
        }
        ReplayFault::Record { offset, error } => {
            let offset = offset.0;
            tracing::error!(%partition, kind, offset, %error, "a record of a coordinator's log is not readable");
        }
    }
}

/// Tells the coordinator which of its topics are deleted, even if there are others under their
/// names by now. Later deletions are told to the coordinator as they come: it is active.
fn report_missing_topics<K: CoordinatorKind>(shard: &CoordinatorShard<K::Machine>, view: &RwLock<ClusterView>) {
    let Ok(mut topics) = shard.look(K::topics) else { return };
    retain_gone(&mut topics, &view.read());
    if !topics.is_empty() {
        let count = topics.len();
        tracing::info!(partition = %shard.id, kind = K::NAME, count, "topics of a coordinator's state are deleted");
        shard.tell(K::topics_missing(topics));
    }
}

fn retain_gone(topics: &mut BTreeSet<(TopicName, TopicId)>, view: &ClusterView) {
    topics.retain(|(name, id)| view.is_gone(name, *id));
}

/// The result of a request to the engine.
enum Completed {
    Appends(Vec<(AppendId, Result<Committed, AppendFailure>)>),
    Trim(Result<(), TrimFailed>),
}

/// A batch on its way to the log.
struct Sent {
    append: AppendId,
    record_count: i64,
    bytes: u64,
}

struct Driver<M: CoordinatorMachine> {
    shard: Arc<CoordinatorShard<M>>,
    engine: Engine,
    batch_bytes_max: usize,
    requests: FuturesUnordered<BoxFuture<'static, Completed>>,
}

impl<M: CoordinatorMachine> Driver<M> {
    async fn run(mut self) {
        while self.shard.state() == CoordinatorState::Active {
            self.execute().await;
            let timeout = self.shard.timeout().map(|at| self.shard.clock.runtime_instant(at));
            let sleep = async {
                match timeout {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(completed) = self.requests.next(), if !self.requests.is_empty() => self.complete(completed),
                // Also while no more requests may be made: the news may be that the coordinator has
                // resigned, and a log that commits nothing answers none of them.
                () = self.shard.news.notified() => {}
                () = sleep => self.shard.handle_timeout(),
            }
        }
    }

    /// Hands what is queued to the engine, in order.
    async fn execute(&mut self) {
        while self.requests.len() < REQUESTS_MAX {
            let work = self.shard.take_work(WORK_MAX);
            if work.is_empty() {
                return;
            }
            let (mut sent, mut appends) = (Vec::with_capacity(work.len()), Vec::with_capacity(work.len()));
            for one in work {
                match one {
                    LogWork::Append { append, records } => {
                        let batch = build(&records);
                        if batch.len() > self.batch_bytes_max {
                            self.shard.on_append_completed(append, Err(AppendFailure::TooLarge));
                            continue;
                        }
                        let record_count = i64::try_from(records.len()).expect("a batch holds fewer records");
                        sent.push(Sent { append, record_count, bytes: batch.len() as u64 });
                        appends.push(self.to_append(batch));
                    }
                    LogWork::Trim { below } => self.trim(below),
                }
            }
            if !appends.is_empty() {
                let partition = self.shard.id;
                let wait = self.engine.append(appends).await;
                self.requests.push(Box::pin(async move {
                    let results = sent.into_iter().zip(wait.wait().await);
                    Completed::Appends(results.map(|(sent, result)| sent.completed(partition, result)).collect())
                }));
            }
        }
    }

    fn to_append(&self, batch: Bytes) -> Append {
        let header = BatchHeader::parse(&batch).expect("the batch was built just now");
        let leader_epoch = Some(self.shard.leader_epoch());
        Append { id: self.shard.id, leader_epoch, batch, header, until: AppendFrontier::HighWatermark }
    }

    fn trim(&self, below: Offset) {
        let (engine, partition) = (self.engine.clone(), self.shard.id);
        self.requests.push(Box::pin(async move {
            Completed::Trim(match engine.trim(partition, TrimTo::Offset(below)).await {
                Ok(log_start) => {
                    tracing::debug!(%partition, offset = log_start.0, "a coordinator's log was shortened");
                    Ok(())
                }
                Err(error) => {
                    tracing::warn!(%partition, %error, "a coordinator's log was not shortened");
                    Err(TrimFailed)
                }
            })
        }));
    }

    fn complete(&self, completed: Completed) {
        match completed {
            Completed::Appends(results) => {
                for (append, result) in results {
                    self.shard.on_append_completed(append, result);
                }
            }
            Completed::Trim(result) => self.shard.on_trimmed(result),
        }
    }
}

impl Sent {
    fn completed(
        self,
        partition: TopicIdPartition,
        result: Result<Appended, AppendError>,
    ) -> (AppendId, Result<Committed, AppendFailure>) {
        let result = match result {
            Ok(appended) => {
                Ok(Committed { next_offset: appended.base_offset.plus(self.record_count), bytes: self.bytes })
            }
            Err(error) => {
                tracing::warn!(%partition, %error, "records of a coordinator were not stored");
                Err(failure(&error))
            }
        };
        (self.append, result)
    }
}

fn build(records: &[CoordinatorRecord]) -> Bytes {
    let now = wall_clock();
    let mut builder = BatchBuilder::new(Codec::None);
    for record in records {
        builder.push(now, Some(&record.key), record.value.as_deref(), &[]);
    }
    builder.build()
}

const fn failure(error: &AppendError) -> AppendFailure {
    match error {
        AppendError::TooLarge { .. } => AppendFailure::TooLarge,
        AppendError::UnknownPartition
        | AppendError::FencedLeaderEpoch { .. }
        | AppendError::UnknownLeaderEpoch { .. }
        | AppendError::CutOff
        | AppendError::Stopped => AppendFailure::NotLeader,
        AppendError::OutOfOrderSequence { .. }
        | AppendError::InvalidProducerEpoch { .. }
        | AppendError::ProducerLimit { .. }
        | AppendError::InvalidBatch { .. }
        | AppendError::InvalidTransaction { .. }
        | AppendError::Full
        | AppendError::Storage { .. } => AppendFailure::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use rustmq_broker_core::coordinator::AppendFailure;
    use rustmq_engine_api::AppendError;
    use rustmq_model::LeaderEpoch;

    use super::failure;

    #[test]
    fn a_coordinator_resigns_where_another_leads_the_log() {
        let (given, current) = (LeaderEpoch(1), LeaderEpoch(2));
        for error in [
            AppendError::UnknownPartition,
            AppendError::FencedLeaderEpoch { given, current },
            AppendError::UnknownLeaderEpoch { given: current, current: given },
            AppendError::CutOff,
            AppendError::Stopped,
        ] {
            assert_eq!(failure(&error), AppendFailure::NotLeader, "{error}");
        }
        assert_eq!(failure(&AppendError::Full), AppendFailure::Unavailable);
    }
}
