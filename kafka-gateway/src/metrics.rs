//! What the gateway counts. Names begin with `rustmq_kafka_`.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};

/// One of the APIs in the table, by Kafka's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiLabel {
    pub api: &'static str,
}

/// Why a connection was closed by the gateway.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ReasonLabel {
    pub reason: &'static str,
}

/// Counters of one gateway; clones share them.
#[derive(Clone, Debug)]
pub struct Metrics {
    pub requests: Family<ApiLabel, Counter>,
    pub request_seconds: Family<ApiLabel, Histogram>,
    pub received_bytes: Counter,
    pub sent_bytes: Counter,
    pub connections: Gauge,
    pub connections_accepted: Counter,
    pub connections_refused: Counter,
    pub connection_errors: Family<ReasonLabel, Counter>,
    pub fetch_sessions: Gauge,
    pub fetch_copied_bytes: Counter,
}

/// From 0.25 ms to 8 s, doubling.
fn latency_histogram() -> Histogram {
    Histogram::new((0..16).map(|power| 0.000_25 * f64::from(1_u32 << power)))
}

impl Default for Metrics {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(latency_histogram as fn() -> Histogram),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            connections: Gauge::default(),
            connections_accepted: Counter::default(),
            connections_refused: Counter::default(),
            connection_errors: Family::default(),
            fetch_sessions: Gauge::default(),
            fetch_copied_bytes: Counter::default(),
        }
    }
}

impl Metrics {
    /// Makes the counters visible in `registry`.
    pub fn register(&self, registry: &mut Registry) {
        let registry = registry.sub_registry_with_prefix("rustmq_kafka");
        registry.register("requests", "Requests received, by API", self.requests.clone());
        registry.register_with_unit(
            "request_duration",
            "Time from a request's last byte to its response being ready, waiting included",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        registry.register_with_unit("received", "Request bytes", Unit::Bytes, self.received_bytes.clone());
        registry.register_with_unit("sent", "Response bytes", Unit::Bytes, self.sent_bytes.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        registry.register("connections_accepted", "Connections accepted", self.connections_accepted.clone());
        registry.register("connections_refused", "Connections closed at the limit", self.connections_refused.clone());
        registry.register("connection_errors", "Connections closed, by reason", self.connection_errors.clone());
        registry.register("fetch_sessions", "Incremental fetch sessions", self.fetch_sessions.clone());
        registry.register_with_unit(
            "fetch_copied",
            "Bytes copied because a client did not take its fetch in time",
            Unit::Bytes,
            self.fetch_copied_bytes.clone(),
        );
    }
}
