//! The parameters of a run, drawn from its seed. Some runs lack some kinds of faults, so that
//! frequent faults do not always hide rare ones.

use std::time::Duration;

use rustmq_engine_core::replication::ReplicationLimits;

use crate::{Chance, Delay, Rng};

pub const BROKERS: usize = 3;

/// An upper bound of the bytes that one producer appends in a millisecond without faults.
const LOAD_BYTES_PER_MILLI: usize = 30;

#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub in_sync_min: usize,
    pub limits: ReplicationLimits,
    /// The broker that sends longer pages of its epoch history than the others; with an index
    /// beyond the brokers, none does.
    pub longer_page: usize,
    /// A follower's window holds more than clients append in any time that matters.
    pub has_wide_windows: bool,
    pub lease: Duration,
    pub heartbeat: Duration,
    /// The probability that a message is lost. `doubled` and `late` are per message, too.
    pub lost: Chance,
    pub doubled: Chance,
    pub late: Chance,
    pub delay: Delay,
    pub late_delay: Delay,
    /// Messages arrive in the order of their sending, unless they are late or duplicated.
    pub has_streams: bool,
    /// The probability that a broker hears at once of a change to the partition.
    pub notified: Chance,
    pub sync: Delay,
    /// The time that dropping a log takes.
    pub drop: Delay,
    /// The time between two requests of one client.
    pub pace: Delay,
    /// The time between two faults.
    pub fault_interval: Delay,
    pub down: Delay,
    pub cut: Delay,
    /// The probability that a restarted broker has a new disk, if it may lose its disk.
    pub replaced: Chance,
    /// The time between two proposals of a log start or of a tier end.
    pub housekeeping: Delay,
    pub producers: usize,
    pub consumers: usize,
    /// The number of requests before the faults stop.
    pub requests: u64,
    /// The most that a clock runs too fast or too slow, in thousandths.
    pub drift: u64,
}

impl Setting {
    pub fn draw(rng: &mut Rng) -> Self {
        let is_lossy = rng.below(3) > 0;
        let is_slow = rng.below(3) == 0;
        let has_wide_windows = rng.coin();
        let millis = Duration::from_millis;
        let delay = Delay::micros(50, 1_000 << rng.below(3));
        let sync = if is_slow { Delay::micros(200, 20_000) } else { Delay::micros(50, 2_000) };
        let heartbeat = rng.between(15, 60);
        // Doubled, because a lag is measured only when a follower reaches a mark.
        let lag_bound = round_trip(sync, delay) * 2 + millis(10);
        let limits = ReplicationLimits {
            window_bytes: if has_wide_windows { 1 << 20 } else { 200 << rng.below(6) },
            push_bytes: if has_wide_windows { 64 << 10 } else { 100 << rng.below(6) },
            pushes_max: if has_wide_windows { 64 } else { 1 + rng.below(8) },
            history_page_max: 1,
            heartbeat_interval: millis(rng.between(5, 30)),
            resend_after: millis(rng.between(10, 60)),
            retry_interval: millis(rng.between(5, 40)),
            silence_max: millis(rng.between(60, 200)),
            lag_time_max: if has_wide_windows {
                lag_bound + millis(rng.between(0, 150))
            } else {
                millis(rng.between(15, 300))
            },
        };
        Self {
            in_sync_min: [1, 2, 2, 3][rng.below(4)],
            limits,
            longer_page: rng.below(4 * BROKERS),
            has_wide_windows,
            lease: millis(rng.between(2, 5) * heartbeat),
            heartbeat: millis(heartbeat),
            lost: if is_lossy {
                Chance::per_million(u32::try_from(rng.between(1_000, 60_000)).expect("small"))
            } else {
                Chance::NEVER
            },
            doubled: if rng.coin() { Chance::percent(3) } else { Chance::NEVER },
            late: Chance::per_million(u32::try_from(rng.between(0, 40_000)).expect("small")),
            delay,
            late_delay: Delay::micros(5_000, 200_000),
            has_streams: rng.coin(),
            notified: Chance::percent([0, 50, 100][rng.below(3)]),
            sync,
            drop: Delay::micros(40_000, 600_000),
            pace: Delay::micros(300, 6_000),
            fault_interval: Delay::micros(5_000, 100_000 << rng.below(4)),
            down: Delay::micros(1_000, 500_000),
            cut: Delay::micros(2_000, 800_000),
            replaced: Chance::percent(30),
            housekeeping: Delay::micros(1_000, 40_000 << rng.below(4)),
            producers: 3 + rng.below(4),
            consumers: 2 + rng.below(2),
            requests: 1_000 + rng.between(0, 600),
            drift: rng.between(0, 20),
        }
    }

    /// Whether followers keep up with their leader after the faults: a running follower that
    /// messages reach never lags for `lag_time_max`. A narrow window must hold the load of a round
    /// trip, and a batch more; a follower with a smaller window may lag.
    pub fn keeps_up(&self) -> bool {
        let Self { limits, producers, .. } = self;
        let round_trip = round_trip(self.sync, self.delay);
        let millis = usize::try_from(round_trip.as_millis()).expect("a short time");
        let window = limits.window_bytes.min(limits.push_bytes * limits.pushes_max);
        let holds_load = window >= producers * LOAD_BYTES_PER_MILLI * millis;
        self.has_wide_windows || (holds_load && limits.lag_time_max >= round_trip * 4)
    }

    pub fn limits_of(&self, broker: usize) -> ReplicationLimits {
        let history_page_max = self.limits.history_page_max + usize::from(broker == self.longer_page);
        ReplicationLimits { history_page_max, ..self.limits }
    }

    /// The longest time until an empty log has begun anew at its leader's start. A tier end that
    /// moves more often would outrun it.
    pub fn restarted_within(&self) -> Duration {
        self.sync.most * 4 + self.delay.most * 4 + self.limits.retry_interval
    }

    /// The longest time until a leader under load finds that a follower is missing.
    pub fn missed_within(&self) -> Duration {
        self.limits.lag_time_max + self.limits.retry_interval * 2 + Duration::from_millis(100)
    }
}

/// The longest time from an append to its acknowledgement by a follower. A push may wait for one
/// read before its own; an acknowledgement may wait for one sync before its own; both travel. A
/// read takes as long as a sync.
fn round_trip(sync: Delay, delay: Delay) -> Duration {
    sync.most * 4 + delay.most * 2
}

#[cfg(test)]
mod tests {
    use super::{Rng, Setting};

    #[test]
    fn followers_keep_up_in_some_runs_with_narrow_windows_and_lag_in_others() {
        let settings = (0..1_000).map(|seed| Setting::draw(&mut Rng::new(seed)));
        let narrow: Vec<_> = settings.filter(|setting| !setting.has_wide_windows).collect();
        let keep_up = narrow.iter().filter(|setting| setting.keeps_up()).count();
        assert!((50..narrow.len() / 2).contains(&keep_up), "{keep_up} of {}", narrow.len());
    }
}
