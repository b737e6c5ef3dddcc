//! The process's own HTTP: `/health` says whether it needs a restart, `/ready` whether it serves,
//! `/metrics` how it does (Prometheus text format). A bounded number of connections, each for one
//! request and a bounded time: whoever reaches the port must not take the descriptors of the log
//! and of Kafka's clients.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::{Json, Router, routing};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;
use rustmq_broker_service::FailureNotice;
use rustmq_kafka_gateway::Acceptor;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;

use crate::health::{Failure, Health, HealthCollector};

/// Where the process stands between its start and its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Starting = 0,
    Serving = 1,
    Stopping = 2,
}

impl Phase {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Stopping => "stopping",
        }
    }
}

/// What the handlers show; the process writes it.
pub struct Status {
    started: Instant,
    phase: AtomicU8,
    pub health: Arc<Health>,
    pub registry: Mutex<Registry>,
}

impl Status {
    pub fn new() -> Arc<Self> {
        let phase = AtomicU8::new(Phase::Starting as u8);
        let health = Arc::new(Health::default());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(HealthCollector(Arc::clone(&health))));
        Arc::new(Self { started: Instant::now(), phase, health, registry: Mutex::new(registry) })
    }

    pub fn enter(&self, phase: Phase) {
        self.phase.store(phase as u8, Ordering::Release);
    }

    fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Starting,
            1 => Phase::Serving,
            _ => Phase::Stopping,
        }
    }
}

/// What clients of this port may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at one time; more are closed at once.
    pub connections_max: usize,
    /// How long a request's header may take to arrive.
    pub header_read_max: Duration,
    /// How long a connection may last, from its begin until its answer is taken.
    pub connection_time_max: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        let header_read_max = Duration::from_secs(30);
        Self { connections_max: 256, header_read_max, connection_time_max: 2 * header_read_max }
    }
}

/// The port that is listened on, and why it no longer is, once that is so.
#[derive(Debug)]
pub struct Listening {
    pub address: SocketAddr,
    pub failure: watch::Receiver<Option<String>>,
}

/// Binds at once, so that a taken port stops the start; serves until `stop` changes.
pub async fn start(
    address: SocketAddr,
    status: Arc<Status>,
    limits: Limits,
    stop: watch::Receiver<bool>,
) -> std::io::Result<Listening> {
    let listener = TcpListener::bind(address).await?;
    let address = listener.local_addr()?;
    let router = Router::new()
        .route("/health", routing::get(health))
        .route("/ready", routing::get(ready))
        .route("/metrics", routing::get(metrics))
        .with_state(status);
    let notice = FailureNotice::default();
    let failure = notice.watch();
    let serving = serve(Acceptor::new(listener), router, limits, stop);
    tokio::spawn(notice.tell_panic("the task that accepts connections", serving));
    Ok(Listening { address, failure })
}

async fn serve(mut listener: Acceptor, router: Router, limits: Limits, mut stop: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(limits.connections_max));
    loop {
        let (stream, address) = tokio::select! {
            // An error means that the process dropped its end: stop as well.
            _ = stop.wait_for(|stop| *stop) => return,
            accepted = listener.accept() => accepted,
        };
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            tracing::debug!(conn = %address, "HTTP connection refused: the limit is reached");
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        let mut builder = http1::Builder::new();
        // A connection that lives on from request to request could not be told from one whose
        // answer is not taken.
        builder.timer(TokioTimer::new()).header_read_timeout(limits.header_read_max).keep_alive(false);
        let connection = builder.serve_connection(TokioIo::new(stream), service);
        let connection = timeout(limits.connection_time_max, connection);
        tokio::spawn(async move {
            let _held = place;
            match connection.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::debug!(conn = %address, %error, "HTTP connection ended"),
                Err(_) => tracing::debug!(conn = %address, "HTTP connection closed: its answer was not taken in time"),
            }
        });
    }
}

/// Only a restart mends a failure, so whoever restarts what is not healthy is asked to. A process
/// that starts or stops is healthy.
fn judge_health(failures: &[Failure]) -> (StatusCode, &'static str) {
    if failures.is_empty() { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "failed") }
}

fn is_ready(phase: Phase, failures: &[Failure]) -> bool {
    phase == Phase::Serving && failures.is_empty()
}

async fn health(State(status): State<Arc<Status>>) -> Response {
    let failures = status.health.failures();
    let (code, word) = judge_health(&failures);
    let body = json!({
        "status": word,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": status.started.elapsed().as_secs(),
        "phase": status.phase().as_str(),
        "failures": failures,
    });
    (code, Json(body)).into_response()
}

async fn ready(State(status): State<Arc<Status>>) -> Response {
    let (phase, failures) = (status.phase(), status.health.failures());
    let ready = is_ready(phase, &failures);
    let code = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (code, Json(json!({ "ready": ready, "phase": phase.as_str(), "failures": failures }))).into_response()
}

async fn metrics(State(status): State<Arc<Status>>) -> Response {
    // With thousands of partitions the page takes milliseconds, which connections must not wait
    // for.
    let page = tokio::task::spawn_blocking(move || {
        let mut page = String::new();
        text::encode(&mut page, &status.registry.lock()).map(|()| page)
    });
    let Ok(Ok(page)) = page.await else {
        return StatusCode::INTERNAL_SERVER_ERROR.into_response();
    };
    ([(header::CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], page).into_response()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;
    use std::time::Duration;

    use prometheus_client::metrics::counter::Counter;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;
    use tokio::sync::watch;

    use super::{Failure, Limits, Phase, Status, is_ready, judge_health, start};

    const PATIENCE: Duration = Duration::from_secs(20);

    /// What a client reads until its connection is closed, and nothing if it is not.
    async fn until_closed(mut stream: TcpStream) -> Option<String> {
        let mut read = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut read)).await;
        // A reset is an end as well.
        ended.is_ok().then(|| String::from_utf8(read).unwrap())
    }

    async fn answer_to(address: SocketAddr, path: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        until_closed(stream).await.unwrap()
    }

    #[test]
    fn only_a_serving_process_without_failures_is_ready_and_only_a_failure_is_unhealthy() {
        let failures = [Failure { part: "shard 0".to_owned(), reason: "EIO".to_owned() }];
        let phases = [(Phase::Starting, false), (Phase::Serving, true), (Phase::Stopping, false)];
        for (phase, ready) in phases {
            assert_eq!(is_ready(phase, &[]), ready, "{phase:?}");
            assert!(!is_ready(phase, &failures), "{phase:?}");
        }
        assert_eq!(judge_health(&[]).0, 200);
        assert_eq!(judge_health(&failures).0, 503);
    }

    #[tokio::test]
    async fn a_failure_is_shown_with_its_part_and_reason() {
        let (_stop, stopped) = watch::channel(false);
        let (status, part) = (Status::new(), watch::Sender::default());
        status.health.watch("shard 3", part.subscribe());
        status.enter(Phase::Serving);
        let listening = start("127.0.0.1:0".parse().unwrap(), status, Limits::default(), stopped).await.unwrap();
        for (path, told) in
            [("/ready", r#""ready":true"#), ("/health", r#""failures":[]"#), ("/metrics", "{part=\"shard 3\"} 0")]
        {
            let answer = answer_to(listening.address, path).await;
            assert!(answer.starts_with("HTTP/1.1 200") && answer.contains(told), "{answer}");
        }
        part.send_replace(Some("EIO".to_owned()));
        let told = r#""failures":[{"part":"shard 3","reason":"EIO"}]"#;
        for path in ["/ready", "/health"] {
            let answer = answer_to(listening.address, path).await;
            assert!(answer.starts_with("HTTP/1.1 503") && answer.contains(told), "{answer}");
        }
        assert!(answer_to(listening.address, "/metrics").await.contains("rustmq_failed{part=\"shard 3\"} 1"));
    }

    async fn is_served(address: SocketAddr) -> bool {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request = b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        let sent = stream.write_all(request).await;
        sent.is_ok() && until_closed(stream).await.unwrap().starts_with("HTTP/1.1 200")
    }

    #[tokio::test]
    async fn a_connection_whose_answer_is_not_taken_gives_way() {
        let limits = Limits { connections_max: 1, connection_time_max: Duration::from_secs(1), ..Limits::default() };
        let (_stop, stopped) = watch::channel(false);
        let status = Status::new();
        // More than the kernel takes for a client that does not read.
        status.registry.lock().register("wide", "x".repeat(64 << 20), Counter::<u64>::default());
        let address = start("127.0.0.1:0".parse().unwrap(), status, limits, stopped).await.unwrap().address;
        let mut deaf = TcpStream::connect(address).await.unwrap();
        deaf.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n").await.unwrap();
        deaf.readable().await.unwrap();
        assert!(!is_served(address).await, "one too many");
        let served = async { while !is_served(address).await {} };
        tokio::time::timeout(PATIENCE, served).await.expect("its place is free");
    }

    #[tokio::test]
    async fn connections_are_bounded_and_silent_ones_give_way() {
        let limits = Limits { connections_max: 2, header_read_max: Duration::from_secs(1), ..Limits::default() };
        let (_stop, stopped) = watch::channel(false);
        let listening = start("127.0.0.1:0".parse().unwrap(), Status::new(), limits, stopped).await.unwrap();
        let address = listening.address;
        assert!(is_served(address).await);
        let silent = TcpStream::connect(address).await.unwrap();
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET /health HTTP/1.1\r\nHo").await.unwrap();
        let refused = TcpStream::connect(address).await.unwrap();
        assert_eq!(until_closed(refused).await.unwrap(), "", "one too many");
        assert!(until_closed(silent).await.is_some(), "a connection without a request");
        assert!(until_closed(slow).await.is_some(), "a request that does not come");
        assert!(is_served(address).await);
    }
}
