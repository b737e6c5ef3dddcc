//! A process without free descriptors: its clients are closed at once, and those of a server with
//! spare descriptors are served. A program of its own, because it lowers the limit of the whole
//! process.

#![allow(clippy::unwrap_used)]

use std::fs::File;
use std::io::{self, Seek};
use std::net::SocketAddr;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustmq_net::{Acceptor, Connection, ConnectionLimits, ConnectionMetrics, Server, ShutdownTrigger, shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tracing::Level;

/// The longest wait of the test: far less than an unaccepted client waits.
const PATIENCE: Duration = Duration::from_secs(5);
const FILES_MAX: u64 = 100;
const SPARES: usize = 2;

/// A server that sends a byte and holds the connection.
fn door(served_by_spares: usize) -> (SocketAddr, ShutdownTrigger) {
    const LIMITS: ConnectionLimits = ConnectionLimits { in_all: 1_000, per_address: 1_000, evictable_after: None };
    let acceptor = Acceptor::bind("127.0.0.1:0".parse().unwrap(), served_by_spares).unwrap();
    let address = acceptor.local_addr();
    let (trigger, told) = shutdown();
    let greet = |mut connection: Connection| async move {
        connection.stream.write_all(b"!").await.unwrap();
        std::future::pending::<()>().await;
    };
    tokio::spawn(Server::new(acceptor, ConnectionMetrics::default(), None).run(|_| LIMITS, told, greet));
    (address, trigger)
}

/// Whether the server has served this connection, or closed it.
async fn is_served(socket: TcpSocket, address: SocketAddr) -> (bool, TcpStream) {
    let mut stream = socket.connect(address).await.unwrap();
    let answer = timeout(PATIENCE, stream.read_exact(&mut [0])).await;
    (answer.expect("the client is not left waiting").is_ok(), stream)
}

#[tokio::test]
async fn clients_are_told_at_once_and_spares_serve() {
    let log = tempfile::NamedTempFile::new().unwrap();
    let logging = tracing_subscriber::fmt().with_max_level(Level::WARN).with_writer(log.reopen().unwrap()).finish();
    let _logged = tracing::subscriber::set_default(logging);
    // The log is read while no descriptor is left to open it.
    let mut log = log.into_file();
    let mut warnings = || {
        log.rewind().unwrap();
        io::read_to_string(&log).unwrap().lines().filter(|line| line.contains("WARN")).count()
    };
    let (plain, _plain_runs) = door(0);
    let (reserved, _reserved_runs) = door(SPARES);
    // The clients take their descriptors before none are left.
    let sockets: Vec<_> = (0..8).map(|_| TcpSocket::new_v4().unwrap()).collect();
    let mut sockets = sockets.into_iter();
    let (is_greeted, first) = is_served(sockets.next().unwrap(), plain).await;
    assert!(is_greeted);
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(FILES_MAX), ..limit }).unwrap();
    let all: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    assert!(!all.is_empty(), "the limit is low enough to be met");

    // The clients keep theirs.
    let mut held = Vec::new();
    for _ in 0..2 {
        let (is_greeted, stream) = is_served(sockets.next().unwrap(), plain).await;
        assert!(!is_greeted, "it is closed at once");
        held.push(stream);
    }
    for number in 0..=SPARES {
        let (is_greeted, stream) = is_served(sockets.next().unwrap(), reserved).await;
        assert_eq!(is_greeted, number < SPARES, "connection {number}");
        held.push(stream);
    }
    assert_eq!(warnings(), 2, "each door says once that it has none, however many connect");
    drop((all, first));
    let (is_greeted, _) = is_served(sockets.next().unwrap(), plain).await;
    assert!(is_greeted, "with descriptors everybody is served again");
    assert_eq!(warnings(), 3, "and the door says so");
}
