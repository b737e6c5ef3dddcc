//! Transactions from the first request of a producer to what a consumer reads.

use std::time::Duration;

use bytes::Bytes;
use rustmq_broker_service::testing::operations::{PATIENCE, TIME, create, fetch, fetch_request, named};
use rustmq_broker_service::testing::{InMemoryBroker, InMemoryBrokerOptions};
use rustmq_broker_service::transactions::*;
use rustmq_broker_service::*;
use rustmq_model::batch::{Attributes, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    Offset, PartitionId, ProducerEpoch, ProducerId, ProducerKey, Sequence, TransactionEnd, TransactionMarker,
    TransactionVersion, TransactionalId,
};

pub const TOPIC: &str = "orders";

pub fn id() -> TransactionalId {
    TransactionalId::new("payments").unwrap()
}

/// A transactional batch of one record.
fn batch(producer: ProducerKey, sequence: i32, value: &str) -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None)
        .producer(producer.id, producer.epoch, Sequence(sequence))
        .attributes(Attributes::default().with_transactional());
    batch.push(TIME, None, Some(value.as_bytes()), &[]);
    batch.build()
}

/// A broker with a topic of two partitions, and a producer.
pub struct Rig {
    pub broker: InMemoryBroker,
    pub producer: ProducerKey,
    pub version: TransactionVersion,
}

impl Rig {
    pub async fn start(version: TransactionVersion) -> Self {
        let broker = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
        create(&broker.session, TOPIC, 2, &[]).await;
        let mut rig = Self { broker, producer: ProducerKey { id: ProducerId(0), epoch: ProducerEpoch(0) }, version };
        rig.producer = rig.init(None).await.unwrap();
        rig
    }

    /// Asks until a coordinator serves the id.
    pub async fn await_coordinator(&self) {
        let ready = async {
            loop {
                let found = self.broker.session.find_transaction_coordinator(&id()).await;
                let described = self.broker.session.describe_transaction(&id());
                if found.is_ok() && described != Err(TransactionError::CoordinatorLoadInProgress) {
                    return;
                }
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(PATIENCE, ready).await.unwrap();
    }

    pub async fn init(&self, expected: Option<ProducerKey>) -> Result<ProducerKey, TransactionError> {
        self.await_coordinator().await;
        let request = InitProducerIdRequest { id: id(), timeout_ms: 60_000, expected };
        self.broker.session.init_transactions(request).await
    }

    async fn produce(&self, partition: i32, sequence: i32, value: &str) -> Result<Produced, ProduceError> {
        self.produce_as(Some(id()), partition, batch(self.producer, sequence, value)).await
    }

    async fn produce_as(
        &self,
        id: Option<TransactionalId>,
        partition: i32,
        records: Bytes,
    ) -> Result<Produced, ProduceError> {
        let version = self.version;
        let partition = ProducePartition { topic: named(TOPIC), partition: PartitionId(partition), records };
        let transaction = id.map(|id| ProduceTransaction { id, version });
        let request = Produce { acks: Acks::All, transaction, partitions: vec![partition] };
        self.broker.session.with_timeout(PATIENCE).produce(request).await.wait().await.remove(0)
    }

    async fn add(&self, partitions: &[(&str, i32)]) -> Vec<Result<(), TransactionPartitionError>> {
        let partitions = partitions.iter().map(|(topic, index)| ((*topic).to_owned(), PartitionId(*index)));
        let purpose = PartitionsPurpose::Add(TransactionVersion::V0);
        let (id, producer) = (id(), self.producer);
        let request = TransactionPartitions { id, producer, partitions: partitions.collect(), purpose };
        self.broker.session.partitions_of_transaction(request).await
    }

    pub async fn end(&mut self, end: TransactionEnd) -> Result<(), TransactionError> {
        let request = EndTxnRequest { id: id(), producer: self.producer, end, version: self.version };
        self.producer = self.broker.session.end_transaction(request).await?;
        self.await_state(&[TransactionState::CompleteCommit, TransactionState::CompleteAbort]).await;
        Ok(())
    }

    async fn await_state(&self, states: &[TransactionState]) {
        let reached = async {
            while !self.broker.session.describe_transaction(&id()).is_ok_and(|found| states.contains(&found.state)) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
    }

    /// The values of a partition that a consumer of committed records sees.
    async fn committed(&self, partition: i32) -> (Vec<String>, Vec<i64>) {
        let request = Fetch { isolation: Isolation::ReadCommitted, ..fetch_request(TOPIC, partition, 0) };
        let fetched = self.broker.session.fetch(request).await.remove(0).unwrap();
        let aborted = fetched.aborted.iter().map(|aborted| aborted.first_offset.0).collect();
        (values_of_data(&fetched), aborted)
    }
}

/// The values of the batches that are not markers.
fn values_of_data(fetched: &FetchedPartition) -> Vec<String> {
    use rustmq_model::batch::{self, BatchHeader};
    let batches = fetched.batches.iter().flat_map(batch::split).map(|batch| batch.unwrap().1);
    let data = batches.filter(|bytes| !BatchHeader::parse(bytes).unwrap().attributes.is_control());
    let records = data.flat_map(|batch| rustmq_model::record::read(&batch, 1 << 20).unwrap());
    records.map(|record| String::from_utf8(record.value.unwrap().to_vec()).unwrap()).collect()
}

#[tokio::test]
async fn committed_records_show_at_the_commit_and_aborted_ones_are_named_as_such() {
    for version in [TransactionVersion::V0, TransactionVersion::V2] {
        let mut rig = Rig::start(version).await;
        if version == TransactionVersion::V0 {
            assert_eq!(rig.add(&[(TOPIC, 0), (TOPIC, 1)]).await, [Ok(()), Ok(())]);
        }
        rig.produce(0, 0, "a").await.unwrap();
        rig.produce(0, 1, "b").await.unwrap();
        rig.produce(1, 0, "c").await.unwrap();
        assert_eq!(rig.committed(0).await, (vec![], vec![]), "the transaction is open");
        let before = rig.producer;
        rig.end(TransactionEnd::Commit).await.unwrap();
        assert_eq!(rig.producer != before, version == TransactionVersion::V2, "the epoch rises in version 2");
        assert_eq!(rig.committed(0).await, (vec!["a".to_owned(), "b".to_owned()], vec![]));
        assert_eq!(rig.committed(1).await.0, ["c"]);
        let first = if version == TransactionVersion::V2 { 0 } else { 2 };
        if version == TransactionVersion::V0 {
            assert_eq!(rig.add(&[(TOPIC, 0)]).await, [Ok(())]);
        }
        rig.produce(0, first, "d").await.unwrap();
        rig.end(TransactionEnd::Abort).await.unwrap();
        let (read, aborted) = rig.committed(0).await;
        assert_eq!((read.len(), aborted), (3, vec![3]), "the consumer is told which records to leave out");
        rig.broker.stop().await;
    }
}

#[tokio::test]
async fn a_batch_that_its_coordinator_does_not_confirm_is_refused() {
    let rig = Rig::start(TransactionVersion::V0).await;
    let refused = rig.produce(0, 0, "a").await;
    assert_eq!(refused, Err(TransactionError::NotInTransaction.into()), "the partition was not added");
    assert_eq!(rig.add(&[(TOPIC, 0)]).await, [Ok(())]);
    let other = TransactionalId::new("another").unwrap();
    let refused = rig.produce_as(Some(other), 0, batch(rig.producer, 0, "a")).await;
    assert_eq!(refused, Err(TransactionError::InvalidProducerIdMapping.into()), "another id's producer");
    let refused = rig.produce_as(None, 0, batch(rig.producer, 0, "a")).await;
    assert_eq!(refused, Err(ProduceError::NoTransactionalId));
    let newer = rig.init(None).await.unwrap();
    let fenced = rig.produce(0, 0, "a").await.map_err(|error| error.kind());
    assert_eq!(fenced, Err(ErrorKind::Fenced), "{newer:?} has taken the id");
    assert!(fetch(&rig.broker.session, TOPIC, 0, 0).await.is_ok_and(|fetched| values_of_data(&fetched).is_empty()));
    rig.broker.stop().await;
}

#[tokio::test]
async fn a_later_batch_of_an_open_transaction_needs_no_coordinator() {
    let rig = Rig::start(TransactionVersion::V0).await;
    rig.add(&[(TOPIC, 0)]).await;
    rig.produce(0, 0, "a").await.unwrap();
    let nobody = TransactionalId::new("nobody").unwrap();
    rig.produce_as(Some(nobody), 0, batch(rig.producer, 1, "b")).await.unwrap();
    rig.broker.stop().await;
}

#[tokio::test]
async fn no_later_batch_begins_the_transaction_of_a_partition_in_version_2() {
    let rig = Rig::start(TransactionVersion::V2).await;
    let overtaken = rig.produce(0, 1, "b").await;
    let (expected, got) = (rustmq_model::Sequence(0), rustmq_model::Sequence(1));
    assert_eq!(overtaken, Err(ProduceError::OutOfOrderSequence { producer: rig.producer.id, expected, got }));
    rig.produce(0, 0, "a").await.unwrap();
    rig.produce(0, 1, "b").await.unwrap();
    rig.broker.stop().await;
}

#[tokio::test]
async fn a_request_has_the_batches_of_one_producer() {
    let rig = Rig::start(TransactionVersion::V2).await;
    let invented = ProducerKey { id: ProducerId(rig.producer.id.0 + 1), epoch: ProducerEpoch(i16::MAX) };
    let partition = |partition, producer| ProducePartition {
        topic: named(TOPIC),
        partition: PartitionId(partition),
        records: batch(producer, 0, "a"),
    };
    let partitions = vec![partition(0, rig.producer), partition(1, invented)];
    let transaction = Some(ProduceTransaction { id: id(), version: rig.version });
    let request = Produce { acks: Acks::All, transaction, partitions };
    let results = rig.broker.session.with_timeout(PATIENCE).produce(request).await.wait().await;
    assert!(results[0].is_ok(), "{results:?}");
    assert_eq!(results[1], Err(TransactionError::InvalidProducerIdMapping.into()));
    rig.broker.stop().await;
}

#[tokio::test]
async fn partitions_are_added_all_or_none() {
    let rig = Rig::start(TransactionVersion::V0).await;
    let results = rig.add(&[(TOPIC, 0), ("absent", 0), (TOPIC, 9), ("__transaction_state", 0)]).await;
    assert_eq!(results[0], Err(TransactionPartitionError::NotAttempted));
    assert!(matches!(results[1], Err(TransactionPartitionError::UnknownTopic(_))), "{results:?}");
    assert!(matches!(results[2], Err(TransactionPartitionError::UnknownPartition(_))), "{results:?}");
    assert!(matches!(results[3], Err(TransactionPartitionError::InternalTopic { .. })), "{results:?}");
    let found = rig.broker.session.describe_transaction(&id()).unwrap();
    assert_eq!((found.state, found.partitions), (TransactionState::Empty, vec![]));
    rig.broker.stop().await;
}

#[tokio::test]
async fn a_decided_transaction_ends_in_spite_of_a_deleted_topic() {
    let mut rig = Rig::start(TransactionVersion::V2).await;
    create(&rig.broker.session, "passing", 1, &[]).await;
    rig.produce(0, 0, "a").await.unwrap();
    assert_eq!(rig.add(&[("passing", 0)]).await, [Ok(())]);
    let deleted = rig.broker.session.with_timeout(PATIENCE).delete_topics(vec![named("passing")]).await;
    assert!(deleted[0].is_ok(), "{deleted:?}");
    rig.end(TransactionEnd::Commit).await.unwrap();
    assert_eq!(rig.committed(0).await.0, ["a"]);
    rig.broker.stop().await;
}

#[tokio::test]
async fn an_open_transaction_goes_on_after_a_restart() {
    let mut rig = Rig::start(TransactionVersion::V2).await;
    rig.produce(0, 0, "a").await.unwrap();
    let Rig { broker, producer, version } = rig;
    rig = Rig { broker: broker.restart().await, producer, version };
    rig.await_coordinator().await;
    assert_eq!(rig.broker.session.describe_transaction(&id()).unwrap().state, TransactionState::Ongoing);
    rig.produce(0, 1, "b").await.unwrap();
    rig.end(TransactionEnd::Commit).await.unwrap();
    assert_eq!(rig.committed(0).await.0, ["a", "b"]);
    rig.broker.stop().await;
}

#[tokio::test]
async fn an_operator_ends_a_transaction_that_hangs() {
    let rig = Rig::start(TransactionVersion::V0).await;
    rig.add(&[(TOPIC, 0)]).await;
    rig.produce(0, 0, "a").await.unwrap();
    let described = rig.broker.session.describe_producers(TOPIC, PartitionId(0)).await.unwrap();
    let found = described[0];
    assert_eq!((found.id, found.transaction_start), (rig.producer.id, Some(Offset(0))));
    let marker = TransactionMarker {
        producer: rig.producer,
        end: TransactionEnd::Abort,
        coordinator_epoch: 0,
        version: TransactionVersion::V0,
    };
    let at = |topic: &str, partition| rustmq_model::TopicPartition {
        topic: rustmq_model::TopicName::new(topic).unwrap(),
        partition: PartitionId(partition),
    };
    let partitions = [at(TOPIC, 0), at("absent", 0), at("__transaction_state", 0)];
    let results = rig.broker.session.write_markers(marker, &partitions).await;
    assert_eq!(results[0], Ok(()));
    assert!(matches!(results[1], Err(MarkerError::Locate(LocateError::UnknownTopic(_)))), "{results:?}");
    assert!(matches!(results[2], Err(MarkerError::InternalTopic { .. })), "{results:?}");
    let described = rig.broker.session.describe_producers(TOPIC, PartitionId(0)).await.unwrap();
    assert_eq!(described[0].transaction_start, None);
    let stale = TransactionMarker { coordinator_epoch: -1, ..marker };
    let results = rig.broker.session.write_markers(stale, &partitions[..1]).await;
    assert_eq!(results, [Err(MarkerError::FencedCoordinator { current: 0, got: -1 })]);
    // Such a marker would fence the real ones of the producer for good.
    let invented = TransactionMarker { coordinator_epoch: i32::MAX, ..marker };
    let results = rig.broker.session.write_markers(invented, &partitions[..1]).await;
    assert_eq!(results, [Err(MarkerError::UnknownCoordinatorEpoch { got: i32::MAX, newest: 0 })]);
    rig.broker.stop().await;
}

#[tokio::test]
async fn transactional_ids_are_listed_by_state_producer_and_pattern() {
    let rig = Rig::start(TransactionVersion::V0).await;
    let list = |query: TransactionQuery| rig.broker.session.list_transactions(&query).map(|listed| listed.len());
    let all = TransactionQuery::default;
    assert_eq!(list(all()), Ok(1));
    assert_eq!(list(TransactionQuery { states: Some(vec![TransactionState::Empty]), ..all() }), Ok(1));
    assert_eq!(list(TransactionQuery { states: Some(vec![TransactionState::Ongoing]), ..all() }), Ok(0));
    assert_eq!(list(TransactionQuery { states: Some(vec![]), ..all() }), Ok(0), "no state is wanted");
    assert_eq!(list(TransactionQuery { producer_ids: vec![ProducerId(i64::MAX)], ..all() }), Ok(0));
    assert_eq!(list(TransactionQuery { pattern: Some("pay.*".to_owned()), ..all() }), Ok(1));
    assert_eq!(list(TransactionQuery { pattern: Some("pay".to_owned()), ..all() }), Ok(0), "it is no full match");
    let malformed = list(TransactionQuery { pattern: Some("(".to_owned()), ..all() });
    assert!(matches!(malformed, Err(ListTransactionsError::InvalidPattern { .. })), "{malformed:?}");
    rig.broker.stop().await;
}
