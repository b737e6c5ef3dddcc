//! The engine's metrics. Their names are public: see the reference page of metrics.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;
use rustmq_engine_api::ShardStatus;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct ShardLabels {
    pub shard: u32,
}

type ShardGauge = Family<ShardLabels, Gauge<u64, AtomicU64>>;

/// The engine's metrics. Cheap to clone; every clone counts into the same metrics.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Counters>);

#[derive(Debug)]
pub struct Counters {
    pub commits: Counter,
    pub committed_bytes: Counter,
    pub commit_seconds: Histogram,
    pub appended_batches: Counter,
    pub appended_bytes: Counter,
    pub cold_reads: Counter,
    pub cold_read_bytes: Counter,
    pub cold_windows: Counter,
    pub cold_window_bytes: Counter,
    pub busy_reads: Counter,
    pub cold_read_memory_bytes: Gauge<u64, AtomicU64>,
    pub freed_segments: Counter,
    pub damaged_ranges: Counter,
    pub wal_bytes: ShardGauge,
    pub wal_used_bytes: ShardGauge,
    pub wal_capacity_bytes: ShardGauge,
    pub tail_memory_bytes: ShardGauge,
    pub tail_memory_budget_bytes: ShardGauge,
    pub tail_memory_spare_bytes: ShardGauge,
    pub tail_memory_mapped_bytes: ShardGauge,
    pub partitions: ShardGauge,
    pub poisoned: ShardGauge,
    pub full: ShardGauge,
}

impl std::ops::Deref for Metrics {
    type Target = Counters;

    fn deref(&self) -> &Counters {
        &self.0
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self(Arc::new(Counters {
            commits: Counter::default(),
            committed_bytes: Counter::default(),
            commit_seconds: Histogram::new(exponential_buckets(0.000_05, 2.0, 18)),
            appended_batches: Counter::default(),
            appended_bytes: Counter::default(),
            cold_reads: Counter::default(),
            cold_read_bytes: Counter::default(),
            cold_windows: Counter::default(),
            cold_window_bytes: Counter::default(),
            busy_reads: Counter::default(),
            cold_read_memory_bytes: Gauge::default(),
            freed_segments: Counter::default(),
            damaged_ranges: Counter::default(),
            wal_bytes: ShardGauge::default(),
            wal_used_bytes: ShardGauge::default(),
            wal_capacity_bytes: ShardGauge::default(),
            tail_memory_bytes: ShardGauge::default(),
            tail_memory_budget_bytes: ShardGauge::default(),
            tail_memory_spare_bytes: ShardGauge::default(),
            tail_memory_mapped_bytes: ShardGauge::default(),
            partitions: ShardGauge::default(),
            poisoned: ShardGauge::default(),
            full: ShardGauge::default(),
        }))
    }
}

impl Metrics {
    pub fn register(&self, registry: &mut Registry) {
        let mut counter = |name, help, counter: &Counter| registry.register(name, help, counter.clone());
        counter("rustmq_wal_commits", "Commits: groups of appends written and synced", &self.commits);
        counter("rustmq_wal_committed_bytes", "Bytes written by commits, padding included", &self.committed_bytes);
        counter("rustmq_wal_appended_batches", "Record batches appended", &self.appended_batches);
        counter("rustmq_wal_appended_bytes", "Bytes of record batches appended", &self.appended_bytes);
        counter("rustmq_wal_cold_reads", "Reads of batches that had left memory", &self.cold_reads);
        counter("rustmq_wal_cold_read_bytes", "Bytes of record batches read from disk", &self.cold_read_bytes);
        counter(
            "rustmq_wal_cold_windows",
            "Windows of the log read from disk, each shared by any number of reads",
            &self.cold_windows,
        );
        counter("rustmq_wal_cold_window_bytes", "Bytes of these windows", &self.cold_window_bytes);
        counter(
            "rustmq_wal_busy_reads",
            "Reads from disk that answered nothing because no memory was free",
            &self.busy_reads,
        );
        counter("rustmq_wal_freed_segments", "Segments freed for reuse", &self.freed_segments);
        counter(
            "rustmq_wal_damaged_ranges",
            "Ranges of offsets, since the start, that could not be read back when their segment was freed: their readers are refused",
            &self.damaged_ranges,
        );
        let help =
            "Memory for batches read from disk, held until they are sent and no other reader is likely to need them";
        registry.register("rustmq_wal_cold_read_memory_bytes", help, self.cold_read_memory_bytes.clone());
        let help = "Time from the start of a commit's write to the end of its sync";
        registry.register("rustmq_wal_commit_seconds", help, self.commit_seconds.clone());
        let mut gauge = |name, help, gauge: &ShardGauge| registry.register(name, help, gauge.clone());
        gauge("rustmq_wal_bytes", "Bytes of the WAL's files", &self.wal_bytes);
        gauge("rustmq_wal_used_bytes", "Bytes of the WAL's segments in use", &self.wal_used_bytes);
        gauge("rustmq_wal_capacity_bytes", "Bytes that the WAL may take", &self.wal_capacity_bytes);
        gauge("rustmq_tail_memory_bytes", "Memory of recent batches", &self.tail_memory_bytes);
        gauge("rustmq_tail_memory_budget_bytes", "Memory that recent batches may take", &self.tail_memory_budget_bytes);
        gauge("rustmq_tail_memory_spare_bytes", "Memory kept for the next batches", &self.tail_memory_spare_bytes);
        let help = "Memory for batches taken from the system since the start; constant once the budget is used up";
        gauge("rustmq_tail_memory_mapped_bytes", help, &self.tail_memory_mapped_bytes);
        gauge("rustmq_wal_partitions", "Partitions open in the WAL", &self.partitions);
        gauge("rustmq_wal_poisoned", "1 after a write or sync failed", &self.poisoned);
        gauge("rustmq_wal_full", "1 while appends are refused for want of space", &self.full);
    }

    pub(crate) fn set_status(&self, shard: u32, status: &ShardStatus) {
        let labels = ShardLabels { shard };
        let set = |gauge: &ShardGauge, value: u64| {
            gauge.get_or_create(&labels).set(value);
        };
        set(&self.wal_bytes, status.wal_bytes);
        set(&self.wal_used_bytes, status.wal_used_bytes);
        set(&self.wal_capacity_bytes, status.wal_capacity_bytes);
        set(&self.tail_memory_bytes, status.tail_memory_bytes);
        set(&self.tail_memory_budget_bytes, status.tail_memory_budget_bytes);
        set(&self.tail_memory_spare_bytes, status.tail_memory_spare_bytes);
        set(&self.tail_memory_mapped_bytes, status.tail_memory_mapped_bytes);
        set(&self.partitions, status.partitions);
        set(&self.poisoned, u64::from(status.poisoned.is_some()));
        set(&self.full, u64::from(status.full));
    }
}
