//! How a run is set up, drawn from its seed. Some runs are calm in one way or another, so that rare
//! things are not always hidden by frequent ones.

use std::time::Duration;

use rustmq_engine_core::replication::ReplicationLimits;

use crate::{Chance, Delay, Dice};

pub const BROKERS: usize = 3;

/// What one producer appends without trouble is less.
const LOAD_BYTES_PER_MILLI: usize = 30;

#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub in_sync_min: usize,
    pub limits: ReplicationLimits,
    /// The broker that tells longer pages of its history than others, if there is such a broker.
    pub longer_page: usize,
    /// A window holds more than clients append in any time that matters.
    pub is_wide: bool,
    pub lease: Duration,
    pub heartbeat: Duration,
    /// Of a message.
    pub lost: Chance,
    pub doubled: Chance,
    pub late: Chance,
    pub delay: Delay,
    pub late_delay: Delay,
    /// Messages come in the order of their sending, unless they are late or doubled.
    pub has_streams: bool,
    /// Of a broker: it is told at once that the partition has changed.
    pub told: Chance,
    pub sync: Delay,
    /// How long a log takes to be dropped.
    pub drop: Delay,
    /// Between two requests of one client.
    pub pace: Delay,
    /// Between two of the things that go wrong.
    pub trouble: Delay,
    pub down: Delay,
    pub cut: Delay,
    /// Of a restart, if the disk may be lost.
    pub replaced: Chance,
    /// Between two proposals of a log start or of a tier end.
    pub housekeeping: Delay,
    pub producers: usize,
    pub consumers: usize,
    /// The clients' requests before all is well.
    pub requests: u64,
    /// How much clocks run too fast or too slow, in thousandths, at the most.
    pub drift: u64,
}

impl Setting {
    pub fn draw(dice: &mut Dice) -> Self {
        let is_lossy = dice.below(3) > 0;
        let is_slow = dice.below(3) == 0;
        let is_wide = dice.coin();
        let millis = Duration::from_millis;
        let delay = Delay::micros(50, 1_000 << dice.below(3));
        let sync = if is_slow { Delay::micros(200, 20_000) } else { Delay::micros(50, 2_000) };
        let heartbeat = dice.between(15, 60);
        // Twice that, since a lag is only measured where a mark is reached.
        let wide_lag = round_trip(sync, delay) * 2 + millis(10);
        let limits = ReplicationLimits {
            window_bytes: if is_wide { 1 << 20 } else { 200 << dice.below(6) },
            push_bytes: if is_wide { 64 << 10 } else { 100 << dice.below(6) },
            pushes_max: if is_wide { 64 } else { 1 + dice.below(8) },
            history_page_max: 1,
            heartbeat_interval: millis(dice.between(5, 30)),
            resend_after: millis(dice.between(10, 60)),
            retry_interval: millis(dice.between(5, 40)),
            silence_max: millis(dice.between(60, 200)),
            lag_time_max: if is_wide { wide_lag + millis(dice.between(0, 150)) } else { millis(dice.between(15, 300)) },
        };
        Self {
            in_sync_min: [1, 2, 2, 3][dice.below(4)],
            limits,
            longer_page: dice.below(4 * BROKERS),
            is_wide,
            lease: millis(dice.between(2, 5) * heartbeat),
            heartbeat: millis(heartbeat),
            lost: if is_lossy {
                Chance::per_million(u32::try_from(dice.between(1_000, 60_000)).expect("small"))
            } else {
                Chance::NEVER
            },
            doubled: if dice.coin() { Chance::percent(3) } else { Chance::NEVER },
            late: Chance::per_million(u32::try_from(dice.between(0, 40_000)).expect("small")),
            delay,
            late_delay: Delay::micros(5_000, 200_000),
            has_streams: dice.coin(),
            told: Chance::percent([0, 50, 100][dice.below(3)]),
            sync,
            drop: Delay::micros(40_000, 600_000),
            pace: Delay::micros(300, 6_000),
            trouble: Delay::micros(5_000, 100_000 << dice.below(4)),
            down: Delay::micros(1_000, 500_000),
            cut: Delay::micros(2_000, 800_000),
            replaced: Chance::percent(30),
            housekeeping: Delay::micros(1_000, 40_000 << dice.below(4)),
            producers: 3 + dice.below(4),
            consumers: 2 + dice.below(2),
            requests: 1_000 + dice.between(0, 600),
            drift: dice.between(0, 20),
        }
    }

    /// Followers keep up with their leader once there is no trouble: one that runs, and that messages
    /// reach, never lags for `lag_time_max`. Of the narrow windows only the larger ones hold the load of a
    /// round trip, and a batch more; behind the others followers lag by right.
    pub fn keeps_up(&self) -> bool {
        let Self { limits, producers, .. } = self;
        let round_trip = round_trip(self.sync, self.delay);
        let millis = usize::try_from(round_trip.as_millis()).expect("a short time");
        let window = limits.window_bytes.min(limits.push_bytes * limits.pushes_max);
        let holds_load = window >= producers * LOAD_BYTES_PER_MILLI * millis;
        self.is_wide || (holds_load && limits.lag_time_max >= round_trip * 4)
    }

    pub fn limits_of(&self, broker: usize) -> ReplicationLimits {
        let history_page_max = self.limits.history_page_max + usize::from(broker == self.longer_page);
        ReplicationLimits { history_page_max, ..self.limits }
    }

    /// A log that holds nothing has begun anew at its leader's start within so long. A tier that
    /// moves on more often outruns it.
    pub fn restarted_within(&self) -> Duration {
        self.sync.most * 4 + self.delay.most * 4 + self.limits.retry_interval
    }

    /// A leader that is given requests has missed a follower within so long.
    pub fn missed_within(&self) -> Duration {
        self.limits.lag_time_max + self.limits.retry_interval * 2 + Duration::from_millis(100)
    }
}

/// A push waits for a read and reads, an acknowledgement waits for a sync and syncs, and both
/// travel.
fn round_trip(sync: Delay, delay: Delay) -> Duration {
    sync.most * 4 + delay.most * 2
}

#[cfg(test)]
mod tests {
    use super::{Dice, Setting};

    #[test]
    fn some_narrow_runs_keep_up_and_some_do_not() {
        let settings = (0..1_000).map(|seed| Setting::draw(&mut Dice::new(seed)));
        let narrow: Vec<_> = settings.filter(|setting| !setting.is_wide).collect();
        let keep_up = narrow.iter().filter(|setting| setting.keeps_up()).count();
        assert!((50..narrow.len() / 2).contains(&keep_up), "{keep_up} of {}", narrow.len());
    }
}
