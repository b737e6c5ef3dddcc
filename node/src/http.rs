//! The process's own HTTP port. A connection has one request, and a limited lifetime. hyper reads
//! and writes HTTP/1; `net` admits and evicts connections by [`Limits`]. Connections of Kafka
//! clients do not count here, so that a node with all of those in use still answers.

mod limits;
mod pages;
mod status;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rustmq_broker_service::FailureNotice;
use rustmq_net::{Acceptor, Connection, ConnectionMetrics, Server, ShutdownTrigger, shutdown};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use pages::Visit;

pub use limits::Limits;
pub use status::{Phase, Status};

/// The server of the HTTP port.
pub struct HttpServer {
    pub address: SocketAddr,
    /// The reason, once the server has failed.
    pub failure: watch::Receiver<Option<String>>,
    shutdown: ShutdownTrigger,
    serving: JoinHandle<()>,
}

/// Binds at once, so that the process does not start if the port is in use. Serves until it is shut
/// down or dropped.
///
/// # Errors
/// If the server cannot listen on the address.
pub fn start(address: SocketAddr, status: &Arc<Status>, limits: Limits) -> std::io::Result<HttpServer> {
    let acceptor = Acceptor::bind(address, limits::SERVED_BY_SPARES)?;
    let address = acceptor.local_addr();
    let metrics = ConnectionMetrics::default();
    metrics.register(status.registry.lock().sub_registry_with_prefix("rustmq_http"));
    let router = pages::router(Arc::clone(status), &limits);
    let (trigger, begun) = shutdown();
    let server = Server::new(acceptor, metrics, Some(limits.connection_time_max));
    let serving = server.run(move |_| limits.arrivals, begun, move |one| serve(one, router.clone(), limits));
    let notice = FailureNotice::default();
    let failure = notice.watch();
    let serving = tokio::spawn(notice.report_panic("the task that accepts connections", serving));
    Ok(HttpServer { address, failure, shutdown: trigger, serving })
}

impl HttpServer {
    /// Accepts no new connections, and waits for the responses under way, at most for `grace`.
    pub async fn shutdown(self, grace: Duration) {
        self.shutdown.begin(grace);
        if self.serving.await.is_err() {
            tracing::error!("the HTTP listener had failed before it was stopped");
        }
    }
}

async fn serve(connection: Connection, router: Router, limits: Limits) {
    let Connection { stream, address, permit } = connection;
    let visit: Visit = Arc::new(Mutex::new(permit));
    let routed = TowerToHyperService::new(router);
    let service = service_fn(|mut request: Request<Incoming>| {
        request.extensions_mut().insert(Arc::clone(&visit));
        routed.call(request)
    });
    let mut builder = http1::Builder::new();
    // A kept-alive connection looks like one whose client does not receive its response.
    builder.keep_alive(false);
    builder.timer(TokioTimer::new()).header_read_timeout(limits.head_time_max).max_buf_size(limits.head_bytes_max);
    if let Err(error) = builder.serve_connection(TokioIo::new(stream), service).await {
        tracing::debug!(conn = %address, %error, "HTTP connection ended");
    }
}

#[cfg(test)]
mod tests;
