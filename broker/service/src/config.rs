//! The configuration of a broker. Kafka's broker-wide settings come as a map of the configuration
//! file's `[kafka]` section, by Kafka's own names: only the controller's catalogue has their names,
//! defaults and bounds.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustmq_broker_core::coordinator::CoordinatorLimits;
use rustmq_controller_core::configs::StaticConfigs;
use rustmq_controller_core::{IncarnationId, PartitionLimits};
use rustmq_model::Endpoint;
use rustmq_settings::settings;

use crate::features::SupportedFeature;

settings! {
    /// The broker's own settings in the configuration file.
    pub struct BrokerSettings {
        /// The broker's name. Its numeric id is given at first registration and never reused.
        #[setting("broker.id", Text { what: "a name", bytes_max: 255 }, default "rustmq", on restart)]
        pub name: String,
        /// The rack or zone that clients see in metadata.
        #[setting(
            "broker.rack_id" or "RUSTMQ_RACK_ID",
            Text { what: "a name", bytes_max: 255 },
            unset "no rack",
            on restart
        )]
        pub rack: Option<String>,
        /// Whether the records of compressed batches are decompressed and checked when they are
        /// produced, as on Kafka. Records of uncompressed batches are always checked. `false` saves
        /// processor time, but then a producer that writes malformed records stops the consumers of
        /// its topic.
        #[setting("produce.check_compressed_records", Flag, default "true", on reload)]
        pub check_compressed_records: bool,
    }
}

/// The configuration that a broker is started with.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    pub settings: BrokerSettings,
    /// The incarnation of the data folder. It is renewed when the folder is made or repaired.
    pub incarnation: IncarnationId,
    /// The addresses for clients, by listener name.
    pub listeners: BTreeMap<String, Endpoint>,
    /// The data folder, which `DescribeLogDirs` names.
    pub data_dir: PathBuf,
    /// The `[kafka]` section, with values in the form in which the catalogue keeps them, and the
    /// process's own defaults for some of the names.
    pub kafka: StaticConfigs,
    pub limits: BrokerLimits,
    /// The features whose behaviour the front ends offer to clients.
    pub features: &'static [SupportedFeature],
}

/// Bounds that have no Kafka setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerLimits {
    /// Partitions per topic and in the cluster. Default 10,000 and 100,000.
    pub partitions: PartitionLimits,
    /// The most decompressed bytes of one batch, where the broker has to read records. Default 256
    /// MiB.
    pub decompressed_bytes_max: usize,
    /// The most requests that wait for one coordinator. Further requests that would have to wait
    /// are refused as retriable. Default 100,000.
    pub coordinator_requests_waiting_max: usize,
    /// A coordinator's log is shortened when it holds at least this many bytes, and twice the bytes
    /// that the last shortening wrote again. A restart replays the log before the coordinator
    /// answers, and reads for it a larger part of the write-ahead log: single commits lie blocks
    /// apart there, among the records of other partitions. Default 256 KiB.
    pub coordinator_log_bytes: u64,
    /// Groups with configs of their own, which every node of the cluster holds in memory. Default
    /// 10,000.
    pub configured_groups_max: u32,
    /// Time series of consumer lag in the metrics. Default 10,000.
    pub lag_series_max: usize,
}

/// The most bytes of appends that one coordinator may have pending. A coordinator reaches it if
/// its log commits nothing for long (it is full, or too few replicas are in sync), or in a burst of
/// very large records. Further requests are then refused as retriable.
const COORDINATOR_PENDING_BYTES_MAX: usize = 16 << 20;

impl BrokerLimits {
    /// The limits of one coordinator. `batch_bytes_max` is its topic's `max.message.bytes`:
    /// rewritten records are gathered into batches of half that size.
    pub(crate) const fn of_coordinator(&self, batch_bytes_max: usize) -> CoordinatorLimits {
        CoordinatorLimits {
            waiting_max: self.coordinator_requests_waiting_max,
            pending_bytes_max: COORDINATOR_PENDING_BYTES_MAX,
            log_bytes: self.coordinator_log_bytes,
            rewrite_batch_bytes_max: batch_bytes_max / 2,
        }
    }
}

impl Default for BrokerLimits {
    fn default() -> Self {
        Self {
            partitions: PartitionLimits { per_topic_max: 10_000, per_cluster_max: 100_000 },
            decompressed_bytes_max: 256 << 20,
            coordinator_requests_waiting_max: 100_000,
            coordinator_log_bytes: 256 << 10,
            configured_groups_max: 10_000,
            lag_series_max: 10_000,
        }
    }
}
