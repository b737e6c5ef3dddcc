//! The bounds of one coordinator.

/// What one coordinator may hold. The state itself is bounded by its machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoordinatorLimits {
    /// Requests that wait for their answer. Beyond it those that may have to wait are refused.
    pub waiting_max: usize,
    /// Bytes of appends whose result is not known. Beyond it the same requests are refused.
    pub pending_bytes_max: usize,
    /// The log is shortened when it holds this many bytes, and twice those that the last shortening
    /// wrote again. At least 1.
    pub log_bytes: u64,
    /// Records that are written again are gathered into batches of about this size.
    pub rewrite_batch_bytes_max: usize,
}
