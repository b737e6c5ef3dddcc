//! The bounds of one coordinator.

/// The bounds of one coordinator. The machine itself bounds its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CoordinatorLimits {
    /// The most requests that wait for their answer. At this bound, requests that may have to wait
    /// are refused as overloaded.
    pub waiting_max: usize,
    /// The most bytes of pending appends. At this bound, the same requests are refused.
    pub pending_bytes_max: usize,
    /// The log is shortened when it holds at least this many bytes, and twice as many as the last
    /// shortening rewrote. At least 1.
    pub log_bytes: u64,
    /// The size to which rewritten records are gathered into batches; a larger record has a batch
    /// of its own.
    pub rewrite_batch_bytes_max: usize,
}
