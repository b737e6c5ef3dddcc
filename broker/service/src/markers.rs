//! Transaction markers: writes the end of a transaction in partitions. The transaction coordinator
//! decides what is written; the partition's log whether it may be. A partition of
//! `__consumer_offsets` has a group coordinator, which writes the marker itself.
//!
//! [`MarkerPort`] is the coordinators' one way to the leaders of partitions. A leader on another
//! broker will be reached by it as well, with a request of the same contents (`WriteTxnMarkers`),
//! which that leader executes as [`Session::write_markers`].

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use parking_lot::RwLock;
use rustmq_broker_core::ErrorKind;
use rustmq_broker_core::groups::GroupError;
use rustmq_broker_core::transactions::MarkerOutcome;
use rustmq_engine_api::{Append, AppendError, Engine, TransactionRejection};
use rustmq_model::{ProducerEpoch, ProducerId, TopicName, TopicPartition, TransactionMarker};

use crate::clock::wall_clock;
use crate::coordination::{GroupCoordinators, GroupWait};
use crate::session::Session;
use crate::storage::StorageError;
use crate::view::{ClusterView, LocateError, Located, OFFSETS_TOPIC, TRANSACTIONS_TOPIC, TopicRef, is_internal};

/// The longest wait for the answers to one batch of markers. It is well below the time after which
/// a coordinator takes its task for lost, so that no marker of an earlier task still waits for room
/// in an inbox when a later task sends its own.
const WAIT_MAX: Duration = Duration::from_secs(15);

/// Why a marker is not written in a partition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MarkerError {
    #[error(transparent)]
    Locate(#[from] LocateError),
    /// The log of transactional ids takes no markers.
    #[error("Topic '{topic}' belongs to the broker itself: no transaction has its partitions.")]
    InternalTopic { topic: TopicName },
    /// The transaction of the marker is ended here.
    #[error("epoch {got} of producer {producer} is fenced by epoch {current}")]
    InvalidProducerEpoch { producer: ProducerId, current: ProducerEpoch, got: ProducerEpoch },
    #[error("the transaction coordinator of epoch {got} is fenced by one of epoch {current}")]
    FencedCoordinator { current: i32, got: i32 },
    /// This broker knows of no coordinator that new: its metadata may be late, or the sender errs.
    /// A marker with such an epoch would fence all coordinators of the transaction.
    #[error("No transaction coordinator has had epoch {got}: the newest one that is known has {newest}.")]
    UnknownCoordinatorEpoch { got: i32, newest: i32 },
    /// The marker may still be written.
    #[error("Storing the marker took too long.")]
    TimedOut,
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The group coordinator of the partition has refused it. The inner error has the reason.
    #[error(transparent)]
    Group(GroupError),
    /// A defect of this broker: its log has refused a marker as no client's batch may be.
    #[error("the log refuses the marker: {0}")]
    Refused(AppendError),
}

impl MarkerError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Locate(error) => error.kind(),
            Self::InternalTopic { .. } => ErrorKind::Invalid,
            Self::InvalidProducerEpoch { .. } | Self::FencedCoordinator { .. } => ErrorKind::Fenced,
            Self::UnknownCoordinatorEpoch { .. } | Self::TimedOut => ErrorKind::Retry,
            Self::Storage(error) => error.kind(),
            Self::Group(error) => error.kind(),
            Self::Refused(_) => ErrorKind::Internal,
        }
    }

    /// The coordinator's view of the error.
    const fn outcome(&self) -> MarkerOutcome {
        match self {
            Self::Locate(_) | Self::Group(GroupError::NotCoordinator) => MarkerOutcome::LeaderUnknown,
            Self::InvalidProducerEpoch { .. } | Self::Group(GroupError::InvalidProducerEpoch) => {
                MarkerOutcome::Superseded
            }
            Self::FencedCoordinator { .. } => MarkerOutcome::CoordinatorFenced,
            Self::InternalTopic { .. }
            | Self::UnknownCoordinatorEpoch { .. }
            | Self::TimedOut
            | Self::Storage(_)
            | Self::Group(_)
            | Self::Refused(_) => MarkerOutcome::Unavailable,
        }
    }
}

/// Writes markers to the leaders of partitions.
pub(crate) struct MarkerPort {
    engine: Engine,
    view: Arc<RwLock<ClusterView>>,
    groups: Arc<GroupCoordinators>,
}

impl MarkerPort {
    pub(crate) fn new(engine: Engine, view: Arc<RwLock<ClusterView>>, groups: Arc<GroupCoordinators>) -> Self {
        Self { engine, view, groups }
    }

    /// Writes a marker of a coordinator to the leader of each partition, with an outcome for each.
    /// A partition that does not exist any more has nothing left to end.
    pub(crate) async fn write(
        &self,
        marker: TransactionMarker,
        partitions: Vec<TopicPartition>,
    ) -> Vec<(TopicPartition, MarkerOutcome)> {
        let (deleted, there): (Vec<_>, Vec<_>) = {
            let view = self.view.read();
            partitions.into_iter().partition(|partition| is_deleted(&view, partition))
        };
        let mut outcomes: Vec<_> =
            deleted.into_iter().map(|partition| (partition, MarkerOutcome::PartitionDeleted)).collect();
        let results = self.write_here(marker, &there).await;
        outcomes.extend(there.into_iter().zip(results).map(|(partition, result)| {
            let outcome = match result {
                Ok(()) => MarkerOutcome::Written,
                Err(error) => {
                    tracing::debug!(
                        topic = %partition.topic, partition = partition.partition.0, %error,
                        "a transaction marker was not written"
                    );
                    error.outcome()
                }
            };
            (partition, outcome)
        }));
        outcomes
    }

    /// Writes a marker in partitions that this broker leads. The results have their order.
    async fn write_here(
        &self,
        marker: TransactionMarker,
        partitions: &[TopicPartition],
    ) -> Vec<Result<(), MarkerError>> {
        let located: Vec<Result<Located, MarkerError>> = {
            let view = self.view.read();
            partitions.iter().map(|partition| locate(&view, partition)).collect()
        };
        let (mut of_groups, mut of_logs) = (Vec::new(), Vec::new());
        for (partition, located) in partitions.iter().zip(&located) {
            match located {
                Ok(_) if is_of_groups(partition) => {
                    of_groups.push(self.groups.write_marker(partition.partition, marker));
                }
                Ok(located) => of_logs.push(located),
                Err(_) => {}
            }
        }
        let (of_groups, of_logs) = tokio::join!(written_by_groups(of_groups), self.write_in_logs(marker, &of_logs));
        let (mut of_groups, mut of_logs) = (of_groups.into_iter(), of_logs.into_iter());
        let results = partitions.iter().zip(located).map(|(partition, located)| {
            located?;
            let result = if is_of_groups(partition) { of_groups.next() } else { of_logs.next() };
            result.expect("each partition that is led here has a result")
        });
        results.collect()
    }

    /// Writes a marker in partitions that have no coordinator. The results have their order.
    async fn write_in_logs(&self, marker: TransactionMarker, led: &[&Located]) -> Vec<Result<(), MarkerError>> {
        let now = wall_clock();
        let appends = led.iter().map(|led| Append::marker(led.id, Some(led.leader_epoch), marker, now)).collect();
        let writing = async { self.engine.append(appends).await.wait().await };
        let Ok(answers) = tokio::time::timeout(WAIT_MAX, writing).await else {
            return vec![Err(MarkerError::TimedOut); led.len()];
        };
        let results = answers.into_iter().zip(led);
        results.map(|(answer, led)| answer.map(|_| ()).map_err(|error| refusal(error, led))).collect()
    }
}

/// The answers of group coordinators, in their order.
async fn written_by_groups(waits: Vec<GroupWait<()>>) -> Vec<Result<(), MarkerError>> {
    join_all(waits.into_iter().map(|wait| async {
        let answer = tokio::time::timeout(WAIT_MAX, wait).await.map_err(|_| MarkerError::TimedOut)?;
        answer.map_err(MarkerError::Group)
    }))
    .await
}

fn is_of_groups(partition: &TopicPartition) -> bool {
    partition.topic.as_str() == OFFSETS_TOPIC
}

/// The highest epoch that a transaction coordinator has had: each has the leader epoch of its
/// partition. The first epoch is 0.
fn newest_coordinator_epoch(view: &ClusterView) -> i32 {
    let partitions = view.state.topic(TRANSACTIONS_TOPIC).into_iter().flat_map(|topic| &topic.partitions);
    partitions.map(|partition| partition.leader_epoch.0).max().unwrap_or(0)
}

/// A coordinator asks about partitions that were there when its transaction got them. Its broker
/// knows all changes of the metadata that came before it became the coordinator, so that a
/// partition that is missing here was deleted, and is not one that the broker has yet to learn of.
fn is_deleted(view: &ClusterView, partition: &TopicPartition) -> bool {
    let topic = view.state.topic(partition.topic.as_str());
    topic.is_none_or(|topic| topic.partition(partition.partition).is_none())
}

fn locate(view: &ClusterView, partition: &TopicPartition) -> Result<Located, MarkerError> {
    let is_of_groups = is_of_groups(partition);
    let TopicPartition { topic, partition } = partition;
    if is_internal(topic.as_str()) && !is_of_groups {
        return Err(MarkerError::InternalTopic { topic: topic.clone() });
    }
    Ok(view.locate(&TopicRef::Name(topic.as_str().to_owned()), *partition, None)?)
}

fn refusal(error: AppendError, located: &Located) -> MarkerError {
    match error {
        AppendError::UnknownPartition | AppendError::CutOff => located.gone().into(),
        AppendError::FencedLeaderEpoch { given, current } => LocateError::FencedLeaderEpoch { given, current }.into(),
        AppendError::UnknownLeaderEpoch { given, current } => LocateError::UnknownLeaderEpoch { given, current }.into(),
        AppendError::InvalidProducerEpoch { producer, current, got } => {
            MarkerError::InvalidProducerEpoch { producer, current, got }
        }
        AppendError::InvalidTransaction(TransactionRejection::FencedCoordinator { current, got, .. }) => {
            MarkerError::FencedCoordinator { current, got }
        }
        AppendError::Full => StorageError::Full.into(),
        AppendError::Storage(failure) => StorageError::Failed(failure).into(),
        AppendError::Stopped => StorageError::Stopping.into(),
        AppendError::InvalidTransaction(_)
        | AppendError::OutOfOrderSequence { .. }
        | AppendError::ProducerLimit { .. }
        | AppendError::InvalidBatch(_)
        | AppendError::TooLarge { .. } => MarkerError::Refused(error),
    }
}

impl Session {
    /// Writes a marker in partitions that this broker leads (`WriteTxnMarkers`): for coordinators
    /// on other brokers, and for operators who end a transaction that hangs (KIP-664). The results
    /// have the order of the request.
    pub async fn write_markers(
        &self,
        marker: TransactionMarker,
        partitions: &[TopicPartition],
    ) -> Vec<Result<(), MarkerError>> {
        let newest = newest_coordinator_epoch(&self.broker.view.read());
        let got = marker.coordinator_epoch;
        if got > newest {
            return vec![Err(MarkerError::UnknownCoordinatorEpoch { got, newest }); partitions.len()];
        }
        self.broker.markers.write_here(marker, partitions).await
    }
}
