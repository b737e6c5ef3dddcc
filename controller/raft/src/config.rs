//! Bounds of the embedded controller.

use rustmq_model::ByteSize;

/// The bounds of the controller's log, queues and cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControllerConfig {
    /// The encoded size of the log at which a snapshot replaces it. At least 64 KiB. Default 4 MiB.
    pub snapshot_log_bytes: ByteSize,
    /// The most commands in flight; further ones wait. At least 1. Default 256.
    pub submissions_max: usize,
    /// The most batches of deltas that a subscriber may lag behind; then it gets a new snapshot. At
    /// least 1. Default 1024.
    pub subscription_batches_max: usize,
    /// The page cache of the store. Default 4 MiB.
    pub cache_bytes: ByteSize,
    /// The folder must have a metadata log: if there is none, it was lost, and opening fails
    /// instead of founding a new one. Default false.
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
