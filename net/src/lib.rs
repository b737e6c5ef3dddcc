//! The parts that all servers of the process share: who may connect, how much memory requests and
//! responses take, how slow a peer may be, and how connections end. It bounds the resources that
//! clients may hold. It knows no protocol.
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
pub use admission::{Admission, ConnectionLimits, Permit, Refusal};
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
