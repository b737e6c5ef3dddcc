//! The kind of coordinator for transactions, whose topic is `__transaction_state`.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustmq_broker_core::coordinator::{CoordinatorError, CoordinatorState};
use rustmq_broker_core::transactions::machine::{TransactionDescription, TransactionFilter, TransactionListing};
use rustmq_broker_core::transactions::task::{TransactionTask, TransactionTaskResult};
use rustmq_broker_core::transactions::{
    TransactionConfig, TransactionError, TransactionOutcome, TransactionRequest, TransactionState, Transactions,
};
use rustmq_controller_core::configs::EffectiveBrokerConfig;
use rustmq_model::{LeaderEpoch, ProducerId, Timestamp, TopicId, TopicName, TransactionalId};

use super::Coordinators;
use super::kind::{CoordinatorKind, EventOf};
use super::shard::{CoordinatorShard, ReplyWait};
use crate::clock::wall_clock;
use crate::markers::MarkerPort;
use crate::producer_ids::ProducerIdSource;

/// All transaction coordinators of this broker.
pub(crate) type TransactionCoordinators = Coordinators<TransactionKind>;

pub(crate) struct TransactionKind {
    config: TransactionConfig,
    markers: Arc<MarkerPort>,
    producer_ids: Arc<ProducerIdSource>,
}

impl TransactionKind {
    pub(crate) fn new(
        settings: &EffectiveBrokerConfig,
        markers: Arc<MarkerPort>,
        producer_ids: Arc<ProducerIdSource>,
    ) -> Self {
        Self { config: transaction_config(settings), markers, producer_ids }
    }
}

impl CoordinatorKind for TransactionKind {
    type Machine = Transactions;

    const NAME: &'static str = "transactions";

    fn machine(&self, leader_epoch: LeaderEpoch, batch_bytes_max: usize) -> Transactions {
        let record_bytes_max = batch_bytes_max;
        Transactions::new(TransactionConfig { record_bytes_max, ..self.config.clone() }, leader_epoch)
    }

    /// None: the markers of a transaction find out which of its topics are deleted.
    fn topics(_machine: &Transactions) -> BTreeSet<(TopicName, TopicId)> {
        BTreeSet::new()
    }

    fn topics_missing(_topics: BTreeSet<(TopicName, TopicId)>) -> Option<EventOf<Self>> {
        None
    }

    fn run_task(&self, work: TransactionTask) -> BoxFuture<'static, TransactionTaskResult> {
        match work {
            TransactionTask::WriteMarkers { marker, partitions } => {
                let markers = Arc::clone(&self.markers);
                async move { TransactionTaskResult::Markers(markers.write(marker, partitions).await) }.boxed()
            }
            TransactionTask::AllocateProducerIds { count } => {
                let source = Arc::clone(&self.producer_ids);
                async move { TransactionTaskResult::ProducerIds(allocate(&source, count).await) }.boxed()
            }
        }
    }
}

/// As many ids as there are, up to `count`.
async fn allocate(source: &ProducerIdSource, count: usize) -> Vec<ProducerId> {
    let mut ids = Vec::with_capacity(count);
    while ids.len() < count {
        match source.next().await {
            Ok(id) => ids.push(id),
            Err(error) => {
                tracing::warn!(%error, "the transaction coordinator gets no producer ids: it asks again");
                break;
            }
        }
    }
    ids
}

impl TransactionCoordinators {
    /// The coordinator of a transactional id, if it runs here.
    fn of_id(&self, id: &TransactionalId) -> Result<Arc<CoordinatorShard<Transactions>>, TransactionError> {
        Ok(self.shard_of(id.as_str())?)
    }

    /// Whether an id is coordinated here. It is not while its coordinator has resigned by itself
    /// and no new one has begun.
    pub(crate) fn coordinates(&self, id: &TransactionalId) -> bool {
        self.of_id(id).is_ok_and(|shard| shard.state() != CoordinatorState::Resigned)
    }

    /// Makes a request. `answer` extracts the outcome of this kind of request.
    pub(crate) fn request<T>(
        &self,
        request: TransactionRequest,
        answer: fn(TransactionOutcome) -> Option<Result<T, TransactionError>>,
    ) -> TransactionWait<T> {
        TransactionWait(match self.of_id(request.id()) {
            Ok(shard) => State::Waiting { reply: shard.request(request), answer },
            Err(error) => State::Refused(Some(error)),
        })
    }

    pub(crate) fn describe(&self, id: &TransactionalId) -> Result<TransactionDescription, TransactionError> {
        self.of_id(id)?.read(|transactions| transactions.describe(id))?
    }

    /// The transactional ids of all coordinators that pass the filter. A coordinator that has
    /// resigned has none.
    pub(crate) fn list(&self, filter: &TransactionFilter<'_>) -> Result<Vec<TransactionListing>, TransactionError> {
        let (now, mut listed) = (wall_clock(), Vec::new());
        for shard in self.shards() {
            match shard.read(|transactions| transactions.list(now, filter)) {
                Ok(part) => listed.extend(part),
                Err(CoordinatorError::Resigned) => {}
                Err(refusal) => return Err(refusal.into()),
            }
        }
        Ok(listed)
    }

    /// The number of transactional ids in each state.
    pub(crate) fn state_counts(&self) -> BTreeMap<TransactionState, usize> {
        let mut counts: BTreeMap<_, _> = TransactionState::ALL.into_iter().map(|state| (state, 0)).collect();
        for counted in self.shards().iter().filter_map(|shard| shard.read(Transactions::state_counts).ok()) {
            for (state, count) in counted {
                *counts.entry(state).or_default() += count;
            }
        }
        counts
    }

    /// When the oldest decision was made whose markers are not all written.
    pub(crate) fn oldest_prepared(&self) -> Option<Timestamp> {
        self.shards().iter().filter_map(|shard| shard.read(Transactions::oldest_prepared).ok().flatten()).min()
    }
}

/// The pending answer to a transaction request that has taken effect. Dropping it changes nothing.
#[derive(Debug)]
#[must_use = "the answer says whether the request was granted"]
pub struct TransactionWait<T>(State<T>);

#[derive(Debug)]
enum State<T> {
    /// None once the error was returned.
    Refused(Option<TransactionError>),
    Waiting {
        reply: ReplyWait<TransactionOutcome>,
        answer: fn(TransactionOutcome) -> Option<Result<T, TransactionError>>,
    },
}

impl<T> Future for TransactionWait<T> {
    type Output = Result<T, TransactionError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        match &mut self.0 {
            State::Refused(error) => Poll::Ready(Err(error.take().unwrap_or(TransactionError::NotCoordinator))),
            State::Waiting { reply, answer } => Pin::new(reply)
                .poll(context)
                .map(|outcome| answer(outcome?).expect("a request is answered with an outcome of its own kind")),
        }
    }
}

fn transaction_config(settings: &EffectiveBrokerConfig) -> TransactionConfig {
    let millis = |millis: u32| Duration::from_millis(u64::from(millis));
    TransactionConfig {
        timeout_max: millis(settings.transaction_timeout_ms_max),
        id_expiration: millis(settings.transactional_id_expiration_ms),
        id_expiration_check_interval: millis(settings.transactional_id_expiration_check_ms),
        ..TransactionConfig::default()
    }
}
