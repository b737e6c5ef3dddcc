//! The verification of transactional batches (KIP-890): a batch that begins its producer's
//! transaction in a partition is appended only after the transaction coordinator has confirmed that
//! the transaction has this partition. The partition's log says which batches these are; the
//! coordinator decides.

use std::time::Duration;

use rustmq_broker_core::transactions::TransactionError;
use rustmq_engine_api::{Append, AppendSource, Verification, VerificationGuard, Verify};
use rustmq_model::{ProducerKey, Timestamp, TopicName, TopicPartition, TransactionVersion, TransactionalId};

use crate::produce::{ProduceError, refusal};
use crate::session::Session;

/// The transaction of a produce request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProduceTransaction {
    pub id: TransactionalId,
    /// The protocol that the client speaks. From version 2 on it does not add partitions by
    /// requests of its own: the broker adds those of its batches.
    pub version: TransactionVersion,
}

/// A checked batch on its way to the engine.
#[derive(Debug)]
pub(crate) struct CheckedBatch {
    pub(crate) append: Append,
    pub(crate) topic: TopicName,
    /// As in [`Produced::log_append_time`](crate::Produced::log_append_time).
    pub(crate) log_append_time: Timestamp,
}

impl CheckedBatch {
    fn partition(&self) -> TopicPartition {
        TopicPartition { topic: self.topic.clone(), partition: self.append.id.partition }
    }

    const fn producer(&self) -> ProducerKey {
        ProducerKey { id: self.append.header.producer_id, epoch: self.append.header.producer_epoch }
    }

    const fn is_transactional(&self) -> bool {
        self.append.header.attributes.is_transactional()
    }
}

/// The place of a batch in its request that the coordinator must confirm, and the guard that it is
/// then appended with.
#[derive(Clone, Copy, Debug)]
struct Unconfirmed {
    place: usize,
    guard: VerificationGuard,
}

impl Session {
    /// Verifies the transactional batches of a request, all of them with one question to the
    /// coordinator. A batch that may not be appended gets its error. Later requests of the same
    /// producer must wait for the end of this call, so that its batches keep their order.
    ///
    /// `wait_max` bounds the wait for markers of the producer's previous transaction.
    pub(crate) async fn verify_transaction(
        &self,
        transaction: Option<&ProduceTransaction>,
        batches: &mut [Result<CheckedBatch, ProduceError>],
        wait_max: Option<Duration>,
    ) {
        let is_in_transaction =
            |batch: &Result<CheckedBatch, ProduceError>| batch.as_ref().is_ok_and(CheckedBatch::is_transactional);
        if !batches.iter().any(is_in_transaction) {
            return;
        }
        let Some(transaction) = transaction else {
            for batch in batches.iter_mut().filter(|batch| is_in_transaction(batch)) {
                *batch = Err(ProduceError::NoTransactionalId);
            }
            return;
        };
        let mut unconfirmed = self.begin_verifications(batches).await;
        let Some(first) = unconfirmed.first().and_then(|first| batches[first.place].as_ref().ok()) else { return };
        let producer = first.producer();
        // A transactional id has one producer.
        unconfirmed.retain(|Unconfirmed { place, .. }| {
            let is_same = batches[*place].as_ref().is_ok_and(|batch| batch.producer() == producer);
            if !is_same {
                batches[*place] = Err(TransactionError::InvalidProducerIdMapping.into());
            }
            is_same
        });
        let partitions = unconfirmed.iter().filter_map(|unconfirmed| batches[unconfirmed.place].as_ref().ok());
        let partitions: Vec<TopicPartition> = partitions.map(CheckedBatch::partition).collect();
        let confirmed = self.confirm(transaction, producer, partitions, wait_max).await;
        for (Unconfirmed { place, guard }, confirmed) in unconfirmed.into_iter().zip(confirmed) {
            match (confirmed, &mut batches[place]) {
                (Ok(()), Ok(batch)) => batch.append.source = AppendSource::Client(Some(guard)),
                (Ok(()), Err(_)) => {}
                (Err(error), batch) => *batch = Err(error.into()),
            }
        }
    }

    /// Asks the logs of the partitions which batches begin a transaction there.
    async fn begin_verifications(&self, batches: &mut [Result<CheckedBatch, ProduceError>]) -> Vec<Unconfirmed> {
        let (mut places, mut questions) = (Vec::new(), Vec::new());
        for (place, batch) in batches.iter().enumerate() {
            let Some(batch) = batch.as_ref().ok().filter(|batch| batch.is_transactional()) else { continue };
            let Append { id, leader_epoch, header, .. } = batch.append;
            places.push(place);
            questions.push(Verify { id, leader_epoch, header });
        }
        let answers = self.broker.engine.start_verification(questions).await.wait().await;
        let mut unconfirmed = Vec::new();
        for (place, answer) in places.into_iter().zip(answers) {
            match answer {
                Ok(Verification::NotNeeded) => {}
                Ok(Verification::Needed(guard)) => unconfirmed.push(Unconfirmed { place, guard }),
                Err(error) => {
                    if let Ok(CheckedBatch { append, topic, .. }) = &batches[place] {
                        batches[place] = Err(refusal(error, topic.clone(), append.id.partition));
                    }
                }
            }
        }
        unconfirmed
    }

    /// Whether the coordinator has each of the partitions in the producer's transaction.
    pub(crate) async fn confirm(
        &self,
        transaction: &ProduceTransaction,
        producer: ProducerKey,
        partitions: Vec<TopicPartition>,
        wait_max: Option<Duration>,
    ) -> Vec<Result<(), TransactionError>> {
        let count = partitions.len();
        let ProduceTransaction { id, version } = transaction.clone();
        let all = if version.bumps_epochs() {
            self.add_to_transaction(id, producer, partitions, version, wait_max).await.map(|()| vec![Ok(()); count])
        } else {
            self.verify_partitions(id, producer, partitions, wait_max).await
        };
        all.unwrap_or_else(|error| vec![Err(error); count])
    }
}
