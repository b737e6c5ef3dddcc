//! The broker's metrics: produce, fetch, groups, consumer lag, and transactions.

use std::sync::{Arc, Weak};
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use rustmq_broker_core::groups::Groups;
use rustmq_broker_core::groups::request::OffsetSelection;
use rustmq_model::TopicId;

use crate::broker::Broker;
use crate::clock::wall_clock;
use crate::view::TopicRef;

/// Upper bounds in seconds, from a fast sync to a client's timeout.
const LATENCY_BUCKETS: [f64; 14] =
    [0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

#[derive(Debug)]
pub(crate) struct ProduceMetrics {
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
    pub(crate) failures: Counter,
    pub(crate) seconds: Histogram,
}

#[derive(Debug)]
pub(crate) struct FetchMetrics {
    pub(crate) records: Counter,
    pub(crate) bytes: Counter,
    pub(crate) failures: Counter,
    pub(crate) seconds: Histogram,
}

/// The counters of produce and fetch. [`LagCollector`] computes the metrics of coordinators at each
/// scrape.
#[derive(Debug)]
pub(crate) struct Metrics {
    pub(crate) produce: Arc<ProduceMetrics>,
    pub(crate) fetch: Arc<FetchMetrics>,
}

impl Default for Metrics {
    fn default() -> Self {
        let seconds = || Histogram::new(LATENCY_BUCKETS);
        let produce = ProduceMetrics {
            records: Counter::default(),
            bytes: Counter::default(),
            failures: Counter::default(),
            seconds: seconds(),
        };
        let fetch = FetchMetrics {
            records: Counter::default(),
            bytes: Counter::default(),
            failures: Counter::default(),
            seconds: seconds(),
        };
        Self { produce: Arc::new(produce), fetch: Arc::new(fetch) }
    }
}

impl Metrics {
    pub(crate) fn register(&self, registry: &mut Registry) {
        let Self { produce, fetch } = self;
        registry.register("rustmq_produce_records", "Records stored", produce.records.clone());
        registry.register("rustmq_produce_bytes", "Bytes of batches stored", produce.bytes.clone());
        registry.register("rustmq_produce_failures", "Batches refused", produce.failures.clone());
        let help = "Seconds from a produce request to its acknowledgement";
        registry.register("rustmq_produce_latency_seconds", help, produce.seconds.clone());
        registry.register("rustmq_fetch_records", "Records handed to readers", fetch.records.clone());
        registry.register("rustmq_fetch_bytes", "Bytes of batches handed to readers", fetch.bytes.clone());
        registry.register("rustmq_fetch_failures", "Partitions of fetches refused", fetch.failures.clone());
        let help = "Seconds from a fetch request to its answer, waiting for data included";
        registry.register("rustmq_fetch_latency_seconds", help, fetch.seconds.clone());
    }
}

/// Groups with their lag, and transactions, read from the coordinators at each scrape. The number
/// of lag series is bounded.
#[derive(Debug)]
pub(crate) struct LagCollector {
    broker: Weak<Broker>,
}

impl LagCollector {
    pub(crate) fn new(broker: &Arc<Broker>) -> Self {
        Self { broker: Arc::downgrade(broker) }
    }

    fn encode_groups(broker: &Broker, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let counts = broker.coordinators.group_counts();
        let gauge = ConstGauge::new(0_i64);
        let mut states =
            encoder.encode_descriptor("rustmq_groups", "Consumer groups by state", None, gauge.metric_type())?;
        for (state, count) in counts {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(states.encode_family(&[("type", state.type_name()), ("state", state.as_str())])?)?;
        }
        Ok(())
    }

    fn encode_transactions(broker: &Broker, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let gauge = ConstGauge::new(0_i64);
        let help = "Transactional ids by the state of their last transaction";
        let mut states = encoder.encode_descriptor("rustmq_transactions", help, None, gauge.metric_type())?;
        for (state, count) in broker.transactions.state_counts() {
            let gauge = ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
            gauge.encode(states.encode_family(&[("state", state.name())])?)?;
        }
        let age =
            broker.transactions.oldest_prepared().map_or(0, |since| wall_clock().0.saturating_sub(since.0).max(0));
        let help =
            "Seconds since the oldest decision of a transaction whose markers are not all written; 0 without one";
        let gauge = ConstGauge::new(Duration::from_millis(age.unsigned_abs()).as_secs_f64());
        let metric = "rustmq_transactions_oldest_prepared_seconds";
        gauge.encode(encoder.encode_descriptor(metric, help, None, gauge.metric_type())?)
    }

    fn encode_lag(broker: &Broker, encoder: &mut DescriptorEncoder<'_>) -> std::fmt::Result {
        let gauge = ConstGauge::new(0_i64);
        let help = "Records between a group's committed offset and the high watermark";
        let mut lags = encoder.encode_descriptor("rustmq_consumer_lag_records", help, None, gauge.metric_type())?;
        let mut room = broker.config.limits.lag_series_max;
        for shard in broker.coordinators.shards() {
            for group in shard.read(Groups::group_ids).unwrap_or_default() {
                let offsets = shard.read(|groups| groups.fetch_offsets(&group, &OffsetSelection::All));
                let Ok(Ok(offsets)) = offsets else { break };
                for (partition, committed) in offsets {
                    let Some(committed) = committed else { continue };
                    let topic = TopicRef::Name(partition.topic.as_str().to_owned());
                    let Ok(located) = broker.locate(&topic, partition.partition, None) else { continue };
                    if ![TopicId::ZERO, located.id.topic_id].contains(&committed.topic_id) {
                        continue;
                    }
                    if room == 0 {
                        return Ok(());
                    }
                    room -= 1;
                    let lag = located.reader.frontiers().high_watermark.0.saturating_sub(committed.offset.0).max(0);
                    let number = partition.partition.0.to_string();
                    let labels =
                        [("group", group.as_str()), ("topic", partition.topic.as_str()), ("partition", &number)];
                    ConstGauge::new(lag).encode(lags.encode_family(&labels)?)?;
                }
            }
        }
        Ok(())
    }
}

impl Collector for LagCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Some(broker) = self.broker.upgrade() else { return Ok(()) };
        Self::encode_groups(&broker, &mut encoder)?;
        Self::encode_transactions(&broker, &mut encoder)?;
        Self::encode_lag(&broker, &mut encoder)
    }
}
