//! A broker with its real engine and controller on a temporary folder, and the requests that the
//! tests make of it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::registry::Registry;
use rustmq_broker_service::*;
use rustmq_controller_core::{Configs, IncarnationId};
use rustmq_controller_raft::{Controller, ControllerConfig};
use rustmq_engine_api::Engine;
use rustmq_engine_shard::{EngineConfig, EngineSettings, Metrics};
use rustmq_model::batch::{self, Codec};
use rustmq_model::record::{self, BatchBuilder, Record};
use rustmq_model::{ByteSize, Endpoint, Offset, PartitionId, Timestamp};
use tempfile::TempDir;

pub const PATIENCE: Duration = Duration::from_secs(20);

/// A running broker. Its folder lives until the `TempDir` that it was started on is dropped.
pub struct House {
    pub broker: Arc<Broker>,
    pub registry: Registry,
    pub engine: Engine,
    controller: Controller,
}

impl House {
    pub async fn start(dir: &TempDir) -> Self {
        Self::start_with(dir.path(), &[], BrokerLimits::default()).await
    }

    pub async fn start_with(dir: &Path, kafka: &[(&str, &str)], limits: BrokerLimits) -> Self {
        Self::start_on(Self::engine_config(dir), dir, kafka, limits).await
    }

    pub fn engine_config(dir: &Path) -> EngineConfig {
        let settings = EngineSettings {
            shards: Some(2),
            segment_size: ByteSize::mib(16),
            tail_memory: Some(ByteSize::mib(128)),
            ..EngineSettings::default()
        };
        Self::engine_config_of(settings, dir)
    }

    pub fn engine_config_of(settings: EngineSettings, dir: &Path) -> EngineConfig {
        EngineConfig { capacity: ByteSize::mib(512), ..EngineConfig::new(settings, dir.join("wal")) }
    }

    pub async fn start_on(engine: EngineConfig, dir: &Path, kafka: &[(&str, &str)], limits: BrokerLimits) -> Self {
        let mut registry = Registry::default();
        let engine = start_engine(engine).await;
        let controller = Controller::open(&dir.join("controller"), ControllerConfig::default()).await.unwrap();
        let kafka: Configs = kafka.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let config = BrokerConfig {
            settings: BrokerSettings::default(),
            incarnation: IncarnationId(1),
            listeners: BTreeMap::from([(
                "PLAINTEXT".to_owned(),
                Endpoint { host: "127.0.0.1".to_owned(), port: 9092 },
            )]),
            data_dir: dir.to_owned(),
            kafka: kafka.into(),
            limits,
        };
        let broker = Broker::start(config, engine.clone(), controller.clone(), &mut registry).await.unwrap();
        Self { broker, registry, engine, controller }
    }

    /// A clean end, after which the folder can be started on again.
    pub async fn stop(self) {
        self.broker.shutdown().await;
        self.engine.shutdown().await;
        self.controller.shutdown().await;
    }

    pub async fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> CreatedTopic {
        let configs = configs.iter().map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned()))).collect();
        let placement = TopicPlacement::Count { partitions: Some(partitions), replication_factor: None };
        let topic = TopicCreation { name: name.to_owned(), placement, configs };
        self.broker.create_topics(vec![topic], Mode::Apply, PATIENCE).await.remove(0).unwrap()
    }

    pub async fn produce(&self, topic: &str, partition: i32, records: Bytes) -> Result<Produced, ProduceError> {
        let partition = ProducePartition { topic: named(topic), partition: PartitionId(partition), records };
        let request = ProduceRequest { acks: Acks::All, timeout: PATIENCE, partitions: vec![partition] };
        self.broker.produce(request).await.wait().await.remove(0)
    }

    pub async fn fetch(&self, topic: &str, partition: i32, from: i64) -> Result<FetchedPartition, FetchError> {
        self.broker.fetch(fetch_request(topic, partition, from)).await.remove(0)
    }

    /// A broker-wide setting changes while the broker runs.
    pub async fn alter_broker(&self, name: &str, value: &str) {
        let edit = ConfigEdit { name: name.to_owned(), operation: EditOperation::Set(value.to_owned()) };
        let change = ConfigChange::Edit(vec![edit]);
        let alteration = ResourceAlteration { resource: ResourceName::Broker(String::new()), change };
        self.broker.alter_configs(vec![alteration], Mode::Apply).await.remove(0).unwrap();
    }

    pub async fn offset(&self, topic: &str, at: OffsetAt) -> Option<FoundOffset> {
        let query = OffsetQuery { topic: named(topic), partition: PartitionId(0), current_leader_epoch: None, at };
        self.broker.list_offsets(Isolation::ReadUncommitted, vec![query]).await.remove(0).unwrap()
    }

    pub fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }
}

async fn start_engine(config: EngineConfig) -> Engine {
    let start = move || rustmq_engine_shard::start(&config, &Metrics::default());
    tokio::task::spawn_blocking(start).await.unwrap().unwrap().0
}

pub fn named(topic: &str) -> TopicRef {
    TopicRef::Name(topic.to_owned())
}

pub fn fetch_request(topic: &str, partition: i32, from: i64) -> FetchRequest {
    let partition = FetchPartition {
        topic: named(topic),
        partition: PartitionId(partition),
        from: Offset(from),
        max_bytes: 1 << 20,
        current_leader_epoch: None,
        last_fetched_epoch: None,
    };
    FetchRequest {
        min_bytes: 1,
        max_bytes: 10 << 20,
        max_wait: Duration::ZERO,
        isolation: Isolation::ReadUncommitted,
        partitions: vec![partition],
    }
}

pub fn batch_of(values: &[&str]) -> Bytes {
    batch_at(Timestamp(1_700_000_000_000), values)
}

pub fn batch_at(time: Timestamp, values: &[&str]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    for value in values {
        builder.push(time, Some(b"key"), Some(value.as_bytes()), &[]);
    }
    builder.build()
}

pub fn records(fetched: &FetchedPartition) -> Vec<Record> {
    let batches = fetched.batches.iter().flat_map(batch::split).map(|batch| batch.unwrap().1);
    batches.flat_map(|batch| record::read(&batch, 1 << 20).unwrap()).collect()
}

pub fn values(fetched: &FetchedPartition) -> Vec<String> {
    let text = |record: Record| String::from_utf8(record.value.unwrap().to_vec()).unwrap();
    records(fetched).into_iter().map(text).collect()
}
