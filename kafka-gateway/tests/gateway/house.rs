//! A gateway in front of a real broker, engine and controller in a folder of its own, and a client
//! of bare frames.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind, ResponseKind};
use kafka_protocol::protocol::Encodable;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use rustmq_broker_service::{Broker, BrokerConfig, BrokerLimits, CompressedRecords};
use rustmq_controller_core::{Configs, IncarnationId};
use rustmq_controller_raft::{Controller, ControllerConfig};
use rustmq_engine_api::Engine;
use rustmq_engine_shard::{DiskFaults, EngineConfig, Metrics};
use rustmq_kafka_gateway::{Gateway, GatewayConfig};
use rustmq_model::ByteSize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// What a test waits for at most.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct House {
    pub address: SocketAddr,
    pub gateway: Gateway,
    pub broker: Arc<Broker>,
    pub faults: Arc<DiskFaults>,
    engine: Engine,
    pub controller: Controller,
    _folder: tempfile::TempDir,
}

impl House {
    pub async fn open(adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::open_with(&[], adjust).await
    }

    /// With broker-wide settings beyond those that keep the tests short.
    pub async fn open_with(more: &[(&str, &str)], adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let faults = Arc::new(DiskFaults::default());
        let config = EngineConfig {
            faults: Some(Arc::clone(&faults)),
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
            compressed_records: CompressedRecords::Checked,
            name: "broker".to_owned(),
            incarnation: IncarnationId(1),
            listeners: BTreeMap::new(),
            rack: None,
            data_dir: folder.path().to_owned(),
            kafka: kafka
                .iter()
                .chain(more)
                .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                .collect::<Configs>()
                .into(),
            limits: BrokerLimits::default(),
        };
        let mut registry = Registry::default();
        let broker = Broker::start(config, engine.clone(), controller.clone(), &mut registry).await.unwrap();
        let mut config = GatewayConfig::new("127.0.0.1:0".parse().unwrap());
        adjust(&mut config);
        let gateway = Gateway::start(config, Arc::clone(&broker)).unwrap();
        Self { address: gateway.local_addr(), gateway, broker, faults, engine, controller, _folder: folder }
    }

    pub async fn close(self) {
        tokio::join!(self.gateway.shutdown(PATIENCE), self.broker.shutdown());
        self.engine.shutdown().await;
        self.controller.shutdown().await;
    }

    /// What the gateway counts under a name and its labels; 0 if it is not there.
    pub fn metric(&self, name: &str) -> usize {
        let mut registry = Registry::default();
        self.gateway.metrics().register(&mut registry);
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        let start = format!("rustmq_kafka_{name} ");
        page.lines().find_map(|line| line.strip_prefix(&start)?.parse().ok()).unwrap_or(0)
    }

    /// Waits until `is_so`, of what the gateway counts.
    pub async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let so = async {
            while !is_so(self) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, so).await.expect("it comes to that in time");
    }

    /// A client at another address of this machine.
    pub async fn client_from(&self, address: [u8; 4]) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((address, 0).into()).unwrap();
        Client { stream: socket.connect(self.address).await.unwrap() }
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

    /// A request and its response.
    pub async fn ask(&mut self, key: ApiKey, version: i16, request: RequestKind) -> ResponseKind {
        const CORRELATION: i32 = 3;
        self.send(&framed(key, version, CORRELATION, &request)).await;
        self.answer(key as i16, version, CORRELATION).await
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

/// A request with its header and its length.
pub fn framed(key: ApiKey, version: i16, correlation_id: i32, request: &RequestKind) -> Vec<u8> {
    let mut frame = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id);
    header.encode(&mut frame, key.request_header_version(version)).unwrap();
    request.encode(&mut frame, version).unwrap();
    [&u32::try_from(frame.len()).unwrap().to_be_bytes(), &frame[..]].concat()
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
