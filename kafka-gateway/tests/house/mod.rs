//! A gateway in front of a real broker, engine and controller in a folder of its own, and a client of bare frames.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, ResponseKind};
use prometheus_client::registry::Registry;
use rustmq_broker_service::{Broker, BrokerConfig, BrokerLimits};
use rustmq_controller_core::IncarnationId;
use rustmq_controller_raft::{Controller, ControllerConfig};
use rustmq_engine_api::Engine;
use rustmq_engine_shard::{EngineConfig, Metrics};
use rustmq_kafka_gateway::{Gateway, GatewayConfig};
use rustmq_model::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// What a test waits for at most.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct House {
    pub address: SocketAddr,
    pub gateway: Gateway,
    pub broker: Arc<Broker>,
    engine: Engine,
    controller: Controller,
    _folder: tempfile::TempDir,
}

impl House {
    pub async fn open(adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::open_with(&[], adjust).await
    }

    /// With broker-wide settings beyond those that keep the tests short.
    pub async fn open_with(more: &[(&str, &str)], adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = EngineConfig {
            shards: 1,
            segment_size: ByteSize::mib(4),
            capacity: ByteSize::mib(64),
            tail_memory: ByteSize::mib(16),
            ..EngineConfig::new(folder.path().join("wal"))
        };
        let start = move || rustmq_engine_shard::start(&config, &Metrics::default());
        let (engine, _) = tokio::task::spawn_blocking(start).await.unwrap().unwrap();
        let controller =
            Controller::open(&folder.path().join("controller"), ControllerConfig::default()).await.unwrap();
        let kafka = [
            ("group.initial.rebalance.delay.ms", "0"),
            ("group.min.session.timeout.ms", "1"),
            ("offsets.topic.num.partitions", "2"),
            ("message.max.bytes", "1000000"),
        ];
        let config = BrokerConfig {
            name: "broker".to_owned(),
            incarnation: IncarnationId(1),
            listeners: BTreeMap::new(),
            rack: None,
            data_dir: folder.path().to_owned(),
            kafka: kafka.iter().chain(more).map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
            limits: BrokerLimits::default(),
        };
        let mut registry = Registry::default();
        let broker = Broker::start(config, engine.clone(), controller.clone(), &mut registry).await.unwrap();
        let mut config = GatewayConfig::new("127.0.0.1:0".parse().unwrap());
        adjust(&mut config);
        let gateway = Gateway::start(config, Arc::clone(&broker)).unwrap();
        Self { address: gateway.local_addr(), gateway, broker, engine, controller, _folder: folder }
    }

    pub async fn close(self) {
        tokio::join!(self.gateway.shutdown(PATIENCE), self.broker.shutdown());
        self.engine.shutdown().await;
        self.controller.shutdown().await;
    }

    pub async fn client(&self) -> Client {
        Client { stream: TcpStream::connect(self.address).await.unwrap() }
    }
}

pub struct Client {
    pub stream: TcpStream,
}

impl Client {
    pub async fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.unwrap();
    }

    /// The next response: its correlation id, and what follows it.
    pub async fn receive(&mut self) -> Option<(i32, Vec<u8>)> {
        let mut length = [0; 4];
        let read = timeout(PATIENCE, self.stream.read_exact(&mut length)).await.expect("an answer in time");
        read.ok()?;
        let mut frame = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        timeout(PATIENCE, self.stream.read_exact(&mut frame)).await.expect("an answer in time").ok()?;
        let (id, rest) = frame.split_first_chunk().unwrap();
        Some((i32::from_be_bytes(*id), rest.to_vec()))
    }

    /// A response as the crate reads it; no byte of it may be left.
    pub async fn answer(&mut self, key: i16, version: i16, correlation_id: i32) -> ResponseKind {
        let (id, rest) = self.receive().await.unwrap_or_else(|| panic!("{key} {version}: the connection was closed"));
        assert_eq!(id, correlation_id);
        decode(key, version, rest)
    }
}

fn decode(key: i16, version: i16, rest: Vec<u8>) -> ResponseKind {
    let api = ApiKey::try_from(key).unwrap();
    let mut body = bytes::Bytes::from(rest);
    if api.response_header_version(version) >= 1 {
        assert_eq!(body.split_to(1).as_ref(), [0], "no tagged fields in the header");
    }
    let decoded = ResponseKind::decode(api, &mut body, version).unwrap_or_else(|e| panic!("{key} {version}: {e}"));
    assert!(body.is_empty(), "{key} {version}: {} bytes are left", body.len());
    decoded
}
