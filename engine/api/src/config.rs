//! What a partition's owner decides about its log. Where the values come from (topic and broker settings) is not known here.

use std::time::Duration;

/// Retention of one partition's log. Reloadable: [`crate::Engine::configure`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogConfig {
    /// How long records are kept, by their timestamps; `None` keeps them for ever.
    pub retention_time: Option<Duration>,
    /// Bytes of batches that are kept at least, as long as they are there; older ones go. `None` sets no limit.
    pub retention_bytes: Option<u64>,
    /// How long an idempotent producer that writes nothing is remembered (`producer.id.expiration.ms`).
    pub producer_expiry: Duration,
}

impl LogConfig {
    /// Keeps everything: what a recovered partition has until its owner configures it.
    #[must_use]
    pub const fn unlimited() -> Self {
        Self { retention_time: None, retention_bytes: None, producer_expiry: Duration::MAX }
    }
}

impl Default for LogConfig {
    /// Kafka's defaults: seven days, no limit on bytes, producers remembered for a day.
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self { retention_time: Some(7 * DAY), retention_bytes: None, producer_expiry: DAY }
    }
}
