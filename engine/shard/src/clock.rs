//! The engine's clock. The loops around the shards read it and pass on what it said: a shard, and what it decides by, is told the time.

use std::time::{SystemTime, UNIX_EPOCH};

use rustmq_engine_core::shard::Now;
use rustmq_model::{Instant, Timestamp};

/// One for all shards of an engine: two threads that make the turns of one shard mean the same by an [`Instant`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// It is later from here on, by as much.
    #[cfg(test)]
    pub(crate) fn advance(&mut self, time: std::time::Duration) {
        self.origin -= time;
    }

    pub(crate) fn now(self) -> Now {
        Now { at: self.at(), wall: wall_time() }
    }

    pub(crate) fn at(self) -> Instant {
        Instant::default().plus(self.origin.elapsed())
    }

    /// The same point as a runtime's timers know it.
    pub(crate) fn point(self, at: Instant) -> std::time::Instant {
        self.origin + at.since(Instant::default())
    }
}

pub(crate) fn wall_time() -> Timestamp {
    since_1970(SystemTime::now())
}

/// In milliseconds.
pub(crate) fn since_1970(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Clock;

    #[test]
    fn what_is_due_later_is_waited_for_by_as_much() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let clock = Clock::start();
        let now = clock.at();
        let point = std::time::Instant::now();
        assert!(clock.point(now) <= point && point <= clock.point(clock.at()));
        assert_eq!(clock.point(now.plus(HOUR)) - clock.point(now), HOUR);
    }
}
