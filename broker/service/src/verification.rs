//! The verification of transactional batches (KIP-890): a batch that begins its producer's
//! transaction in a partition is appended only after the transaction coordinator has confirmed that
//! the transaction has this partition. The partition's log says which batches these are; the
//! coordinator decides.

use std::time::Duration;

use rustmq_broker_core::transactions::TransactionError;
use rustmq_engine_api::{Append, AppendSource, Verification, VerificationGuard, Verify};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{ProducerKey, Sequence, Timestamp, TopicName, TopicPartition, TransactionVersion, TransactionalId};

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

/// The producer of the transactional batches of a request; `None` if there are none that can be
/// verified. A transactional id has one producer: batches of another get an error, and so do all
/// of them without an id.
fn check_producers(
    transaction: Option<&ProduceTransaction>,
    batches: &mut [Result<CheckedBatch, ProduceError>],
) -> Option<ProducerKey> {
    let mut producer = None;
    for place in batches {
        let Some(batch) = place.as_ref().ok().filter(|batch| batch.is_transactional()) else { continue };
        let stated = batch.producer();
        if transaction.is_none() {
            *place = Err(ProduceError::NoTransactionalId);
        } else if *producer.get_or_insert(stated) != stated {
            *place = Err(TransactionError::InvalidProducerIdMapping.into());
        }
    }
    producer.filter(|_| transaction.is_some())
}

/// From version 2 on, each transaction has an epoch of its own, so that its first batch in a
/// partition has the first sequence. Another one has overtaken it, and comes again after it.
fn check_first_sequence(version: TransactionVersion, header: &BatchHeader) -> Result<(), ProduceError> {
    let (producer, expected, got) = (header.producer_id, Sequence(0), header.base_sequence);
    if version.bumps_epochs() && got != expected {
        return Err(ProduceError::OutOfOrderSequence { producer, expected, got });
    }
    Ok(())
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
        let Some(producer) = check_producers(transaction, batches) else { return };
        let Some(transaction) = transaction else { return };
        let unconfirmed = self.begin_verifications(transaction.version, batches).await;
        if unconfirmed.is_empty() {
            return;
        }
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
    async fn begin_verifications(
        &self,
        version: TransactionVersion,
        batches: &mut [Result<CheckedBatch, ProduceError>],
    ) -> Vec<Unconfirmed> {
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
            let Ok(CheckedBatch { append, topic, .. }) = &batches[place] else { continue };
            match answer {
                Ok(Verification::NotNeeded) => {}
                Ok(Verification::Needed(guard)) => match check_first_sequence(version, &append.header) {
                    Ok(()) => unconfirmed.push(Unconfirmed { place, guard }),
                    Err(error) => batches[place] = Err(error),
                },
                Err(error) => batches[place] = Err(refusal(error, topic.clone(), append.id.partition)),
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
