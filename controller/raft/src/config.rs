//! Bounds of the embedded controller.

use rustmq_model::ByteSize;

/// How much the controller keeps and queues.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerConfig {
    /// The size of the log, as encoded, at which a snapshot replaces it. At least 64 KiB. Default 4
    /// MiB.
    pub snapshot_log_bytes: ByteSize,
    /// Commands in flight at a time; more of them wait. At least 1. Default 256.
    pub submissions_max: usize,
    /// Batches of deltas that a subscriber may lag behind before it gets a new snapshot instead. At
    /// least 1. Default 1024.
    pub subscription_batches_max: usize,
    /// The page cache of the store. Default 4 MiB.
    pub cache_bytes: ByteSize,
    /// The folder has had a metadata log: where none is, it is lost, and no other is founded.
    /// Default false.
    pub must_exist: bool,
}

impl Default for ControllerConfig {
    fn default() -> Self {
        Self {
            snapshot_log_bytes: ByteSize::mib(4),
            submissions_max: 256,
            subscription_batches_max: 1024,
            cache_bytes: ByteSize::mib(4),
            must_exist: false,
        }
    }
}
