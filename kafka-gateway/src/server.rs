//! The accept loop: a task per connection up to a limit, and an end of them all within a grace
//! period.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::accept::Acceptor;
use crate::call::Peer;
use crate::connection;
use crate::listeners;
use crate::shared::Shared;

/// Connections that the kernel completes before they are accepted.
const BACKLOG: u32 = 1024;

/// Takes the address. A port in the state that a closed connection leaves behind is taken over.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(BACKLOG)
}

/// Accepts until `stop` says so, then waits for the connections, `grace` at most.
pub async fn run(
    listener: TcpListener,
    listener_address: SocketAddr,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
    grace: watch::Receiver<Duration>,
) {
    let places = Arc::new(Semaphore::new(shared.config.connections_max.min(Semaphore::MAX_PERMITS)));
    let mut connections = JoinSet::new();
    let mut listener = Acceptor::new(listener);
    loop {
        let (stream, address) = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = connections.join_next(), if !connections.is_empty() => continue,
            accepted = listener.accept() => accepted,
        };
        let place = Arc::clone(&places).try_acquire_owned().ok();
        let Some(place) = place.filter(|_| is_within_kafka_limit(&shared)) else {
            shared.metrics.connections_refused.inc();
            tracing::debug!(conn = %address, "connection refused: the limit is reached");
            continue;
        };
        shared.metrics.connections_accepted.inc();
        // Here and not in the task, so that the next one to come sees it.
        shared.metrics.connections.inc();
        let open = Open(Arc::clone(&shared));
        let (shared, stop) = (Arc::clone(&shared), stop.clone());
        connections.spawn(async move {
            let _held = (place, open);
            serve(stream, address, listener_address, shared, stop).await;
        });
    }
    drop(listener);
    let grace = *grace.borrow();
    let all_ended = async { while connections.join_next().await.is_some() {} };
    if timeout(grace, all_ended).await.is_err() {
        connections.shutdown().await;
    }
}

/// Whether `max.connections`, which may change at any time, lets one more in.
fn is_within_kafka_limit(shared: &Shared) -> bool {
    shared.metrics.connections.get() < i64::from(shared.broker.settings().connections_max)
}

/// Counts a connection for as long as it lives, however it ends.
struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.metrics.connections.dec();
    }
}

async fn serve(
    stream: TcpStream,
    address: SocketAddr,
    listener_address: SocketAddr,
    shared: Arc<Shared>,
    stop: watch::Receiver<bool>,
) {
    let prepared = stream.set_nodelay(true).and_then(|()| stream.local_addr());
    let Ok(local) = prepared else { return };
    let endpoint = listeners::dialable(shared.config.advertised.as_ref(), listener_address, local);
    let peer = Peer { address, endpoint };
    let (reader, writer) = stream.into_split();
    connection::serve(reader, writer, peer, Arc::clone(&shared), stop).await;
}
