//! The bounds of a replica's memory, and its timeouts.

use std::time::Duration;

/// The most entries of an epoch history that a leader accepts in one hello.
pub const HISTORY_PAGE_MAX: usize = 256;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplicationLimits {
    /// The most bytes that are pushed to one follower and not acknowledged. One batch may exceed
    /// it, so that any batch can be pushed.
    pub window_bytes: usize,
    /// The most bytes of batches in one push. One batch may exceed it.
    pub push_bytes: usize,
    /// The most pushes to one follower that are not acknowledged.
    pub pushes_max: usize,
    /// The entries of an epoch history in one hello, at most [`HISTORY_PAGE_MAX`]. Two brokers may
    /// have different values.
    pub history_page_max: usize,
    /// How often a leader without batches to push sends a heartbeat, which carries the high
    /// watermark.
    pub heartbeat_interval: Duration,
    /// Batches are pushed again if nothing was acknowledged for this long.
    pub resend_after: Duration,
    /// How often unanswered hellos, answers and proposals, and failed reads, are repeated.
    pub retry_interval: Duration,
    /// A follower that hears nothing from its leader for this long begins a new handshake.
    pub silence_max: Duration,
    /// `replica.lag.time.max.ms`: a replica that has not caught up for this long leaves the ISR.
    pub lag_time_max: Duration,
}

impl ReplicationLimits {
    /// The most entries of an epoch history in one hello. Every leader accepts pages of
    /// [`HISTORY_PAGE_MAX`] entries, and a handshake with empty pages would never end.
    pub(super) fn history_page(&self) -> usize {
        self.history_page_max.clamp(1, HISTORY_PAGE_MAX)
    }
}

const DEFAULT: ReplicationLimits = ReplicationLimits {
    window_bytes: 8 << 20,
    push_bytes: 1 << 20,
    pushes_max: 256,
    history_page_max: HISTORY_PAGE_MAX,
    heartbeat_interval: Duration::from_millis(100),
    resend_after: Duration::from_secs(2),
    retry_interval: Duration::from_millis(500),
    silence_max: Duration::from_secs(2),
    lag_time_max: Duration::from_secs(10),
};

const _: () = {
    assert!(DEFAULT.push_bytes <= DEFAULT.window_bytes, "a push fits into the window");
    assert!(DEFAULT.history_page_max <= HISTORY_PAGE_MAX, "any leader accepts the page");
    let silence_max = DEFAULT.silence_max.as_millis();
    assert!(
        DEFAULT.heartbeat_interval.as_millis() < silence_max,
        "heartbeats come before the silence ends a handshake"
    );
    assert!(silence_max < DEFAULT.lag_time_max.as_millis(), "a follower can catch up after a new handshake");
};

impl Default for ReplicationLimits {
    fn default() -> Self {
        DEFAULT
    }
}
