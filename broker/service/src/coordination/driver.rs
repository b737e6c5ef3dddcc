//! The task of one coordinator: loads it, executes its appends, trims and tasks, and calls it at
//! its timeouts. It makes no decisions.

use std::collections::BTreeSet;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::RwLock;
use rustmq_broker_core::coordinator::{
    AppendFailure, AppendId, Committed, CoordinatorRecord, CoordinatorState, TaskId, TrimFailed,
};
use rustmq_engine_api::{Append, AppendError, AppendFrontier, AppendSource, Appended, Engine, PartitionReader, TrimTo};
use rustmq_model::batch::{Attributes, BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{Offset, ProducerKey, Sequence, TopicId, TopicIdPartition, TopicName};

use super::kind::{CoordinatorKind, TaskResultOf};
use super::load::load;
use super::log_reader::LONG_WAIT;
use super::shard::{CoordinatorShard, LogWork};
use crate::clock::wall_clock;
use crate::view::ClusterView;

/// The most pieces of work that are taken at a time. Their appends become one request to the
/// engine.
const WORK_MAX: usize = 256;
/// The most requests to the engine that wait for their result.
pub(super) const REQUESTS_MAX: usize = 8;

/// The pause after a coordinator has resigned by itself, before a new one begins: a log that
/// refuses each one at once must not keep the broker busy.
const PAUSE_AFTER_RESIGNATION: Duration = Duration::from_secs(1);

/// The inputs of a driver.
pub(super) struct Parts<K: CoordinatorKind> {
    pub(super) kind: Arc<K>,
    pub(super) shard: Arc<CoordinatorShard<K::Machine>>,
    pub(super) engine: Engine,
    pub(super) view: Arc<RwLock<ClusterView>>,
    pub(super) reader: PartitionReader,
    /// Bound on the decompressed records of one batch.
    pub(super) decompressed_bytes_max: usize,
}

impl<K: CoordinatorKind> Parts<K> {
    /// Whether the engine takes appends under the coordinator's leader epoch.
    fn is_led_here(&self) -> bool {
        !self.reader.is_closed() && self.reader.leader_epoch() == self.shard.leader_epoch()
    }

    /// Waits until another coordinator may load the log in the same epoch. The epoch does not fence
    /// the requests of the resigned coordinator, so the engine answers all of them first: a batch
    /// that it stored after the load would be missing in memory.
    async fn ready_to_restart(&self, requests: Requests) {
        self.all_answered(requests).await;
        loop {
            tokio::time::sleep(PAUSE_AFTER_RESIGNATION).await;
            if self.is_led_here() {
                return;
            }
        }
    }

    /// Waits for the results, however long that takes. A long wait is logged, because the partition
    /// has no coordinator meanwhile.
    async fn all_answered(&self, requests: Requests) {
        let count = requests.len();
        let mut answered = pin!(requests.count());
        if tokio::time::timeout(LONG_WAIT, &mut answered).await.is_err() {
            let (partition, kind) = (self.shard.id, K::NAME);
            tracing::warn!(%partition, kind, count, "a coordinator that has resigned still waits for the log to answer: no other one begins");
            answered.await;
        }
    }
}

/// Hosts the coordinator until it is dismissed. If it resigns by itself, a new one begins once the
/// engine has the log open in the same epoch: the metadata may not change again, and the partition
/// must not stay without a coordinator.
pub(super) async fn run<K: CoordinatorKind>(parts: Parts<K>) {
    let (shard, kind) = (&parts.shard, K::NAME);
    loop {
        let requests = host(&parts).await;
        tokio::select! {
            () = shard.dismissed() => return,
            () = parts.ready_to_restart(requests) => {}
        }
        tracing::warn!(partition = %shard.id, kind, "a coordinator had resigned by itself: it begins anew");
        shard.restart();
    }
}

/// Loads the coordinator, and runs it until it has resigned. Returns the requests to the engine
/// that have no result yet.
async fn host<K: CoordinatorKind>(parts: &Parts<K>) -> Requests {
    let loaded = tokio::select! {
        loaded = load(parts) => loaded,
        () = parts.shard.resigned() => return Requests::new(),
    };
    let Some(loader) = loaded else {
        // Let clients look for another coordinator: this one will never be loaded.
        parts.shard.resign();
        return Requests::new();
    };
    let Parts { kind, shard, engine, view, .. } = parts;
    shard.activate(loader);
    // Topics may have changed during the load.
    if let Some(event) = kind.all_topics() {
        shard.on_event(event);
    }
    report_missing_topics::<K>(shard, view);
    let (kind, shard) = (Arc::clone(kind), Arc::clone(shard));
    Driver { kind, shard, requests: Requests::new(), tasks: FuturesUnordered::new() }.run(engine).await
}

/// Reports to the coordinator which topics of its state are deleted, also if new topics have their
/// names. Later deletions are reported when they happen, because the coordinator is active.
fn report_missing_topics<K: CoordinatorKind>(shard: &CoordinatorShard<K::Machine>, view: &RwLock<ClusterView>) {
    let Ok(mut topics) = shard.read(K::topics) else { return };
    retain_gone(&mut topics, &view.read());
    if !topics.is_empty() {
        let count = topics.len();
        tracing::info!(partition = %shard.id, kind = K::NAME, count, "topics of a coordinator's state are deleted");
        if let Some(event) = K::topics_missing(topics) {
            shard.on_event(event);
        }
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

/// The requests to the engine without a result.
type Requests = FuturesUnordered<BoxFuture<'static, Completed>>;

/// A batch on its way to the log.
struct Sent {
    append: AppendId,
    record_count: i64,
    bytes: u64,
}

/// A task that runs, with its result.
type RunningTask<K> = BoxFuture<'static, (TaskId, TaskResultOf<K>)>;

struct Driver<K: CoordinatorKind> {
    kind: Arc<K>,
    shard: Arc<CoordinatorShard<K::Machine>>,
    requests: Requests,
    /// Dropped with the driver: a coordinator that begins anew gets no result of an earlier one.
    tasks: FuturesUnordered<RunningTask<K>>,
}

impl<K: CoordinatorKind> Driver<K> {
    /// Runs until the coordinator has resigned.
    async fn run(mut self, engine: &Engine) -> Requests {
        loop {
            self.start_tasks();
            self.execute(engine).await;
            if !self.is_active() {
                return self.requests;
            }
            self.next_event().await;
        }
    }

    fn is_active(&self) -> bool {
        self.shard.state() == CoordinatorState::Active
    }

    /// Waits for one event and handles it. The future may be dropped and made again.
    async fn next_event(&mut self) {
        let timeout = self.shard.clock.sleep_until(self.shard.timeout());
        tokio::select! {
            Some(completed) = self.requests.next(), if !self.requests.is_empty() => self.complete(completed),
            // Also while no more requests may be made: a resignation must be noticed even if the
            // log answers none of them.
            () = self.shard.news.notified() => {}
            Some((task, result)) = self.tasks.next(), if !self.tasks.is_empty() => self.shard.on_task_done(task, result),
            () = timeout => self.shard.handle_timeout(),
        }
        self.start_tasks();
    }

    fn start_tasks(&self) {
        for (task, work) in self.shard.take_tasks() {
            let running = self.kind.run_task(work);
            self.tasks.push(Box::pin(async move { (task, running.await) }));
        }
    }

    /// Passes the queued work to the engine, in order.
    async fn execute(&mut self, engine: &Engine) {
        while self.requests.len() < REQUESTS_MAX {
            let work = self.shard.take_work(WORK_MAX);
            if work.is_empty() {
                return;
            }
            let batch_bytes_max = self.shard.batch_bytes_max();
            let (mut sent, mut appends) = (Vec::with_capacity(work.len()), Vec::with_capacity(work.len()));
            for one in work {
                match one {
                    LogWork::Append { append, records, producer, is_exempt } => {
                        let batch = build(&records, producer);
                        if !is_exempt && batch.len() > batch_bytes_max {
                            self.shard.on_append_completed(append, Err(AppendFailure::TooLarge));
                            continue;
                        }
                        let record_count = i64::try_from(records.len()).expect("a batch holds fewer records");
                        sent.push(Sent { append, record_count, bytes: batch.len() as u64 });
                        appends.push(self.to_append(batch));
                    }
                    LogWork::AppendMarker { append, marker } => {
                        let leader_epoch = Some(self.shard.leader_epoch());
                        let marker = Append::marker(self.shard.id, leader_epoch, marker, wall_clock());
                        sent.push(Sent { append, record_count: 1, bytes: marker.batch.len() as u64 });
                        appends.push(marker);
                    }
                    LogWork::Trim { below } => self.trim(engine.clone(), below),
                }
            }
            if !appends.is_empty() {
                self.send(engine, sent, appends).await;
            }
        }
    }

    /// Sends appends to the engine. While the engine has no room for them, events are handled; a
    /// resignation ends the wait.
    async fn send(&mut self, engine: &Engine, sent: Vec<Sent>, appends: Vec<Append>) {
        let mut sending = pin!(engine.append(appends));
        let wait = loop {
            tokio::select! {
                biased;
                wait = &mut sending => break wait,
                () = self.next_event() => {
                    if !self.is_active() {
                        return;
                    }
                }
            }
        };
        let partition = self.shard.id;
        self.requests.push(Box::pin(async move {
            let results = sent.into_iter().zip(wait.wait().await);
            Completed::Appends(results.map(|(sent, result)| sent.completed(partition, result)).collect())
        }));
    }

    fn to_append(&self, batch: Bytes) -> Append {
        let header = BatchHeader::parse(&batch).expect("the batch was built just now");
        let leader_epoch = Some(self.shard.leader_epoch());
        Append {
            id: self.shard.id,
            leader_epoch,
            batch,
            header,
            source: AppendSource::Coordinator,
            until: AppendFrontier::HighWatermark,
        }
    }

    fn trim(&self, engine: Engine, below: Offset) {
        let partition = self.shard.id;
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
                let bytes = if appended.duplicate_of.is_some() { 0 } else { self.bytes };
                Ok(Committed { next_offset: appended.base_offset.plus(self.record_count), bytes })
            }
            Err(error) => {
                tracing::warn!(%partition, %error, "records of a coordinator were not stored");
                Err(failure(&error))
            }
        };
        (self.append, result)
    }
}

/// A batch of records; with a producer, a transactional one. Its producer numbers no batches here:
/// a repeated commit of the same offsets changes nothing.
fn build(records: &[CoordinatorRecord], producer: Option<ProducerKey>) -> Bytes {
    let now = wall_clock();
    let mut builder = BatchBuilder::new(Codec::None);
    if let Some(ProducerKey { id, epoch }) = producer {
        let attributes = Attributes::default().with_transactional();
        builder = builder.producer(id, epoch, Sequence::NONE).attributes(attributes);
    }
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
        AppendError::InvalidProducerEpoch { .. } => AppendFailure::InvalidProducerEpoch,
        AppendError::OutOfOrderSequence { .. }
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
