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
}

/// Bounds that have no Kafka setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerLimits {
    /// Partitions per topic and in the cluster. Default 10,000 and 100,000.
    pub partitions: PartitionLimits,
    /// The most decompressed bytes of one batch, where the broker has to read records. Default 256
    /// MiB.
    pub decompressed_bytes_max: usize,
    /// Requests that wait for an answer of one coordinator partition: more are told to try again.
    /// Default 100,000.
    pub group_requests_waiting_max: usize,
    /// A coordinator partition's log is rewritten when it holds this many bytes, and twice what is
    /// live. A restart replays it before the groups answer, so it is kept small: commits that come
    /// one by one lie a block apart in the write-ahead log, among all else that was written
    /// meanwhile. Default 256 KiB.
    pub group_log_bytes: u64,
    /// Time series of consumer lag in the metrics. Default 10,000.
    pub lag_series_max: usize,
}

/// Bytes of a coordinator's appends that wait for their commit. What stalls for longer has a log
/// that is full or without enough replicas: callers are told to try again.
const COORDINATOR_PENDING_BYTES_MAX: usize = 16 << 20;

impl BrokerLimits {
    /// The bounds of one coordinator, whose log takes batches of so many bytes.
    pub(crate) const fn of_coordinator(&self, batch_bytes_max: usize) -> CoordinatorLimits {
        CoordinatorLimits {
            waiting_max: self.group_requests_waiting_max,
            pending_bytes_max: COORDINATOR_PENDING_BYTES_MAX,
            log_bytes: self.group_log_bytes,
            rewrite_batch_bytes_max: batch_bytes_max / 2,
        }
    }
}

impl Default for BrokerLimits {
    fn default() -> Self {
        Self {
            partitions: PartitionLimits { per_topic_max: 10_000, per_cluster_max: 100_000 },
            decompressed_bytes_max: 256 << 20,
            group_requests_waiting_max: 100_000,
            group_log_bytes: 256 << 10,
            lag_series_max: 10_000,
        }
    }
}
