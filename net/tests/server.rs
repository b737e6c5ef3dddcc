//! A server over real sockets: which connections it admits, which give way, and how it closes.

#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use rustmq_net::{Acceptor, Connection, ConnectionLimits, ConnectionMetrics, Server, ShutdownTrigger, shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

/// The longest wait of a test.
const PATIENCE: Duration = Duration::from_secs(20);
const OPEN: ConnectionLimits = ConnectionLimits { in_all: 100, per_address: 100, evictable_after: None };

/// A server that echoes bytes.
struct TestServer {
    address: SocketAddr,
    metrics: ConnectionMetrics,
    trigger: ShutdownTrigger,
    /// Ends the connections that outlast the beginning of a shutdown, when the test requests it.
    finish: Arc<Notify>,
    running: JoinHandle<()>,
}

impl TestServer {
    fn open(limits: ConnectionLimits, lifetime_max: Option<Duration>) -> Self {
        let acceptor = Acceptor::bind("127.0.0.1:0".parse().unwrap(), 0).unwrap();
        let (address, metrics) = (acceptor.local_addr(), ConnectionMetrics::default());
        let server = Server::new(acceptor, metrics.clone(), lifetime_max);
        let (trigger, told) = shutdown();
        let finish = Arc::new(Notify::new());
        let finished = Arc::clone(&finish);
        let echo = move |connection: Connection| {
            let finished = Arc::clone(&finished);
            async move {
                let Connection { mut stream, permit: _held, .. } = connection;
                let (mut reader, mut writer) = stream.split();
                tokio::select! {
                    _ = tokio::io::copy(&mut reader, &mut writer) => {}
                    () = finished.notified() => {}
                }
            }
        };
        let running = tokio::spawn(server.run(move |_| limits, told, echo));
        Self { address, metrics, trigger, finish, running }
    }

    async fn connect(&self) -> TcpStream {
        TcpStream::connect(self.address).await.unwrap()
    }

    /// Connects from another address of this machine.
    async fn connect_from(&self, last_byte: u8) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, last_byte));
        socket.bind(SocketAddr::new(from, 0)).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    fn metric(&self, name: &str) -> u64 {
        let mut registry = Registry::default();
        self.metrics.register(&mut registry);
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        let line = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("{name} is not in {page}")).parse().unwrap()
    }

    async fn until(&self, is_so: impl Fn(&Self) -> bool) {
        let so = async {
            while !is_so(self) {
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, so).await.expect("it comes to that in time");
    }
}

/// Whether a byte comes back. A closed connection may refuse the byte.
async fn is_served(stream: &mut TcpStream) -> bool {
    let mut byte = [7];
    let sent = stream.write_all(&byte).await;
    sent.is_ok() && timeout(PATIENCE, stream.read_exact(&mut byte)).await.expect("an answer or an end").is_ok()
}

#[tokio::test]
async fn the_limit_in_all_closes_newcomers_and_leaves_the_others() {
    let server = TestServer::open(ConnectionLimits { in_all: 2, ..OPEN }, None);
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    assert!(is_served(&mut first).await && is_served(&mut second).await);
    assert!(!is_served(&mut server.connect().await).await);
    assert!(is_served(&mut first).await);
    assert_eq!(server.metric("connections_refused_total{reason=\"limit\"}"), 1);
    drop(second);
    server.until(|server| server.metrics.open() == 1).await;
    assert!(is_served(&mut server.connect().await).await);
    assert_eq!(server.metric("connections_accepted_total"), 3);
}

#[tokio::test]
async fn an_address_that_is_full_keeps_no_other_out() {
    let server = TestServer::open(ConnectionLimits { per_address: 1, ..OPEN }, None);
    let mut first = server.connect().await;
    assert!(is_served(&mut first).await);
    assert!(!is_served(&mut server.connect().await).await);
    assert!(is_served(&mut server.connect_from(2).await).await);
    assert!(is_served(&mut first).await);
    assert_eq!(server.metric("connections_refused_total{reason=\"address_limit\"}"), 1);
}

#[tokio::test]
async fn the_oldest_connection_gives_way_to_a_newcomer() {
    let evictable_after = Some(Duration::ZERO);
    let server = TestServer::open(ConnectionLimits { in_all: 2, evictable_after, ..OPEN }, None);
    let (mut first, mut second) = (server.connect().await, server.connect().await);
    assert!(is_served(&mut first).await && is_served(&mut second).await);
    let mut third = server.connect().await;
    assert!(is_served(&mut third).await);
    assert!(!is_served(&mut first).await, "it has given way");
    assert!(is_served(&mut second).await);
    assert_eq!(server.metric("connections_evicted_total"), 1);
    server.until(|server| server.metrics.open() == 2).await;
}

#[tokio::test]
async fn a_connection_ends_with_its_lifetime() {
    let server = TestServer::open(OPEN, Some(Duration::from_millis(50)));
    let mut stream = server.connect().await;
    let ended = timeout(PATIENCE, stream.read(&mut [0])).await.expect("it ends in time");
    assert_eq!(ended.unwrap(), 0);
    server.until(|server| server.metrics.open() == 0).await;
}

#[tokio::test]
async fn a_shutdown_takes_nothing_new_and_waits_for_what_is_there() {
    let server = TestServer::open(OPEN, None);
    let mut stream = server.connect().await;
    assert!(is_served(&mut stream).await);
    server.trigger.begin(PATIENCE);
    // The listener is gone as soon as the server has received the shutdown.
    let closed = async { while TcpStream::connect(server.address).await.is_ok() {} };
    timeout(PATIENCE, closed).await.expect("nothing new is taken");
    assert!(is_served(&mut stream).await, "what is there goes on");
    assert!(!server.running.is_finished());
    server.finish.notify_one();
    timeout(PATIENCE, server.running).await.expect("it ends with its last connection").unwrap();
}

#[tokio::test]
async fn a_shutdown_ends_what_outlasts_its_grace() {
    let server = TestServer::open(OPEN, None);
    let mut stream = server.connect().await;
    assert!(is_served(&mut stream).await);
    server.trigger.begin(Duration::from_millis(50));
    timeout(PATIENCE, server.running).await.expect("it ends after its grace").unwrap();
    assert!(!is_served(&mut stream).await);
    assert_eq!(server.metrics.open(), 0);
}
