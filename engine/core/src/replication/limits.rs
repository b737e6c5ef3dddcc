//! The bounds of a replica's memory and patience.

use std::time::Duration;

/// Entries of an epoch history that any leader takes in one hello.
pub const HISTORY_PAGE_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicationLimits {
    /// Bytes pushed to one follower and not acknowledged. One batch may pass it, so that any batch
    /// can be pushed.
    pub window_bytes: usize,
    /// Bytes of batches in one push; again, one batch may pass it.
    pub push_bytes: usize,
    /// Pushes to one follower that are not acknowledged.
    pub pushes_max: usize,
    /// Entries of an epoch history in one hello; no more than [`HISTORY_PAGE_MAX`]. Two brokers may
    /// have different ones.
    pub history_page_max: usize,
    /// A leader that has nothing to push says so this often, and with it the high watermark.
    pub heartbeat_interval: Duration,
    /// Batches are pushed again when nothing was acknowledged for so long.
    pub resend_after: Duration,
    /// Hellos and answers that nothing follows, proposals, and reads that failed are repeated this
    /// often.
    pub retry_interval: Duration,
    /// A follower that hears nothing from its leader for so long says hello again.
    pub silence_max: Duration,
    /// `replica.lag.time.max.ms`: a replica that has not caught up for so long leaves the ISR.
    pub lag_time_max: Duration,
}

impl ReplicationLimits {
    /// The entries of an epoch history in one hello. Every leader takes so many, and pages without an
    /// entry would never end.
    pub(super) fn history_page(&self) -> usize {
        self.history_page_max.clamp(1, HISTORY_PAGE_MAX)
    }
}

impl Default for ReplicationLimits {
    fn default() -> Self {
        Self {
            window_bytes: 8 << 20,
            push_bytes: 1 << 20,
            pushes_max: 256,
            history_page_max: HISTORY_PAGE_MAX,
            heartbeat_interval: Duration::from_millis(100),
            resend_after: Duration::from_secs(2),
            retry_interval: Duration::from_millis(500),
            silence_max: Duration::from_secs(2),
            lag_time_max: Duration::from_secs(10),
        }
    }
}
