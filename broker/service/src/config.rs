//! What a broker is started with. Kafka's broker-wide settings come as the map of the configuration
//! file's `[kafka]` section, under Kafka's own names: names, defaults and bounds are in the
//! controller's catalogue, so that they exist once.

use std::collections::BTreeMap;
use std::path::PathBuf;

use rustmq_broker_core::coordinator::CoordinatorLimits;
use rustmq_controller_core::configs::StaticConfigs;
use rustmq_controller_core::{IncarnationId, PartitionLimits};
use rustmq_model::Endpoint;

use crate::validation::CompressedRecords;

/// Everything that a broker needs to know of itself.
#[derive(Clone, Debug)]
pub struct BrokerConfig {
    /// `broker.id`: a name, to which the controller gives a number for good.
    pub name: String,
    /// One life of the data folder: renewed when it is made or repaired.
    pub incarnation: IncarnationId,
    /// Where clients dial, by listener name.
    pub listeners: BTreeMap<String, Endpoint>,
    pub rack: Option<String>,
    /// The data folder, as `DescribeLogDirs` names it.
    pub data_dir: PathBuf,
    /// The `[kafka]` section, as the catalogue keeps its values, and what rules in place of some of
    /// them, under their names.
    pub kafka: StaticConfigs,
    pub compressed_records: CompressedRecords,
    pub limits: BrokerLimits,
}

/// Bounds that Kafka has no name for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerLimits {
    /// Partitions per topic and in the cluster. Default 10,000 and 100,000.
    pub partitions: PartitionLimits,
    /// What the records of one batch may decompress to, where the broker has to look inside.
    /// Default 256 MiB.
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
