//! What clients of the port may hold, and for how long.

use std::time::Duration;

use rustmq_model::ByteSize;
use rustmq_net::ConnectionLimits;

/// Connections that are served even if the process has no other descriptors.
pub const SERVED_BY_SPARES: usize = 8;

#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections whose request has not come, or is answered at once: so few bytes that the kernel
    /// takes them, whatever the client does. `/health` and `/ready` are of these.
    pub arrivals: ConnectionLimits,
    /// Connections that ask for `/metrics`, whose clients may be slow to take the page.
    pub scrapes: ConnectionLimits,
    /// How long a request's head may take to arrive.
    pub head_time_max: Duration,
    /// The largest head, in bytes.
    pub head_bytes_max: usize,
    /// How long a connection may last, from its begin until its answer is taken.
    pub connection_time_max: Duration,
    /// The memory of `/metrics` pages above 64 KiB that are not taken yet.
    pub page_memory: ByteSize,
}

impl Default for Limits {
    /// An orchestrator asks within a second of connecting, and Prometheus gives up after ten.
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
    /// How many descriptors the port's connections may take.
    pub const fn descriptors_max(&self) -> usize {
        self.arrivals.in_all + self.scrapes.in_all + SERVED_BY_SPARES + 1
    }
}
