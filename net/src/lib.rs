//! The parts that all servers of the process share: who may connect, how much memory requests and
//! responses take, how slow a peer may be, and how connections end. It bounds the resources that
//! clients may hold. It knows no protocol.
//!
//! ```
//! use std::time::Duration;
//!
//! use rustmq_net::{Acceptor, Connection, ConnectionLimits, ConnectionMetrics, Server, shutdown};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::TcpStream;
//!
//! # fn main() -> std::io::Result<()> {
//! let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
//! runtime.block_on(async {
//!     let acceptor = Acceptor::bind("127.0.0.1:0".parse().expect("an address"), 0)?;
//!     let address = acceptor.local_addr();
//!     let server = Server::new(acceptor, ConnectionMetrics::default(), None);
//!     let limits = ConnectionLimits { in_all: 10, per_address: 10, evictable_after: None };
//!     let (trigger, stopped) = shutdown();
//!     let greet = |connection: Connection| async move {
//!         // The connection has its place for as long as the permit lives.
//!         let Connection { mut stream, permit: _held, .. } = connection;
//!         stream.write_all(b"hello").await.expect("the client reads");
//!     };
//!     let running = tokio::spawn(server.run(move |_| limits, stopped, greet));
//!
//!     let mut greeting = String::new();
//!     TcpStream::connect(address).await?.read_to_string(&mut greeting).await?;
//!     assert_eq!(greeting, "hello");
//!     trigger.begin(Duration::from_secs(1));
//!     running.await.expect("the server ends");
//!     Ok(())
//! })
//! # }
//! ```
//!
//! Reading order: [`Admission`] (who may connect), [`Acceptor`] (accepting, even without free
//! descriptors), [`Server`] and [`Shutdown`] (a task for each connection, and its end), [`Budget`]
//! and the memory budgets built on it, [`Pace`] and [`write_segments`] (slow peers).

mod acceptor;
mod admission;
mod advertised;
mod memory;
mod metrics;
mod outbound;
mod pace;
mod server;
mod shutdown;

pub use acceptor::Acceptor;
pub use admission::{Admission, ConnectionLimits, NotAdmitted, Permit};
pub use advertised::advertised_endpoint;
pub use memory::{
    Budget, Exhausted, REQUEST_FREE_BYTES, REQUEST_ORDINARY_BYTES, RequestMemory, RequestReservation, Reservation,
    ResponseMemory,
};
pub use metrics::ConnectionMetrics;
pub use outbound::{WriteLimits, write_segments};
pub use pace::{Deficit, Pace};
pub use server::{Connection, Server};
pub use shutdown::{Shutdown, ShutdownTrigger, shutdown};
