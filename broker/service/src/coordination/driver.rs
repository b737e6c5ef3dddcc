//! The task behind one coordinator: loads it from its log, appends what it decides, wakes it at its
//! timeouts, and keeps the log short by writing live records again at its head and trimming what
//! lies before.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use parking_lot::RwLock;
use rustmq_broker_core::groups::{CoordinatorRecord, CoordinatorState, GroupError};
use rustmq_engine_api::{Append, AppendError, AppendFrontier, Appended, Engine, ReadError, TrimTo};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{Offset, record};

use super::log_reader::{LogReader, Portion};
use super::shard::{AppendPurpose, QueuedAppend, RewriteStart, SharedShard};
use crate::clock::wall_clock;
use crate::config::BrokerLimits;
use crate::view::ClusterView;

/// A log that cannot be read is tried again after this.
const LOAD_RETRY: Duration = Duration::from_secs(1);
/// Appends that go to the engine in one request.
const APPENDS_MAX: usize = 256;
/// Requests to the engine that wait for their sync at a time.
const REQUESTS_MAX: usize = 8;
/// Live records that are written again in one go.
const REWRITE_BYTES: usize = 256 << 10;

/// What became of the appends of one request to the engine.
type Results = Vec<(AppendPurpose, Result<Appended, AppendError>)>;

pub(super) struct Driver {
    shard: SharedShard,
    engine: Engine,
    view: Arc<RwLock<ClusterView>>,
    limits: BrokerLimits,
    record_bytes_max: usize,
    requests: FuturesUnordered<BoxFuture<'static, Results>>,
    rewrite: Option<Rewrite>,
    /// Bytes of the log, as this task read and appended them.
    log_bytes: u64,
    /// What `log_bytes` was when the log was last shortened.
    log_bytes_after_rewrite: u64,
}

/// A shortening of the log that is under way.
struct Rewrite {
    start: RewriteStart,
    /// Bytes of the log that go in the end.
    bytes_below: u64,
    /// Appends of live records that are not stored yet.
    outstanding: usize,
    /// One of them was not stored: what is there twice by now does no harm, and the log is
    /// shortened when it has grown more.
    has_failed: bool,
}

impl Driver {
    pub(super) fn new(
        shard: SharedShard,
        engine: Engine,
        view: Arc<RwLock<ClusterView>>,
        limits: BrokerLimits,
        record_bytes_max: usize,
    ) -> Self {
        let requests = FuturesUnordered::new();
        Self {
            shard,
            engine,
            view,
            limits,
            record_bytes_max,
            requests,
            rewrite: None,
            log_bytes: 0,
            log_bytes_after_rewrite: 0,
        }
    }

    /// Runs until the coordinator is unloaded.
    pub(super) async fn run(mut self) {
        if !self.load().await {
            return;
        }
        self.shard.activate();
        self.forget_gone_topics();
        while self.shard.state() == CoordinatorState::Active {
            self.shorten().await;
            self.append().await;
            let timeout = self.shard.timeout().map(|at| self.shard.clock.runtime_instant(at));
            let sleep = async {
                match timeout {
                    Some(at) => tokio::time::sleep_until(at).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                Some(results) = self.requests.next(), if !self.requests.is_empty() => self.complete(results),
                () = self.shard.news.notified(), if self.requests.len() < REQUESTS_MAX => {}
                () = sleep => self.shard.handle_timeout(),
            }
        }
    }

    /// Replays the log. False if the partition ended before it was all read: then nothing must be
    /// served from what was.
    async fn load(&mut self) -> bool {
        let mut log = LogReader::new(self.shard.reader.clone());
        let started = tokio::time::Instant::now();
        while !log.is_at_end() && self.shard.state() == CoordinatorState::Loading {
            match log.next().await {
                Ok(portion) => self.load_portion(&portion),
                Err(ReadError::Closed) => return false,
                Err(error) => {
                    let offset = log.position().0;
                    tracing::error!(partition = %self.shard.id, offset, %error, "groups cannot be loaded: trying again");
                    tokio::time::sleep(LOAD_RETRY).await;
                }
            }
        }
        let (offset, seconds) = (log.position().0, started.elapsed().as_secs_f64());
        tracing::debug!(partition = %self.shard.id, offset, seconds, "groups are loaded");
        log.is_at_end()
    }

    fn load_portion(&mut self, portion: &Portion) {
        for batch in &portion.batches {
            self.load_batch(batch, portion.from);
            self.log_bytes += batch.len() as u64;
        }
    }

    /// Drops offsets of topics that are deleted, even if there are others under their names by now.
    /// Deletions that the view learns of from here on are told to the coordinator, which is active.
    fn forget_gone_topics(&self) {
        let mut topics = self.shard.committed_topics();
        {
            let view = self.view.read();
            topics.retain(|(name, id)| view.is_gone(name, *id));
        }
        if !topics.is_empty() {
            let count = topics.len();
            tracing::info!(partition = %self.shard.id, count, "offsets of deleted topics are dropped");
            self.shard.forget_gone(&topics);
        }
    }

    /// A record that cannot be read is passed over: one damaged group must not take all others of
    /// its partition down.
    fn load_batch(&self, batch: &Bytes, from: Offset) {
        let partition = self.shard.id;
        let records = match record::read(batch, self.limits.decompressed_bytes_max) {
            Ok(records) => records,
            Err(error) => {
                tracing::error!(%partition, offset = from.0, %error, "a batch of group records is not readable");
                return;
            }
        };
        for record in records.into_iter().filter(|record| record.offset >= from) {
            let Some(key) = record.key else { continue };
            if let Err(error) = self.shard.replay(&key, record.value.as_ref()) {
                tracing::error!(%partition, offset = record.offset.0, %error, "a group record is not readable");
            }
        }
    }

    /// Hands what is queued to the engine, in order.
    async fn append(&mut self) {
        while self.requests.len() < REQUESTS_MAX {
            let queued = self.shard.take_queued(APPENDS_MAX);
            if queued.is_empty() {
                return;
            }
            let mut purposes = Vec::with_capacity(queued.len());
            let mut appends = Vec::with_capacity(queued.len());
            for QueuedAppend { purpose, records } in queued {
                let batch = build(&records);
                if batch.len() > self.record_bytes_max {
                    self.finish(purpose, Err(GroupError::RecordTooLarge));
                    continue;
                }
                let header = BatchHeader::parse(&batch).expect("the batch was built just now");
                self.log_bytes += batch.len() as u64;
                purposes.push(purpose);
                let until = AppendFrontier::HighWatermark;
                appends.push(Append { id: self.shard.id, leader_epoch: None, batch, header, until });
            }
            if appends.is_empty() {
                continue;
            }
            let wait = self.engine.append(appends).await;
            self.requests.push(Box::pin(async move { purposes.into_iter().zip(wait.wait().await).collect() }));
        }
    }

    fn complete(&mut self, results: Results) {
        for (purpose, result) in results {
            let result = result.map(|_| ()).map_err(|error| {
                tracing::warn!(partition = %self.shard.id, %error, "a group's record was not stored");
                refusal(&error)
            });
            self.finish(purpose, result);
        }
    }

    fn finish(&mut self, purpose: AppendPurpose, result: Result<(), GroupError>) {
        match purpose {
            AppendPurpose::Decision(append) => self.shard.on_appended(append, result),
            AppendPurpose::Rewrite => {
                let Some(rewrite) = &mut self.rewrite else { return };
                rewrite.outstanding -= 1;
                rewrite.has_failed |= result.is_err();
            }
        }
    }

    /// Takes the next step in keeping the log short, if one is due.
    async fn shorten(&mut self) {
        let rewrite = match &mut self.rewrite {
            Some(rewrite) => rewrite,
            None => {
                let due_at = self.limits.group_log_bytes.max(self.log_bytes_after_rewrite.saturating_mul(2));
                if self.log_bytes < due_at {
                    return;
                }
                let (start, bytes_below) = (self.shard.begin_rewrite(), self.log_bytes);
                self.rewrite.insert(Rewrite { start, bytes_below, outstanding: 0, has_failed: false })
            }
        };
        if rewrite.outstanding > 0 {
            return;
        }
        if rewrite.has_failed {
            self.rewrite = None;
            self.log_bytes_after_rewrite = self.log_bytes;
            return;
        }
        rewrite.outstanding = self.shard.queue_live(&mut rewrite.start, REWRITE_BYTES, self.record_bytes_max / 2);
        if rewrite.outstanding > 0 || !rewrite.start.groups.is_empty() {
            return;
        }
        let (below, bytes_below) = (rewrite.start.below, rewrite.bytes_below);
        self.rewrite = None;
        let partition = self.shard.id;
        match self.engine.trim(partition, TrimTo::Offset(below)).await {
            Ok(log_start) => {
                let (before, after) = (self.log_bytes, self.log_bytes - bytes_below);
                tracing::debug!(%partition, offset = log_start.0, before, after, "a log of groups was shortened");
                self.log_bytes = after;
            }
            Err(error) => tracing::warn!(%partition, %error, "a log of groups was not shortened"),
        }
        self.log_bytes_after_rewrite = self.log_bytes;
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

/// What a member is told whose record was not stored.
const fn refusal(error: &AppendError) -> GroupError {
    match error {
        AppendError::TooLarge { .. } => GroupError::RecordTooLarge,
        AppendError::UnknownPartition | AppendError::CutOff | AppendError::Stopped => GroupError::NotCoordinator,
        _ => GroupError::CoordinatorNotAvailable,
    }
}

#[cfg(test)]
mod tests {
    use rustmq_broker_core::groups::GroupError;
    use rustmq_engine_api::AppendError;

    use super::refusal;

    #[test]
    fn members_look_for_another_coordinator_where_another_leads_the_log() {
        for error in [AppendError::UnknownPartition, AppendError::CutOff, AppendError::Stopped] {
            assert_eq!(refusal(&error), GroupError::NotCoordinator, "{error}");
        }
        assert_eq!(refusal(&AppendError::Full), GroupError::CoordinatorNotAvailable);
    }
}
