//! A gateway in front of a broker whose engine and controller are in memory, and a client of bare
//! frames.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use rustmq_broker_service::testing::{InMemoryBroker, InMemoryBrokerOptions};
use rustmq_broker_service::{Broker, Session, SupportedFeature};
use rustmq_kafka_codec_messages::create_topics_request::CreatableTopic;
use rustmq_kafka_codec_messages::{
    ApiKey, CreateTopicsRequest, Decode, Encode, Message, Reader, Request, encode_request, for_each_api,
};
use rustmq_kafka_gateway::{Gateway, GatewayConfig, GatewaySettings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// The features of the cluster.
static FEATURES: [SupportedFeature; 2] = [
    SupportedFeature { name: "group.version", levels: 0..=1 },
    SupportedFeature { name: "transaction.version", levels: 0..=2 },
];

/// What a test waits for at most.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct GatewayFixture {
    pub address: SocketAddr,
    pub gateway: Gateway,
    pub broker: Arc<Broker>,
    rig: InMemoryBroker,
}

impl GatewayFixture {
    pub async fn open(adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        Self::open_with(&[], adjust).await
    }

    /// With broker-wide settings beyond those that keep the tests short.
    pub async fn open_with(more: &[(&'static str, &'static str)], adjust: impl FnOnce(&mut GatewayConfig)) -> Self {
        let kafka = [
            ("group.initial.rebalance.delay.ms", "0"),
            ("group.min.session.timeout.ms", "1"),
            ("offsets.topic.num.partitions", "2"),
            ("message.max.bytes", "1000000"),
        ];
        let options = InMemoryBrokerOptions::with_kafka(&[&kafka, more].concat());
        let rig = InMemoryBroker::start(InMemoryBrokerOptions { features: &FEATURES, ..options }).await;
        let settings = GatewaySettings { listen: SocketAddr::from(([127, 0, 0, 1], 0)), ..GatewaySettings::default() };
        let mut config = GatewayConfig::new(settings);
        adjust(&mut config);
        let gateway = Gateway::start(config, Arc::clone(&rig.broker)).unwrap();
        Self { address: gateway.local_addr(), gateway, broker: Arc::clone(&rig.broker), rig }
    }

    /// An anonymous caller beside the gateway.
    pub const fn session(&self) -> &Session {
        &self.rig.session
    }

    /// From now on nothing that is written becomes durable, until [`Self::resume`].
    pub fn stall(&self) {
        self.rig.engine.stall();
    }

    pub fn resume(&self) {
        self.rig.engine.resume();
    }

    pub async fn close(self) {
        tokio::join!(self.gateway.shutdown(PATIENCE), self.broker.shutdown());
        self.rig.stop().await;
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
    pub async fn ask<M>(&mut self, version: i16, request: M) -> M::Response
    where
        M: Request + Encode,
        M::Response: Decode,
    {
        const CORRELATION: i32 = 3;
        self.send(&framed(version, CORRELATION, &request)).await;
        self.answer(version, CORRELATION).await
    }

    /// Creates a topic with one replica for each partition, and checks that it was created.
    pub async fn create_topic(&mut self, name: &str, num_partitions: i32) {
        let topic = CreatableTopic {
            name: name.to_owned(),
            num_partitions,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() };
        assert_eq!(self.ask(7, request).await.topics[0].error_code, 0, "{name} is created");
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

    /// A response; no byte of it may be left.
    pub async fn answer<M: Message + Decode>(&mut self, version: i16, correlation_id: i32) -> M {
        decode(version, self.body(M::KEY, version, correlation_id).await)
    }

    /// A response that only has to be one.
    pub async fn any_answer(&mut self, key: ApiKey, version: i16, correlation_id: i32) {
        let body = self.body(key, version, correlation_id).await;
        macro_rules! decode_any {
            ($($name:ident $key:literal $first:literal $last:literal $flexible:literal $unstable:literal
                $request:ident $response:ident;)*) => {
                match key {
                    $(ApiKey::$name => drop(decode::<rustmq_kafka_codec_messages::$response>(version, body)),)*
                }
            };
        }
        for_each_api!(decode_any);
    }

    async fn body(&mut self, key: ApiKey, version: i16, correlation_id: i32) -> Bytes {
        let (id, rest) = self.receive().await.unwrap_or_else(|| panic!("{key} {version}: the connection was closed"));
        assert_eq!(id, correlation_id);
        let mut body = Bytes::from(rest);
        if key.has_flexible_response_header(version) {
            assert_eq!(body.split_to(1).as_ref(), [0], "no tagged fields in the header");
        }
        body
    }
}

/// A request with its header and its length.
pub fn framed<M: Message + Encode>(version: i16, correlation_id: i32, request: &M) -> Vec<u8> {
    encode_request(correlation_id, "tests", version, request).unwrap().into()
}

fn decode<M: Message + Decode>(version: i16, body: Bytes) -> M {
    const ELEMENTS_MAX: usize = 1_000_000;
    let mut reader = Reader::new(body, version, M::KEY.is_flexible(version), ELEMENTS_MAX);
    let message = M::decode(&mut reader).unwrap_or_else(|error| panic!("{} {version}: {error}", M::KEY));
    assert!(reader.rest().is_empty(), "{} {version}: {} bytes are left", M::KEY, reader.rest().len());
    message
}
