//! The engine's clock. Only the loops around the shards read it; a shard and its machine get the
//! time as an argument.

use std::time::SystemTime;

use rustmq_engine_core::shard::Now;
use rustmq_model::{Instant, Timestamp};

/// One clock serves all shards of an engine: two threads that run the turns of one shard must agree
/// on an [`Instant`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    origin: std::time::Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { origin: std::time::Instant::now() }
    }

    /// Moves the clock forward.
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

    /// The same time for the runtime's timers.
    pub(crate) fn point(self, at: Instant) -> std::time::Instant {
        self.origin + at.since(Instant::default())
    }
}

pub(crate) fn wall_time() -> Timestamp {
    Timestamp::from(SystemTime::now())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Clock;

    #[test]
    fn a_later_instant_is_later_for_the_timers_by_the_same_duration() {
        const HOUR: Duration = Duration::from_secs(3_600);
        let clock = Clock::start();
        let now = clock.at();
        let point = std::time::Instant::now();
        assert!(clock.point(now) <= point && point <= clock.point(clock.at()));
        assert_eq!(clock.point(now.plus(HOUR)) - clock.point(now), HOUR);
    }
}
