//! The process's two clocks, for machines that take time as an argument.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use rustmq_broker_core::coordinator::Now;
use rustmq_model::{Instant, Timestamp};

/// Counts from when it was made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: tokio::time::Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self { origin: tokio::time::Instant::now() }
    }

    pub(crate) fn now(self) -> Now {
        let nanos = u64::try_from(self.origin.elapsed().as_nanos()).unwrap_or(u64::MAX);
        Now { instant: Instant::from_nanos(nanos), wall: wall_clock() }
    }

    /// The runtime's name for a point on this clock.
    pub(crate) fn runtime_instant(self, instant: Instant) -> tokio::time::Instant {
        self.origin + Duration::from_nanos(instant.as_nanos())
    }
}

/// Milliseconds since 1970; a clock that is set before that counts as 0.
pub(crate) fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
