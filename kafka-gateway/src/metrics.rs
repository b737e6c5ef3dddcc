//! The gateway's metrics. Their names begin with `rustmq_kafka_`.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use rustmq_net::ConnectionMetrics;

use crate::memory::Memory;

/// An API by Kafka's name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ApiLabel {
    pub api: &'static str,
}

/// Why the gateway closed a connection.
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
    pub connections: ConnectionMetrics,
    pub connection_errors: Family<ReasonLabel, Counter>,
    pub fetch_sessions: Gauge,
    pub fetch_copied_bytes: Counter,
    memory: Memory,
}

/// From 0.25 ms to 8 s, doubling.
fn latency_histogram() -> Histogram {
    Histogram::new((0..16).map(|power| 0.000_25 * f64::from(1_u32 << power)))
}

impl Metrics {
    #[must_use]
    pub fn new(memory: Memory) -> Self {
        Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(latency_histogram as fn() -> Histogram),
            received_bytes: Counter::default(),
            sent_bytes: Counter::default(),
            connections: ConnectionMetrics::default(),
            connection_errors: Family::default(),
            fetch_sessions: Gauge::default(),
            fetch_copied_bytes: Counter::default(),
            memory,
        }
    }

    /// Adds the metrics to `registry`.
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
        self.connections.register(registry);
        registry.register("connection_errors", "Connections closed, by reason", self.connection_errors.clone());
        registry.register("fetch_sessions", "Incremental fetch sessions", self.fetch_sessions.clone());
        registry.register_with_unit(
            "fetch_copied",
            "Bytes copied because a client did not take its fetch in time",
            Unit::Bytes,
            self.fetch_copied_bytes.clone(),
        );
        registry.register_collector(Box::new(MemoryGauges(self.memory.clone())));
    }
}

/// The memory in use, read at each scrape.
#[derive(Debug)]
struct MemoryGauges(Memory);

impl Collector for MemoryGauges {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let Memory { requests, responses, fetch_copies } = &self.0;
        let mut gauge = |name, help, bytes: u64| {
            let gauge = ConstGauge::new(bytes);
            gauge.encode(encoder.encode_descriptor(name, help, Some(&Unit::Bytes), gauge.metric_type())?)
        };
        let help = "Memory of requests above 16 KiB, up to about 1 MiB, that are read or handled";
        gauge("ordinary_request_memory", help, requests.ordinary_bytes())?;
        gauge("large_request_memory", "Memory of larger requests", requests.large_bytes())?;
        gauge(
            "answer_memory",
            "Memory of answers above 64 KiB that are not sent, fetches apart",
            responses.reserved_bytes(),
        )?;
        gauge(
            "fetch_copy_memory",
            "Memory of fetched records that slow clients have not taken",
            fetch_copies.reserved_bytes(),
        )
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use prometheus_client::encoding::text;
    use prometheus_client::registry::Registry;
    use rustmq_net::RequestReservation;

    use super::Metrics;
    use crate::memory::Memory;
    use crate::{GatewayConfig, GatewaySettings};

    #[tokio::test]
    async fn memory_in_use_is_shown() {
        let memory = Memory::new(&GatewayConfig::new(GatewaySettings::default()));
        let mut registry = Registry::default();
        Metrics::new(memory.clone()).register(&mut registry);
        let mut requests = [RequestReservation::default(), RequestReservation::default()];
        memory.requests.grow(&mut requests[0], 1 << 20, 20_480).await;
        memory.requests.grow(&mut requests[1], 2 << 20, 102_400).await;
        let _answer = memory.responses.reserve(204_800).await.unwrap();
        let _copy = memory.fetch_copies.try_reserve(1024);
        let mut page = String::new();
        text::encode(&mut page, &registry).unwrap();
        for (name, bytes) in [
            ("ordinary_request_memory_bytes", 20_480),
            ("large_request_memory_bytes", 102_400),
            ("answer_memory_bytes", 204_800),
            ("fetch_copy_memory_bytes", 1024),
        ] {
            let line = format!("\nrustmq_kafka_{name} {bytes}\n");
            assert!(page.contains(&line), "{line} is not in {page}");
        }
    }
}
