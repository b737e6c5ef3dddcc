//! The accept loop of a server: a task for each admitted connection, and the end of all of them
//! within a grace period. [`Admission`] decides whom to admit; the caller serves the connections.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};

use crate::acceptor::{Acceptor, OutOfDescriptors};
use crate::admission::{Admission, ConnectionLimits, Eviction, Permit};
use crate::metrics::ConnectionMetrics;
use crate::shutdown::Shutdown;

/// An admitted connection.
#[derive(Debug)]
pub struct Connection {
    pub stream: TcpStream,
    /// The client's address.
    pub address: SocketAddr,
    /// Must be held as long as the connection is served.
    pub permit: Permit,
}

/// A server: its listener and its connections.
#[derive(Debug)]
pub struct Server {
    acceptor: Acceptor,
    admission: Admission,
    metrics: ConnectionMetrics,
    lifetime_max: Option<Duration>,
}

impl Server {
    /// Creates a server. No connection lasts longer than `lifetime_max`.
    #[must_use]
    pub fn new(acceptor: Acceptor, metrics: ConnectionMetrics, lifetime_max: Option<Duration>) -> Self {
        Self { acceptor, admission: Admission::default(), metrics, lifetime_max }
    }

    /// Accepts connections until the shutdown begins, then waits for the open ones, at most for the
    /// grace period. `limits` returns the limits for each new connection, by its address. Lower
    /// limits do not end existing connections.
    pub async fn run<L, S, F>(mut self, limits: L, mut shutdown: Shutdown, serve: S)
    where
        L: Fn(IpAddr) -> ConnectionLimits,
        S: Fn(Connection) -> F,
        F: Future<Output = ()> + Send + 'static,
    {
        let mut connections = JoinSet::new();
        let grace = loop {
            let accepted = tokio::select! {
                biased;
                grace = shutdown.begun() => break grace,
                Some(_) = connections.join_next(), if !connections.is_empty() => continue,
                accepted = self.acceptor.accept() => accepted,
            };
            let Some(connection) = self.admit(accepted, &limits) else { continue };
            let address = connection.address;
            let eviction = connection.permit.eviction().clone();
            let open = Open::new(self.metrics.clone());
            let serving = serve(connection);
            let task = match self.lifetime_max {
                None => connections.spawn(async move {
                    let _open = open;
                    serving.await;
                }),
                Some(lifetime_max) => connections.spawn(async move {
                    let _open = open;
                    if timeout(lifetime_max, serving).await.is_err() {
                        tracing::debug!(conn = %address, "connection closed: it has lasted too long");
                    }
                }),
            };
            eviction.ends(task);
        };
        drop(self.acceptor);
        let all_ended = async { while connections.join_next().await.is_some() {} };
        if timeout(grace, all_ended).await.is_err() {
            connections.shutdown().await;
        }
    }

    fn admit(
        &self,
        accepted: Result<(TcpStream, SocketAddr), OutOfDescriptors>,
        limits: impl Fn(IpAddr) -> ConnectionLimits,
    ) -> Option<Connection> {
        let Ok((stream, address)) = accepted else {
            self.metrics.refused_without_descriptors();
            return None;
        };
        let eviction = Eviction::new(self.metrics.evicted.clone());
        let (now, limits) = (Instant::now().into_std(), limits(address.ip().to_canonical()));
        match self.admission.admit(now, address.ip(), limits, eviction) {
            Ok(permit) => Some(Connection { stream, address, permit }),
            Err(refusal) => {
                self.metrics.refused(refusal);
                tracing::debug!(conn = %address, reason = %refusal, "connection refused");
                None
            }
        }
    }
}

/// Counts a connection as open until this is dropped.
struct Open(ConnectionMetrics);

impl Open {
    fn new(metrics: ConnectionMetrics) -> Self {
        metrics.accepted.inc();
        metrics.open.inc();
        Self(metrics)
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.dec();
    }
}
