//! The metrics of a server's connections.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::admission::NotAdmitted;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

const OUT_OF_DESCRIPTORS: &str = "descriptors";

const fn reason(refusal: NotAdmitted) -> &'static str {
    match refusal {
        NotAdmitted::InAll => "limit",
        NotAdmitted::PerAddress => "address_limit",
    }
}

/// The metrics of the connections of one server. Clones share the counters.
#[derive(Clone, Debug, Default)]
pub struct ConnectionMetrics {
    pub(crate) open: Gauge,
    pub(crate) accepted: Counter,
    refused: Family<ReasonLabel, Counter>,
    pub(crate) evicted: Counter,
}

impl ConnectionMetrics {
    /// The number of open connections.
    #[must_use]
    pub fn open(&self) -> i64 {
        self.open.get()
    }

    pub(crate) fn refused(&self, refusal: NotAdmitted) {
        self.refused.get_or_create(&ReasonLabel { reason: reason(refusal) }).inc();
    }

    pub(crate) fn refused_without_descriptors(&self) {
        self.refused.get_or_create(&ReasonLabel { reason: OUT_OF_DESCRIPTORS }).inc();
    }

    /// Registers the metrics in `registry`, whose prefix names the server.
    pub fn register(&self, registry: &mut Registry) {
        for reason in [reason(NotAdmitted::InAll), reason(NotAdmitted::PerAddress), OUT_OF_DESCRIPTORS] {
            drop(self.refused.get_or_create(&ReasonLabel { reason }));
        }
        registry.register("connections", "Open connections", self.open.clone());
        registry.register("connections_accepted", "Connections accepted", self.accepted.clone());
        let help = "Connections closed at once: at the limit of all, of their address, or of open files";
        registry.register("connections_refused", help, self.refused.clone());
        let help = "Connections closed to make room for a newcomer";
        registry.register("connections_evicted", help, self.evicted.clone());
    }
}
