#![allow(clippy::unwrap_used)]
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;
use prometheus_client::metrics::counter::Counter;
use rustmq_model::ByteSize;
use rustmq_net::ConnectionLimits;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use super::{HttpServer, Limits, Phase, Status, start};

const PATIENCE: Duration = Duration::from_secs(20);
/// More than the kernel takes for a client that does not read.
const WIDE_BYTES: usize = 32 << 20;

fn connections(in_all: usize, evictable_after: Option<Duration>) -> ConnectionLimits {
    ConnectionLimits { in_all, per_address: in_all, evictable_after }
}

fn serve(status: &Arc<Status>, limits: Limits) -> HttpServer {
    start("127.0.0.1:0".parse().unwrap(), status, limits).unwrap()
}

/// A process whose `/metrics` page its clients have to read.
fn wide_status() -> Arc<Status> {
    let status = Status::new();
    status.registry.lock().register("wide", "x".repeat(WIDE_BYTES), Counter::<u64>::default());
    status
}

/// What a client reads until its connection is closed, and nothing if it is not.
async fn until_closed(mut stream: TcpStream) -> Option<String> {
    let mut read = Vec::new();
    let ended = timeout(PATIENCE, stream.read_to_end(&mut read)).await;
    // A reset is an end as well.
    ended.is_ok().then(|| String::from_utf8(read).unwrap())
}

/// A connection on which a request was sent, if the connection was not closed before.
async fn ask(address: SocketAddr, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _refused = stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes()).await;
    stream
}

async fn answer_to(address: SocketAddr, path: &str) -> String {
    until_closed(ask(address, path).await).await.unwrap()
}

async fn is_served(address: SocketAddr, path: &str) -> bool {
    answer_to(address, path).await.starts_with("HTTP/1.1 200")
}

/// A client that asks for the page, and reads only that it comes.
async fn deaf_scraper(address: SocketAddr) -> TcpStream {
    let stream = ask(address, "/metrics").await;
    timeout(PATIENCE, stream.readable()).await.expect("a page in time").unwrap();
    stream
}

#[tokio::test]
async fn a_failure_is_shown_with_its_part_and_reason() {
    let (status, part) = (Status::new(), watch::Sender::default());
    status.health.watch("shard 3", part.subscribe());
    status.enter(Phase::Serving);
    let server = serve(&status, Limits::default());
    for (path, told) in
        [("/ready", r#""ready":true"#), ("/health", r#""failures":[]"#), ("/metrics", "{part=\"shard 3\"} 0")]
    {
        let answer = answer_to(server.address, path).await;
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(told), "{answer}");
    }
    part.send_replace(Some("EIO".to_owned()));
    let told = r#""failures":[{"part":"shard 3","reason":"EIO"}]"#;
    for path in ["/ready", "/health"] {
        let answer = answer_to(server.address, path).await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(told), "{answer}");
    }
    assert!(answer_to(server.address, "/metrics").await.contains("rustmq_failed{part=\"shard 3\"} 1"));
}

#[tokio::test]
async fn connections_are_bounded_and_silent_ones_end_with_their_deadline() {
    let limits = Limits { arrivals: connections(2, None), head_time_max: Duration::from_secs(1), ..Limits::default() };
    let server = serve(&Status::new(), limits);
    assert!(is_served(server.address, "/health").await);
    let silent = TcpStream::connect(server.address).await.unwrap();
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    slow.write_all(b"GET /health HTTP/1.1\r\nHo").await.unwrap();
    assert_eq!(answer_to(server.address, "/health").await, "", "one too many");
    assert!(until_closed(silent).await.is_some(), "a connection without a request");
    assert!(until_closed(slow).await.is_some(), "a request that does not come");
    assert!(is_served(server.address, "/health").await);
}

#[tokio::test]
async fn a_head_that_comes_byte_by_byte_is_ended_by_its_deadline() {
    let limits = Limits { head_time_max: Duration::from_secs(1), ..Limits::default() };
    let server = serve(&Status::new(), limits);
    let mut slow = TcpStream::connect(server.address).await.unwrap();
    let since = Instant::now();
    slow.write_all(b"GET /health HTTP/1.1\r\nX: ").await.unwrap();
    // No byte comes late, and the head never ends.
    while slow.write_all(b"x").await.is_ok() {
        assert!(since.elapsed() < PATIENCE, "it is not ended");
        sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_head_that_is_too_long_is_refused() {
    let server = serve(&Status::new(), Limits::default());
    let answer = answer_to(server.address, &format!("/{}", "x".repeat(20 << 10))).await;
    assert!(answer.starts_with("HTTP/1.1 431"), "{answer}");
}

#[tokio::test]
async fn silent_connections_give_way_to_whoever_comes() {
    let limits = Limits { arrivals: connections(2, Some(Duration::from_millis(100))), ..Limits::default() };
    let server = serve(&Status::new(), limits);
    let silent = [TcpStream::connect(server.address).await.unwrap(), TcpStream::connect(server.address).await.unwrap()];
    let since = Instant::now();
    while !is_served(server.address, "/health").await {
        assert!(since.elapsed() < PATIENCE, "they hold their places");
    }
    drop(silent);
}

#[tokio::test]
async fn slow_scrapers_take_no_connection_from_health() {
    // Far more of them than `/metrics` has connections, and as many as may arrive.
    let limits = Limits {
        arrivals: connections(4, None),
        scrapes: connections(2, None),
        page_memory: ByteSize(4 * WIDE_BYTES as u64),
        ..Limits::default()
    };
    let server = serve(&wide_status(), limits);
    let mut deaf = Vec::new();
    for _ in 0..2 {
        deaf.push(deaf_scraper(server.address).await);
    }
    for _ in 0..8 {
        let answer = answer_to(server.address, "/metrics").await;
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after"), "{answer}");
        assert!(is_served(server.address, "/health").await);
    }
}

#[tokio::test]
async fn a_scraper_that_does_not_read_gives_way_to_another() {
    let evictable_after = Some(Duration::from_millis(100));
    let limits = Limits { scrapes: connections(1, evictable_after), ..Limits::default() };
    let server = serve(&wide_status(), limits);
    let _deaf = deaf_scraper(server.address).await;
    let since = Instant::now();
    while !is_served(server.address, "/metrics").await {
        assert!(since.elapsed() < PATIENCE, "it holds its place");
    }
}

/// Metrics that take as long as the test wants: until it drops the other end.
#[derive(Debug)]
struct SlowMetrics {
    until: Mutex<mpsc::Receiver<()>>,
    begun: Arc<AtomicUsize>,
}

impl Collector for SlowMetrics {
    fn encode(&self, _encoder: DescriptorEncoder<'_>) -> std::fmt::Result {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let _dropped = self.until.lock().recv();
        Ok(())
    }
}

#[tokio::test]
async fn pages_are_not_made_for_clients_that_are_gone() {
    let (status, begun) = (Status::new(), Arc::new(AtomicUsize::new(0)));
    let (end, until) = mpsc::channel();
    let slow = SlowMetrics { until: Mutex::new(until), begun: Arc::clone(&begun) };
    let limits = Limits { scrapes: connections(1, Some(Duration::ZERO)), ..Limits::default() };
    let server = serve(&status, limits);
    status.registry.lock().register_collector(Box::new(slow));
    let mut last = ask(server.address, "/metrics").await;
    let first_begins = async {
        while begun.load(Ordering::SeqCst) == 0 {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, first_begins).await.expect("a page is made in time");
    for _ in 0..8 {
        let next = ask(server.address, "/metrics").await;
        assert!(until_closed(last).await.is_some(), "the one before gives way");
        last = next;
    }
    drop(end);
    assert!(until_closed(last).await.unwrap().starts_with("HTTP/1.1 200"));
    assert_eq!(begun.load(Ordering::SeqCst), 2, "the first page and the last");
}

#[tokio::test]
async fn a_page_that_is_not_taken_gives_its_memory_to_another() {
    let limits = Limits {
        scrapes: connections(8, Some(Duration::ZERO)),
        page_memory: ByteSize(WIDE_BYTES as u64),
        ..Limits::default()
    };
    let server = serve(&wide_status(), limits);
    let _deaf = deaf_scraper(server.address).await;
    let since = Instant::now();
    assert!(is_served(server.address, "/metrics").await, "after {:?}", since.elapsed());
}

#[tokio::test]
async fn a_connection_whose_answer_is_not_taken_ends_with_its_time() {
    let limits =
        Limits { scrapes: connections(1, None), connection_time_max: Duration::from_secs(1), ..Limits::default() };
    let server = serve(&wide_status(), limits);
    let _deaf = deaf_scraper(server.address).await;
    assert!(!is_served(server.address, "/metrics").await, "one too many");
    let served = async { while !is_served(server.address, "/metrics").await {} };
    timeout(PATIENCE, served).await.expect("its place is free");
}
