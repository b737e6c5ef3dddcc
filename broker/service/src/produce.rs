//! Produce: checks the batch of each partition and hands it to the engine. The answer comes when
//! the batch is synced.
//!
//! There are two phases, so that requests of one connection take effect in order while their waits
//! overlap: [`Session::produce`] returns when the engine has accepted the batches,
//! [`ProduceWait::wait`] when they are acknowledged. The first phase waits for the transaction
//! coordinator if a batch begins a transaction in its partition (`verification`).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustmq_broker_core::ErrorKind;
use rustmq_broker_core::transactions::TransactionError;
use rustmq_engine_api::{
    Append, AppendError, AppendFrontier, AppendSource, AppendWait, Appended, BatchRejection, TransactionRejection,
};
use rustmq_model::{Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicName};
use tokio::time::Instant;

use crate::clock::wall_clock;
use crate::metrics::ProduceMetrics;
use crate::session::Session;
use crate::storage::StorageError;
use crate::validation::{BatchRefusal, InspectionLimits, RecordFault, ValidBatch, validate};
use crate::verification::{CheckedBatch, ProduceTransaction};
use crate::view::{LocateError, TopicRef, is_internal};

/// The shortest wait for an answer: Kafka's timeout bounds the wait for replicas only, and some
/// clients set it to 0.
const WAIT_MIN: Duration = Duration::from_secs(5);

/// The longest wait for the markers of the producer's previous transaction. Clients tend to give as
/// much time as they wait themselves: half of it is for the batches.
const VERIFICATION_WAIT_MAX: Duration = Duration::from_secs(10);

/// After this time, a request with many batches yields to other connections of its thread.
const TURN_MAX: Duration = Duration::from_micros(500);

/// The logs that must be synced before a producer is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// None: the producer wants no answer.
    None,
    /// The leader's log.
    Leader,
    /// The logs of all in-sync replicas, which must be at least `min.insync.replicas`, or all
    /// replicas if there are fewer.
    All,
}

impl Acks {
    /// The frontier that must pass a batch before it is answered. Without an answer, the request
    /// still holds the batch's memory until the leader's log is synced.
    const fn frontier(self) -> AppendFrontier {
        match self {
            Self::None | Self::Leader => AppendFrontier::DurableEnd,
            Self::All => AppendFrontier::HighWatermark,
        }
    }
}

#[derive(Clone, Debug)]
pub struct Produce {
    pub acks: Acks,
    /// The transaction of those batches that are transactional.
    pub transaction: Option<ProduceTransaction>,
    pub partitions: Vec<ProducePartition>,
}

#[derive(Clone, Debug)]
pub struct ProducePartition {
    pub topic: TopicRef,
    pub partition: PartitionId,
    /// Exactly one record batch.
    pub records: Bytes,
}

/// An acknowledged batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub base_offset: Offset,
    /// [`Timestamp::NONE`] if the records keep their producer's time.
    pub log_append_time: Timestamp,
    pub log_start: Offset,
}

/// Why the batch of a partition was refused or is not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProduceError {
    #[error(transparent)]
    Locate(#[from] LocateError),
    #[error("Topic '{topic}' belongs to the broker itself: clients cannot change what is in it.")]
    InternalTopic { topic: TopicName },
    #[error("{isr} replica(s) of {topic}-{partition} are in sync; min.insync.replicas asks for {min}.")]
    NotEnoughReplicas { topic: TopicName, partition: PartitionId, isr: usize, min: usize },
    #[error(transparent)]
    Batch(#[from] BatchRefusal),
    /// The batch is valid, but the log cannot append it in its current state.
    #[error(transparent)]
    NotForTheLog(BatchRejection),
    #[error("sequence {got} of producer {producer} is out of order: {expected} is next")]
    OutOfOrderSequence { producer: ProducerId, expected: Sequence, got: Sequence },
    #[error("epoch {got} of producer {producer} is fenced by epoch {current}")]
    InvalidProducerEpoch { producer: ProducerId, current: ProducerEpoch, got: ProducerEpoch },
    #[error("The batch does not fit its producer's transaction: {0}.")]
    InvalidTransaction(#[source] TransactionRejection),
    #[error("A batch is in a transaction, and the request names no transactional id.")]
    NoTransactionalId,
    /// The transaction coordinator has refused the batch. The inner error has the reason.
    #[error(transparent)]
    Transaction(#[from] TransactionError),
    /// The state of idle producers expires after producer.id.expiration.ms.
    #[error("The partition already remembers {limit} idempotent producers: it takes more when idle ones expire.")]
    TooManyProducers { limit: usize },
    /// The batch may still be stored.
    #[error("Storing the records took longer than the request's timeout.")]
    TimedOut,
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl ProduceError {
    /// The caller's next step.
    #[must_use]
    pub const fn kind(&self) -> ErrorKind {
        match self {
            Self::Locate(error) => error.kind(),
            Self::Batch(refusal) => refusal.kind(),
            Self::Storage(error) => error.kind(),
            Self::NotEnoughReplicas { .. } | Self::TimedOut => ErrorKind::Retry,
            Self::TooManyProducers { .. } => ErrorKind::Unavailable,
            Self::InvalidProducerEpoch { .. } => ErrorKind::Fenced,
            Self::Transaction(error) => error.kind(),
            Self::InvalidTransaction(
                TransactionRejection::EarlierOpen { .. } | TransactionRejection::Unverified { .. },
            ) => ErrorKind::Retry,
            Self::InternalTopic { .. }
            | Self::NotForTheLog(_)
            | Self::OutOfOrderSequence { .. }
            | Self::InvalidTransaction(_)
            | Self::NoTransactionalId => ErrorKind::Invalid,
        }
    }

    /// The invalid records, if the error concerns single records; some of them if there are very
    /// many.
    #[must_use]
    pub fn record_faults(&self) -> &[RecordFault] {
        match self {
            Self::Batch(refusal) => refusal.record_faults(),
            _ => &[],
        }
    }
}

/// The source of a partition's answer.
#[derive(Debug)]
enum Pending {
    Refused(ProduceError),
    /// The engine's next answer.
    Appended {
        topic: TopicName,
        partition: PartitionId,
        log_append_time: Timestamp,
        records: u64,
        bytes: u64,
    },
}

/// The pending answer to a produce request. Dropping it does not undo anything.
#[derive(Debug)]
#[must_use = "a batch is acknowledged only by its answer"]
pub struct ProduceWait {
    pending: Vec<Pending>,
    appends: AppendWait,
    started: Instant,
    /// None with [`Acks::None`]: the producer does not wait, but the batches are held until the
    /// engine has stored them.
    deadline: Option<Instant>,
    metrics: Arc<ProduceMetrics>,
}

impl ProduceWait {
    /// The error of the first batch that was refused before the engine got it. With [`Acks::None`]
    /// there is no answer that could carry the error: the front end must make the client notice in
    /// another way.
    #[must_use]
    pub fn first_refusal(&self) -> Option<&ProduceError> {
        self.pending.iter().find_map(|pending| match pending {
            Pending::Refused(error) => Some(error),
            Pending::Appended { .. } => None,
        })
    }
}

impl Session {
    /// Checks the batches and hands the valid ones to the engine. An error of one partition does
    /// not affect the others.
    pub async fn produce(&self, request: Produce) -> ProduceWait {
        let started = Instant::now();
        let now = wall_clock();
        let mut batches = Vec::with_capacity(request.partitions.len());
        let mut turn = Instant::now();
        for partition in request.partitions {
            if turn.elapsed() >= TURN_MAX {
                tokio::task::yield_now().await;
                turn = Instant::now();
            }
            batches.push(self.prepare(partition, request.acks, now).await);
        }
        let deadline = self.deadline().map(|at| at.max(started + WAIT_MIN));
        let left = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
        let wait_max = (left / 2).min(VERIFICATION_WAIT_MAX);
        self.verify_transaction(request.transaction.as_ref(), &mut batches, Some(wait_max)).await;
        let mut pending = Vec::with_capacity(batches.len());
        let mut appends = Vec::with_capacity(batches.len());
        for batch in batches {
            match batch {
                Ok(CheckedBatch { append, topic, log_append_time }) => {
                    let partition = append.id.partition;
                    let records = u64::try_from(append.header.record_count).unwrap_or(0);
                    let bytes = append.batch.len() as u64;
                    pending.push(Pending::Appended { topic, partition, log_append_time, records, bytes });
                    appends.push(append);
                }
                Err(error) => pending.push(Pending::Refused(error)),
            }
        }
        let appends = self.broker.engine.append(appends).await;
        let metrics = Arc::clone(&self.broker.metrics.produce);
        let deadline = deadline.filter(|_| request.acks != Acks::None);
        ProduceWait { pending, appends, started, deadline, metrics }
    }

    async fn prepare(
        &self,
        partition: ProducePartition,
        acks: Acks,
        now: Timestamp,
    ) -> Result<CheckedBatch, ProduceError> {
        let located = self.broker.locate(&partition.topic, partition.partition, None)?;
        let topic = &located.entry.topic;
        if is_internal(topic.name.as_str()) {
            return Err(ProduceError::InternalTopic { topic: topic.name.clone() });
        }
        if acks == Acks::All {
            let state = topic.partition(partition.partition).expect("it was located just now");
            let wanted = usize::try_from(located.entry.config.min_insync_replicas).unwrap_or(usize::MAX);
            // There can never be more in-sync replicas than replicas.
            let (isr, min) = (state.isr.len(), wanted.min(state.replicas.len()));
            if isr < min {
                let (topic, partition) = (topic.name.clone(), partition.partition);
                return Err(ProduceError::NotEnoughReplicas { topic, partition, isr, min });
            }
        }
        let limits = InspectionLimits {
            compressed: self.broker.compressed_records(),
            decompressed_bytes_max: self.broker.config.limits.decompressed_bytes_max,
        };
        let valid = validate(partition.records, &located.entry.config, now, limits).await?;
        let ValidBatch { bytes, header, log_append_time } = valid;
        let leader_epoch = Some(located.leader_epoch);
        let until = acks.frontier();
        let append =
            Append { id: located.id, leader_epoch, batch: bytes, header, source: AppendSource::Client(None), until };
        Ok(CheckedBatch { append, topic: topic.name.clone(), log_append_time })
    }
}

impl ProduceWait {
    /// Waits until every batch is acknowledged or refused. The results have the order of the
    /// request. After a timeout, the batches that the engine has got may still be stored. With
    /// [`Acks::None`] there is no timeout.
    pub async fn wait(self) -> Vec<Result<Produced, ProduceError>> {
        let answers = match self.deadline {
            Some(deadline) => tokio::time::timeout_at(deadline, self.appends.wait()).await.ok(),
            None => Some(self.appends.wait().await),
        };
        let mut answers = answers.map(Vec::into_iter);
        let metrics = &self.metrics;
        let results = self.pending.into_iter().map(|pending| match pending {
            Pending::Refused(error) => Err(error),
            Pending::Appended { topic, partition, log_append_time, records, bytes } => {
                let answers = answers.as_mut();
                let answers = answers.ok_or(ProduceError::TimedOut)?;
                let appended = answers.next().expect("the engine answers every append");
                let Appended { base_offset, log_start, duplicate_of } =
                    appended.map_err(|error| refusal(error, topic, partition))?;
                let log_append_time = match duplicate_of {
                    // The time in the log, not that of the repeated request.
                    Some(original) if log_append_time != Timestamp::NONE => original,
                    _ => log_append_time,
                };
                if duplicate_of.is_none() {
                    metrics.records.inc_by(records);
                    metrics.bytes.inc_by(bytes);
                }
                Ok(Produced { base_offset, log_append_time, log_start })
            }
        });
        let results: Vec<Result<Produced, ProduceError>> = results.collect();
        metrics.failures.inc_by(results.iter().filter(|result| result.is_err()).count() as u64);
        metrics.seconds.observe(self.started.elapsed().as_secs_f64());
        results
    }
}

/// The client's error for a batch that the engine has refused.
pub(crate) fn refusal(error: AppendError, topic: TopicName, partition: PartitionId) -> ProduceError {
    match error {
        AppendError::UnknownPartition | AppendError::CutOff => LocateError::NotLeader { topic, partition }.into(),
        AppendError::FencedLeaderEpoch { given, current } => LocateError::FencedLeaderEpoch { given, current }.into(),
        AppendError::UnknownLeaderEpoch { given, current } => LocateError::UnknownLeaderEpoch { given, current }.into(),
        AppendError::OutOfOrderSequence { producer, expected, got } => {
            ProduceError::OutOfOrderSequence { producer, expected, got }
        }
        AppendError::InvalidProducerEpoch { producer, current, got } => {
            ProduceError::InvalidProducerEpoch { producer, current, got }
        }
        AppendError::InvalidBatch(rejection) => ProduceError::NotForTheLog(rejection),
        AppendError::InvalidTransaction(rejection) => ProduceError::InvalidTransaction(rejection),
        AppendError::ProducerLimit { limit } => ProduceError::TooManyProducers { limit },
        AppendError::TooLarge { size, max } => BatchRefusal::TooLarge { size, max }.into(),
        AppendError::Full => StorageError::Full.into(),
        AppendError::Storage(failure) => StorageError::Failed(failure).into(),
        AppendError::Stopped => StorageError::Stopping.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use rustmq_engine_api::{AppendError, BatchRejection, TransactionRejection, WalFailure};
    use rustmq_model::{LeaderEpoch, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicName};

    use super::{ProduceError, refusal};
    use crate::storage::StorageError;
    use crate::validation::BatchRefusal;
    use crate::view::LocateError;

    #[test]
    fn what_the_log_refuses_keeps_its_facts() {
        let (topic, partition) = (TopicName::new("orders").expect("a legal name"), PartitionId(3));
        let check = |error: AppendError, expected: ProduceError| {
            assert_eq!(refusal(error.clone(), topic.clone(), partition), expected, "{error:?}");
        };
        let not_leader = || LocateError::NotLeader { topic: topic.clone(), partition }.into();
        check(AppendError::UnknownPartition, not_leader());
        // The producer sends the batch again, to the leader whose log replaces this one.
        check(AppendError::CutOff, not_leader());
        let (given, current) = (LeaderEpoch(1), LeaderEpoch(2));
        check(
            AppendError::FencedLeaderEpoch { given, current },
            LocateError::FencedLeaderEpoch { given, current }.into(),
        );
        check(
            AppendError::UnknownLeaderEpoch { given, current },
            LocateError::UnknownLeaderEpoch { given, current }.into(),
        );
        let (producer, expected, got) = (ProducerId(7), Sequence(3), Sequence(4));
        check(
            AppendError::OutOfOrderSequence { producer, expected, got },
            ProduceError::OutOfOrderSequence { producer, expected, got },
        );
        let (current, got) = (ProducerEpoch(1), ProducerEpoch(0));
        check(
            AppendError::InvalidProducerEpoch { producer, current, got },
            ProduceError::InvalidProducerEpoch { producer, current, got },
        );
        let batch = BatchRejection::RecordCount;
        check(AppendError::InvalidBatch(batch.clone()), ProduceError::NotForTheLog(batch));
        let transaction = TransactionRejection::OutsideTransaction { producer_id: producer };
        check(AppendError::InvalidTransaction(transaction.clone()), ProduceError::InvalidTransaction(transaction));
        check(AppendError::ProducerLimit { limit: 2 }, ProduceError::TooManyProducers { limit: 2 });
        check(AppendError::TooLarge { size: 90, max: 70 }, BatchRefusal::TooLarge { size: 90, max: 70 }.into());
        check(AppendError::Full, StorageError::Full.into());
        let failure = WalFailure::Disk { kind: io::ErrorKind::StorageFull, detail: "cannot write".to_owned() };
        check(AppendError::Storage(failure.clone()), StorageError::Failed(failure).into());
        check(AppendError::Stopped, StorageError::Stopping.into());
    }
}
