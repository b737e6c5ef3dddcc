//! When a follower last caught up with its leader. A follower of a busy leader never has all of the
//! leader's records at one moment, so its end is not compared with the leader's current end: the
//! follower has caught up *as of* a time once it has reached the end that the leader's log had
//! then.

use std::time::Duration;

use rustmq_model::{Instant, Offset};

/// An earlier end of the leader's log, which the follower has not reached yet.
#[derive(Clone, Copy, Debug)]
struct Mark {
    end: Offset,
    at: Instant,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct Lag {
    caught_up_at: Instant,
    mark: Mark,
}

impl Lag {
    /// A leadership begins. Its followers have the whole `lag_time_max` to catch up.
    pub(super) const fn new(now: Instant, end: Offset) -> Self {
        Self { caught_up_at: now, mark: Mark { end, at: now } }
    }

    /// The leader's log, which ended at `before`, grows to `end`. A follower that had all of it has
    /// caught up as of now, however long the log was idle.
    pub(super) fn on_append(&mut self, now: Instant, acked: Option<Offset>, before: Offset, end: Offset) {
        if acked >= Some(before) {
            self.caught_up_at = now;
            self.mark = Mark { end, at: now };
        }
    }

    pub(super) fn on_ack(&mut self, now: Instant, acked: Offset, end: Offset) {
        if acked >= end {
            self.caught_up_at = now;
        } else if acked >= self.mark.end {
            self.caught_up_at = self.caught_up_at.max(self.mark.at);
            self.mark = Mark { end, at: now };
        }
    }

    /// Whether the follower, which has acknowledged `acked`, counts as in sync with a log that ends
    /// at `end`.
    pub(super) fn is_in_sync(&self, now: Instant, acked: Option<Offset>, end: Offset, lag_time_max: Duration) -> bool {
        acked >= Some(end) || now.since(self.caught_up_at) <= lag_time_max
    }

    /// The first moment at which the follower is out of sync, unless it catches up.
    pub(super) fn deadline(&self, lag_time_max: Duration) -> Instant {
        self.caught_up_at.plus(lag_time_max).plus(Duration::from_nanos(1))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustmq_model::{Instant, Offset};

    use super::Lag;

    const LAG_TIME_MAX: Duration = Duration::from_millis(100);

    fn at(millis: u64) -> Instant {
        Instant::from_nanos(millis * 1_000_000)
    }

    #[test]
    fn a_follower_that_is_always_a_little_behind_is_in_sync() {
        let mut lag = Lag::new(at(0), Offset(0));
        for step in 1..1_000 {
            let (now, end) = (at(u64::try_from(step).unwrap() * 5), Offset(step * 10));
            lag.on_append(now, Some(Offset((step - 4).max(0) * 10)), Offset((step - 1) * 10), end);
            lag.on_ack(now, Offset((step - 3).max(0) * 10), end);
            assert!(lag.is_in_sync(now, Some(Offset((step - 3).max(0) * 10)), end, LAG_TIME_MAX), "step {step}");
        }
    }

    #[test]
    fn a_follower_that_is_slower_than_its_leader_falls_out() {
        let mut lag = Lag::new(at(0), Offset(0));
        let fell_out = (1..1_000).find(|step| {
            let (now, end, acked) = (at(u64::try_from(*step).unwrap() * 5), Offset(step * 10), Offset(step * 7));
            lag.on_append(now, Some(Offset((step - 1) * 7)), Offset((step - 1) * 10), end);
            lag.on_ack(now, acked, end);
            !lag.is_in_sync(now, Some(acked), end, LAG_TIME_MAX)
        });
        assert!(fell_out.is_some_and(|step| (20..200).contains(&step)), "{fell_out:?}");
    }

    #[test]
    fn after_an_idle_time_the_whole_lag_time_is_left() {
        let mut lag = Lag::new(at(0), Offset(0));
        lag.on_ack(at(1), Offset(10), Offset(10));
        assert!(lag.is_in_sync(at(10_000), Some(Offset(10)), Offset(10), LAG_TIME_MAX));
        lag.on_append(at(10_000), Some(Offset(10)), Offset(10), Offset(11));
        assert!(lag.is_in_sync(at(10_100), Some(Offset(10)), Offset(11), LAG_TIME_MAX));
        assert!(!lag.is_in_sync(lag.deadline(LAG_TIME_MAX), Some(Offset(10)), Offset(11), LAG_TIME_MAX));
        assert_eq!(lag.deadline(LAG_TIME_MAX), at(10_100).plus(Duration::from_nanos(1)));
    }

    #[test]
    fn a_follower_that_never_acknowledged_falls_out() {
        let lag = Lag::new(at(0), Offset(0));
        assert!(lag.is_in_sync(at(100), None, Offset(0), LAG_TIME_MAX));
        assert!(!lag.is_in_sync(at(101), None, Offset(0), LAG_TIME_MAX));
    }
}
