//! The gateway's configuration: the operator's settings, and bounds. The process reads files and
//! flags.

use std::net::SocketAddr;
use std::time::Duration;

use rustmq_model::{ByteSize, Endpoint};
use rustmq_net::Pace;
use rustmq_settings::settings;

/// The name of the listener without encryption and authentication, as on Kafka.
pub const LISTENER: &str = "PLAINTEXT";

settings! {
    /// The operator's settings of the Kafka listener.
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
    /// The most array elements of one request. Bounds the memory of a decoded request.
    pub request_elements_max: usize,
    /// The memory for all requests above 16 KiB that are read or handled, in bytes: one half for
    /// requests up to about 1 MiB, the other half for larger ones. Further requests wait in turn.
    /// One request of each half may exceed it: otherwise requests with a part of their memory could
    /// wait for each other.
    pub request_memory_max: ByteSize,
    /// The memory for all responses above 64 KiB that are not sent, without fetched records, in
    /// bytes. Further responses wait; once as much waits, a connection that needs more is closed.
    pub response_memory_max: ByteSize,
    /// How long a connection may be silent (`connections.max.idle.ms`).
    pub idle_max: Duration,
    /// How long a client may send nothing within a request, or receive nothing of its responses,
    /// and how far it may fall behind the rate below.
    pub transfer_stall_max: Duration,
    /// The slowest rate at which a client may send a request or receive its responses.
    pub transfer_bytes_per_second_min: u64,
    /// The most unanswered requests of a connection, of the APIs that do not wait for earlier
    /// responses. No further request is read before one of them is answered.
    pub in_flight_max: usize,
    /// How long a response may pin the engine's memory before the rest of it is copied.
    pub fetch_pin_max: Duration,
    /// The memory for all such copies, in bytes; a connection that needs more is closed.
    pub fetch_copy_max: ByteSize,
    /// The most incremental fetch sessions (`max.incremental.fetch.session.cache.slots`).
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
