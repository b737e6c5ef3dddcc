//! The process's two clocks, for machines that take time as an argument.

use std::time::{Duration, SystemTime};

use rustmq_broker_core::coordinator::Now;
use rustmq_model::{Instant, Timestamp};

/// A monotonic clock that starts at zero, and the wall clock.
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

    /// Returns at a machine's timeout; never, if there is none.
    pub(crate) async fn sleep_until(self, timeout: Option<Instant>) {
        match timeout {
            Some(at) => tokio::time::sleep_until(self.origin + Duration::from_nanos(at.as_nanos())).await,
            None => std::future::pending().await,
        }
    }
}

pub(crate) fn wall_clock() -> Timestamp {
    Timestamp::from(SystemTime::now())
}
