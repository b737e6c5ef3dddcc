//! The running gateway: its start and its end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustmq_broker_service::{Broker, FailureNotice};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::config::GatewayConfig;
use crate::metrics::Metrics;
use crate::server;
use crate::shared::Shared;

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
    stop: watch::Sender<bool>,
    grace: watch::Sender<Duration>,
    accepting: JoinHandle<()>,
}

impl Gateway {
    /// Listens, and serves clients from now on. Called within a tokio runtime.
    pub fn start(config: GatewayConfig, broker: Arc<Broker>) -> Result<Self, StartError> {
        let address = config.listen;
        let failed = |source| StartError::Listen { address, source };
        let listener = server::listen(address).map_err(failed)?;
        let local_addr = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared::new(config, broker));
        let metrics = shared.metrics.clone();
        let (stop, stopping) = watch::channel(false);
        let (grace, grace_given) = watch::channel(Duration::ZERO);
        let failure = FailureNotice::default();
        let accepting = server::run(listener, local_addr, shared, stopping, grace_given);
        let accepting = tokio::spawn(failure.clone().tell_panic("the task that accepts connections", accepting));
        tracing::info!(address = %local_addr, "kafka listener started");
        Ok(Self { local_addr, metrics, failure, stop, grace, accepting })
    }

    /// The address that is listened on, its port known.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// What the gateway counts, to be registered by whoever shows metrics.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Why no more connections are taken, if that is not by [`Self::shutdown`].
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<String>> {
        self.failure.watch()
    }

    /// Takes no new connections or requests, and waits until what was received is answered, `grace`
    /// at most. Long polls end with the broker's own shutdown.
    pub async fn shutdown(self, grace: Duration) {
        self.grace.send_replace(grace);
        self.stop.send_replace(true);
        if self.accepting.await.is_err() {
            tracing::error!("the kafka listener had failed before it was stopped");
        }
    }
}
