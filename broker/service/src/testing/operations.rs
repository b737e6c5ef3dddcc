//! Requests for tests: topics, batches of records with a value, fetches of one partition. A
//! function for a request that must succeed panics if it fails.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustmq_controller_core::{ConfigChange, ConfigEdit, Configs, CreatedTopic, EditOperation, IncarnationId};
use rustmq_engine_api::{FoundOffset, Isolation};
use rustmq_model::batch::{self, Codec};
use rustmq_model::record::{self, BatchBuilder, Record};
use rustmq_model::{Endpoint, Offset, PartitionId, Timestamp};

use crate::broker::Broker;
use crate::config::{BrokerConfig, BrokerLimits, BrokerSettings};
use crate::configs::{ResourceAlteration, ResourceName};
use crate::fetch::{Fetch, FetchError, FetchPartition, FetchedPartition};
use crate::offsets::{OffsetAt, OffsetQuery};
use crate::produce::{Acks, Produce, ProduceError, ProducePartition, Produced};
use crate::session::{Caller, Principal, Session};
use crate::topics::{Mode, TopicCreation, TopicPlacement};
use crate::view::TopicRef;

/// An upper bound on the duration of every request in tests.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// The default time of records.
pub const TIME: Timestamp = Timestamp(1_700_000_000_000);

/// The configuration of a broker by the name `rustmq`.
#[must_use]
pub fn config(data_dir: PathBuf, kafka: &[(&str, &str)], limits: BrokerLimits) -> BrokerConfig {
    let kafka: Configs = kafka.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    let listener = Endpoint { host: "127.0.0.1".to_owned(), port: 9092 };
    BrokerConfig {
        settings: BrokerSettings::default(),
        incarnation: IncarnationId(1),
        listeners: BTreeMap::from([("PLAINTEXT".to_owned(), listener)]),
        data_dir,
        kafka: kafka.into(),
        limits,
        features: &[],
    }
}

/// The session of an anonymous caller that waits without a limit.
#[must_use]
pub fn session(broker: &Arc<Broker>) -> Session {
    let address = SocketAddr::from(([127, 0, 0, 1], 40_000));
    let caller = Caller { principal: Principal::anonymous(), listener: "PLAINTEXT", address };
    Session::new(Arc::clone(broker), Arc::new(caller), Some("test".to_owned()))
}

#[must_use]
pub fn named(topic: &str) -> TopicRef {
    TopicRef::Name(topic.to_owned())
}

/// # Panics
/// If the topic is not created.
pub async fn create(session: &Session, name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatedTopic {
    let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
    let placement = TopicPlacement::Count { partitions: Some(partitions), replication_factor: None };
    let topic = TopicCreation { name: name.to_owned(), placement, configs };
    session
        .with_timeout(PATIENCE)
        .create_topics(vec![topic], Mode::Apply)
        .await
        .remove(0)
        .expect("the topic is created")
}

/// Produces one batch with acks=all.
///
/// # Errors
/// The broker's error for the batch.
pub async fn produce(session: &Session, topic: &str, partition: i32, records: Bytes) -> Result<Produced, ProduceError> {
    let partition = ProducePartition { topic: named(topic), partition: PartitionId(partition), records };
    let request = Produce { acks: Acks::All, transaction: None, partitions: vec![partition] };
    session.with_timeout(PATIENCE).produce(request).await.wait().await.remove(0)
}

/// Fetches the available batches of one partition, without a wait.
///
/// # Errors
/// The broker's error for the partition.
pub async fn fetch(session: &Session, topic: &str, partition: i32, from: i64) -> Result<FetchedPartition, FetchError> {
    session.fetch(fetch_request(topic, partition, from)).await.remove(0)
}

/// A fetch of the available batches of one partition, without a wait.
#[must_use]
pub fn fetch_request(topic: &str, partition: i32, from: i64) -> Fetch {
    let partition = FetchPartition {
        topic: named(topic),
        partition: PartitionId(partition),
        from: Offset(from),
        max_bytes: 1 << 20,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    };
    Fetch {
        min_bytes: 1,
        max_bytes: 10 << 20,
        max_wait: Duration::ZERO,
        isolation: Isolation::ReadUncommitted,
        partitions: vec![partition],
    }
}

/// An offset of the topic's first partition.
///
/// # Panics
/// If the broker refuses the query.
pub async fn offset(session: &Session, topic: &str, at: OffsetAt) -> Option<FoundOffset> {
    let query = OffsetQuery { topic: named(topic), partition: PartitionId(0), current_leader_epoch: None, at };
    let mut found = session.list_offsets(Isolation::ReadUncommitted, vec![query]).await;
    found.remove(0).expect("the partition has offsets")
}

/// Changes a broker-wide setting while the broker runs.
///
/// # Panics
/// If the setting is refused.
pub async fn alter_broker(session: &Session, name: &str, value: &str) {
    let edit = ConfigEdit { name: name.to_owned(), operation: EditOperation::Set(value.to_owned()) };
    let change = ConfigChange::Edit(vec![edit]);
    let alteration = ResourceAlteration { resource: ResourceName::Broker(String::new()), change };
    session.alter_configs(vec![alteration], Mode::Apply).await.remove(0).expect("the setting is legal");
}

#[must_use]
pub fn batch_of(values: &[&str]) -> Bytes {
    batch_at(TIME, values)
}

#[must_use]
pub fn batch_at(time: Timestamp, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for value in values {
        builder.push(time, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.build()
}

/// # Panics
/// If a batch is not sound.
#[must_use]
pub fn records(fetched: &FetchedPartition) -> Vec<Record> {
    let batches = fetched.batches.iter().flat_map(batch::split).map(|batch| batch.expect("the batch is sound").1);
    batches.flat_map(|batch| record::read(&batch, 1 << 20).expect("its records are sound")).collect()
}

/// # Panics
/// If a record has no value, or one that is no text.
#[must_use]
pub fn values(fetched: &FetchedPartition) -> Vec<String> {
    let text = |record: Record| {
        let value = record.value.expect("the record has a value");
        String::from_utf8(value.to_vec()).expect("the value is text")
    };
    records(fetched).into_iter().map(text).collect()
}
