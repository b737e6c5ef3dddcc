//! Produce: each partition's batch is checked and handed to the engine; the answer waits until it
//! is synced.
//!
//! In two phases, so that requests of one connection take effect in their order while their waiting
//! overlaps: [`Broker::produce`] returns when the engine has taken the batches in,
//! [`ProduceWait::wait`] when they are acknowledged.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustmq_engine_api::{Append, AppendError, AppendFrontier, AppendWait, Appended};
use rustmq_model::{Offset, PartitionId, Timestamp, TopicName};
use tokio::time::Instant;

use crate::broker::Broker;
use crate::clock::wall_clock;
use crate::error::BrokerError;
use crate::metrics::ProduceMetrics;
use crate::validation::{InspectionLimits, ValidBatch, validate};
use crate::view::{TopicRef, is_internal};

/// The shortest that an answer is waited for: Kafka's timeout is about replicas only, and clients
/// set it down to 0.
const WAIT_MIN: Duration = Duration::from_secs(5);

/// After so long a request with many batches lets other connections of its thread go on.
const TURN_MAX: Duration = Duration::from_micros(500);

/// What has to be synced before a producer is answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Acks {
    /// Nothing: the producer does not want to hear of it.
    None,
    /// The leader's log.
    Leader,
    /// The logs of all replicas in sync, which must be at least `min.insync.replicas`, or all there
    /// are.
    All,
}

impl Acks {
    /// What must pass a batch before it is answered. Where nobody waits for the answer, as for the
    /// leader's log: the batch is held until then.
    const fn frontier(self) -> AppendFrontier {
        match self {
            Self::None | Self::Leader => AppendFrontier::DurableEnd,
            Self::All => AppendFrontier::HighWatermark,
        }
    }
}

#[derive(Clone, Debug)]
pub struct ProduceRequest {
    pub acks: Acks,
    pub timeout: Duration,
    pub partitions: Vec<ProducePartition>,
}

#[derive(Clone, Debug)]
pub struct ProducePartition {
    pub topic: TopicRef,
    pub partition: PartitionId,
    /// Exactly one record batch.
    pub records: Bytes,
}

/// A batch that is acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Produced {
    pub base_offset: Offset,
    /// [`Timestamp::NONE`] where the records keep their producer's time.
    pub log_append_time: Timestamp,
    pub log_start: Offset,
}

/// Where a partition's answer comes from.
#[derive(Debug)]
enum Pending {
    Refused(BrokerError),
    /// The next of the engine's answers.
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
    /// None with [`Acks::None`]: nobody waits, but the batches are held until the engine has stored
    /// them.
    deadline: Option<Instant>,
    metrics: Arc<ProduceMetrics>,
}

impl ProduceWait {
    /// The first batch that was refused before it was handed over. With [`Acks::None`] there is no
    /// answer to tell it in: the front end has to let the client notice in another way.
    #[must_use]
    pub fn first_refusal(&self) -> Option<&BrokerError> {
        self.pending.iter().find_map(|pending| match pending {
            Pending::Refused(error) => Some(error),
            Pending::Appended { .. } => None,
        })
    }
}

impl Broker {
    /// Checks the batches and hands the good ones to the engine. A partition's error leaves the
    /// others alone.
    pub async fn produce(&self, request: ProduceRequest) -> ProduceWait {
        let started = Instant::now();
        let now = wall_clock();
        let mut pending = Vec::with_capacity(request.partitions.len());
        let mut appends = Vec::with_capacity(request.partitions.len());
        let mut turn = Instant::now();
        for partition in request.partitions {
            if turn.elapsed() >= TURN_MAX {
                tokio::task::yield_now().await;
                turn = Instant::now();
            }
            match self.prepare(partition, request.acks, now).await {
                Ok((append, topic, log_append_time)) => {
                    let partition = append.id.partition;
                    let records = u64::try_from(append.header.record_count).unwrap_or(0);
                    let bytes = append.batch.len() as u64;
                    pending.push(Pending::Appended { topic, partition, log_append_time, records, bytes });
                    appends.push(append);
                }
                Err(error) => pending.push(Pending::Refused(error)),
            }
        }
        let appends = self.engine.append(appends).await;
        let metrics = Arc::clone(&self.metrics.produce);
        let deadline = (request.acks != Acks::None).then(|| started + request.timeout.max(WAIT_MIN));
        ProduceWait { pending, appends, started, deadline, metrics }
    }

    async fn prepare(
        &self,
        partition: ProducePartition,
        acks: Acks,
        now: Timestamp,
    ) -> Result<(Append, TopicName, Timestamp), BrokerError> {
        let located = self.locate(&partition.topic, partition.partition, None)?;
        let topic = &located.entry.topic;
        if is_internal(topic.name.as_str()) {
            return Err(BrokerError::InternalTopic { topic: topic.name.clone() });
        }
        if acks == Acks::All {
            let state = topic.partition(partition.partition).expect("it was located just now");
            let wanted = usize::try_from(located.entry.config.min_insync_replicas).unwrap_or(usize::MAX);
            // More than there are replicas can never be in sync.
            let (isr, min) = (state.isr.len(), wanted.min(state.replicas.len()));
            if isr < min {
                let (topic, partition) = (topic.name.clone(), partition.partition);
                return Err(BrokerError::NotEnoughReplicas { topic, partition, isr, min });
            }
        }
        let limits = InspectionLimits {
            compressed: self.compressed_records(),
            decompressed_bytes_max: self.config.limits.decompressed_bytes_max,
        };
        let valid = validate(partition.records, &located.entry.config, now, limits).await?;
        let ValidBatch { bytes, header, log_append_time } = valid;
        let leader_epoch = Some(located.leader_epoch);
        let until = acks.frontier();
        let append = Append { id: located.id, leader_epoch, batch: bytes, header, until };
        Ok((append, topic.name.clone(), log_append_time))
    }
}

impl ProduceWait {
    /// Resolves when every batch is acknowledged or refused, in the order of the request; at the
    /// timeout, those that were handed over may still be stored. With [`Acks::None`] there is no
    /// timeout.
    pub async fn wait(self) -> Vec<Result<Produced, BrokerError>> {
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
                let answers = answers.ok_or(BrokerError::RequestTimedOut { operation: "Storing the records" })?;
                let appended = answers.next().expect("the engine answers every append");
                let Appended { base_offset, log_start, duplicate_of } =
                    appended.map_err(|error| refusal(error, topic, partition))?;
                let log_append_time = match duplicate_of {
                    // The time that is in the log, not that of the repetition.
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
        let results: Vec<Result<Produced, BrokerError>> = results.collect();
        metrics.failures.inc_by(results.iter().filter(|result| result.is_err()).count() as u64);
        metrics.seconds.observe(self.started.elapsed().as_secs_f64());
        results
    }
}

fn refusal(error: AppendError, topic: TopicName, partition: PartitionId) -> BrokerError {
    match error {
        AppendError::UnknownPartition | AppendError::CutOff => BrokerError::NotLeader { topic, partition },
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use rustmq_engine_api::AppendError;
    use rustmq_model::{PartitionId, TopicName};

    use super::refusal;
    use crate::error::BrokerError;

    #[test]
    fn what_another_leaders_log_takes_the_place_of_is_sent_again_to_that_leader() {
        for error in [AppendError::CutOff, AppendError::UnknownPartition] {
            let refused = refusal(error, TopicName::new("orders").expect("a legal name"), PartitionId(3));
            assert!(matches!(refused, BrokerError::NotLeader { partition: PartitionId(3), .. }), "{refused:?}");
        }
    }
}
