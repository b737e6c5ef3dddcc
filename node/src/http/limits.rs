//! The limits on the connections, time and memory of the port's clients.

use std::time::Duration;

use rustmq_model::ByteSize;
use rustmq_net::ConnectionLimits;

/// The connections that are served even if the process has no other descriptors.
pub const SERVED_BY_SPARES: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections whose request has not arrived, or is answered at once with so few bytes that the
    /// kernel buffers them: `/health` and `/ready`.
    pub arrivals: ConnectionLimits,
    /// Connections that request `/metrics`, whose clients may receive the page slowly.
    pub scrapes: ConnectionLimits,
    /// How long a request's head may take to arrive.
    pub head_time_max: Duration,
    /// The largest head, in bytes.
    pub head_bytes_max: usize,
    /// How long a connection may last, from its beginning until its client has the response.
    pub connection_time_max: Duration,
    /// The memory for `/metrics` pages above 64 KiB that their clients have not received.
    pub page_memory: ByteSize,
}

impl Default for Limits {
    /// An orchestrator sends its request within a second, and Prometheus waits for ten seconds.
    fn default() -> Self {
        Self {
            arrivals: ConnectionLimits { in_all: 192, per_address: 96, evictable_after: Some(Duration::from_secs(1)) },
            scrapes: ConnectionLimits { in_all: 64, per_address: 32, evictable_after: Some(Duration::from_secs(10)) },
            head_time_max: Duration::from_secs(30),
            head_bytes_max: 16 << 10,
            connection_time_max: Duration::from_mins(1),
            page_memory: ByteSize::mib(64),
        }
    }
}

impl Limits {
    /// The most descriptors that the port's connections use.
    pub const fn descriptors_max(&self) -> usize {
        self.arrivals.in_all + self.scrapes.in_all + SERVED_BY_SPARES + 1
    }
}
