//! What the gateway needs to know: what an operator sets, and bounds. Reading files and flags is
//! the process's business.

use std::net::SocketAddr;
use std::time::Duration;

use rustmq_model::{ByteSize, Endpoint};
use rustmq_net::Pace;
use rustmq_settings::settings;

/// The name of the listener without encryption and authentication, as on Kafka.
pub const LISTENER: &str = "PLAINTEXT";

settings! {
    /// What an operator tells the Kafka listener.
    pub struct GatewaySettings {
        /// Where Kafka clients connect (TCP). Port 0 takes a free one.
        #[setting("network.kafka_listen", Address, default "0.0.0.0:9092", on restart)]
        pub listen: SocketAddr,
        /// The address that clients are told to dial.
        #[setting(
            "network.kafka_advertised",
            Text { what: "a host and port such as \"broker.example.com:9092\"", bytes_max: 261 },
            unset "the address at which each connection arrived, which suits one machine and one network",
            on restart
        )]
        pub advertised: Option<Endpoint>,
        /// The most Kafka connections at a time; one more is closed at once. Fewer where the limit
        /// of open files leaves fewer beside the log and HTTP: the start warns. `max.connections`
        /// of Kafka's own settings may ask for fewer, too.
        #[setting(
            "network.max_connections" or "RUSTMQ_MAX_CONNECTIONS",
            Count { unit: "connections", min: 1, max: 1_000_000 },
            default "10000",
            on restart
        )]
        pub connections_max: usize,
    }
}

/// The settings of one Kafka listener and its limits. Every default is Kafka's where Kafka has the
/// setting.
#[derive(Clone, Debug)]
pub struct GatewayConfig {
    pub settings: GatewaySettings,
    /// The largest request in bytes, checked before memory is taken (`socket.request.max.bytes`).
    pub request_bytes_max: ByteSize,
    /// The most array elements of one request: what bounds the memory of a decoded one.
    pub request_elements_max: usize,
    /// Memory of all requests above 16 KiB being read or handled, in bytes: one half for those up
    /// to about 1 MiB, one for the larger. Requests beyond it wait for their turn, one at a time of
    /// each half going over it, so that requests that have half of what they need do not wait for
    /// each other.
    pub request_memory_max: ByteSize,
    /// Memory of all responses above 64 KiB that are not sent, fetched records apart, in bytes.
    /// Responses beyond it wait; when as much waits, a connection that needs more is closed.
    pub response_memory_max: ByteSize,
    /// How long a connection may be silent (`connections.max.idle.ms`).
    pub idle_max: Duration,
    /// How long a client may be silent within a request, or take nothing of its answers, and how
    /// far it may fall behind the rate below.
    pub transfer_stall_max: Duration,
    /// The slowest rate at which a client may send a request or take its answers.
    pub transfer_bytes_per_second_min: u64,
    /// Unanswered requests of a connection, of the kinds that do not wait for the answers before
    /// them; it is not read beyond them.
    pub in_flight_max: usize,
    /// How long a response may pin the engine's memory before the rest of it is copied.
    pub fetch_pin_max: Duration,
    /// Memory of all such copies, in bytes; a connection that would need more is closed.
    pub fetch_copy_max: ByteSize,
    /// Incremental fetch sessions kept (`max.incremental.fetch.session.cache.slots`).
    pub fetch_sessions_max: usize,
}

impl GatewayConfig {
    #[must_use]
    pub fn new(settings: GatewaySettings) -> Self {
        Self {
            settings,
            request_bytes_max: ByteSize::mib(100),
            request_elements_max: 200_000,
            request_memory_max: ByteSize::mib(256),
            response_memory_max: ByteSize::mib(128),
            idle_max: Duration::from_mins(10),
            transfer_stall_max: Duration::from_secs(30),
            transfer_bytes_per_second_min: 64 << 10,
            in_flight_max: 128,
            fetch_pin_max: Duration::from_secs(1),
            fetch_copy_max: ByteSize::mib(256),
            fetch_sessions_max: 1000,
        }
    }

    /// How slow a transfer may be.
    pub(crate) const fn pace(&self) -> Pace {
        Pace { stall_max: self.transfer_stall_max, bytes_per_second_min: self.transfer_bytes_per_second_min }
    }
}
