//! The running gateway: its start, and its shutdown.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use rustmq_broker_service::{Broker, Caller, FailureNotice, Principal};
use rustmq_net::{
    Acceptor, Connection, ConnectionLimits, Server, Shutdown, ShutdownTrigger, advertised_endpoint, shutdown,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::call::Peer;
use crate::config::{GatewayConfig, LISTENER};
use crate::connection;
use crate::metrics::Metrics;
use crate::shared::Shared;

/// A process without free descriptors serves no further Kafka client, and closes each at once.
const SERVED_BY_SPARES: usize = 0;

/// Why a gateway did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {source}; is another process using the address?")]
    Listen { address: SocketAddr, source: std::io::Error },
}

/// A Kafka listener in front of a broker.
pub struct Gateway {
    local_addr: SocketAddr,
    metrics: Metrics,
    failure: FailureNotice,
    shutdown: ShutdownTrigger,
    accepting: JoinHandle<()>,
}

impl Gateway {
    /// Listens, and serves clients from now on. To be called within a tokio runtime.
    ///
    /// # Errors
    /// If the gateway cannot listen on the configured address.
    pub fn start(config: GatewayConfig, broker: Arc<Broker>) -> Result<Self, StartError> {
        let address = config.settings.listen;
        let acceptor =
            Acceptor::bind(address, SERVED_BY_SPARES).map_err(|source| StartError::Listen { address, source })?;
        let local_addr = acceptor.local_addr();
        let shared = Arc::new(Shared::new(config, broker));
        let metrics = shared.metrics.clone();
        let (trigger, begun) = shutdown();
        let limits = {
            let shared = Arc::clone(&shared);
            move |address| connection_limits(&shared, address)
        };
        let serve = {
            let begun = begun.clone();
            move |connection| serve(connection, local_addr, Arc::clone(&shared), begun.clone())
        };
        let serving = Server::new(acceptor, metrics.connections.clone(), None).run(limits, begun, serve);
        let failure = FailureNotice::default();
        let accepting = tokio::spawn(failure.clone().report_panic("the task that accepts connections", serving));
        tracing::info!(address = %local_addr, "kafka listener started");
        Ok(Self { local_addr, metrics, failure, shutdown: trigger, accepting })
    }

    /// The address of the listener, with the port that port 0 stood for.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// The gateway's metrics. The caller registers them.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The reason, once the gateway has stopped to accept connections for another reason than
    /// [`Self::shutdown`].
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.watch()
    }

    /// Accepts no new connections or requests, and waits until the received requests are answered,
    /// at most for `grace`. Long polls end with the broker's own shutdown.
    pub async fn shutdown(self, grace: Duration) {
        self.shutdown.begin(grace);
        if self.accepting.await.is_err() {
            tracing::error!("the kafka listener had failed before it was stopped");
        }
    }
}

/// The limits for a new connection from this address: Kafka's configs may change at any time. No
/// connection is evicted for another one: an idle consumer is as useful as a busy one.
fn connection_limits(shared: &Shared, address: IpAddr) -> ConnectionLimits {
    let config = shared.broker.effective_config();
    let own = config.connections_of_addresses_max.get(&address).copied();
    let per_address = own.unwrap_or(config.connections_per_address_max);
    let count = |value: u32| usize::try_from(value).unwrap_or(usize::MAX);
    ConnectionLimits {
        in_all: shared.config.settings.connections_max.min(count(config.connections_max)),
        per_address: count(per_address),
        evictable_after: None,
    }
}

async fn serve(connection: Connection, listener: SocketAddr, shared: Arc<Shared>, shutdown: Shutdown) {
    let Connection { stream, address, permit: _held } = connection;
    let prepared = stream.set_nodelay(true).and_then(|()| stream.local_addr());
    let Ok(local) = prepared else { return };
    let endpoint = advertised_endpoint(shared.config.settings.advertised.as_ref(), listener, local);
    let caller = Arc::new(Caller { principal: Principal::anonymous(), listener: LISTENER, address });
    let peer = Peer { caller, endpoint };
    let (reader, writer) = stream.into_split();
    connection::serve(reader, writer, peer, shared, shutdown).await;
}
