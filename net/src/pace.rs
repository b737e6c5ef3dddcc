//! The slowest pace of a transfer in either direction. Does not bound the time between transfers.

use std::time::Duration;

/// The slowest pace that a transfer may have.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The largest deficit, which is also the longest silence.
    pub stall_max: Duration,
    pub bytes_per_second_min: u64,
}

/// The time by which a peer has fallen behind its pace. Only the time spent waiting for the peer
/// counts. The bytes that it moves reduce the deficit, but never below zero: a quick start does not
/// allow a long silence later.
#[derive(Clone, Copy, Debug, Default)]
pub struct Deficit(Duration);

impl Deficit {
    /// The longest time to wait for the peer now.
    #[must_use]
    pub fn patience(self, pace: Pace) -> Duration {
        pace.stall_max.saturating_sub(self.0)
    }

    /// Records that the peer was waited for, and moved `bytes` bytes.
    pub fn add(&mut self, pace: Pace, waited: Duration, bytes: usize) {
        let earned = (bytes as u64).saturating_mul(1_000_000) / pace.bytes_per_second_min.max(1);
        self.0 = (self.0 + waited).saturating_sub(Duration::from_micros(earned));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Deficit, Pace};

    #[test]
    fn bytes_make_up_for_silence_and_never_in_advance() {
        let pace = Pace { stall_max: Duration::from_secs(10), bytes_per_second_min: 1_000 };
        let mut deficit = Deficit::default();
        deficit.add(pace, Duration::ZERO, 1_000_000);
        assert_eq!(deficit.patience(pace), Duration::from_secs(10), "a quick start buys nothing");
        deficit.add(pace, Duration::from_secs(4), 1_000);
        assert_eq!(deficit.patience(pace), Duration::from_secs(7));
        deficit.add(pace, Duration::from_secs(5), 5_000);
        assert_eq!(deficit.patience(pace), Duration::from_secs(7), "at its pace it falls no further behind");
        deficit.add(pace, Duration::from_secs(8), 0);
        assert_eq!(deficit.patience(pace), Duration::ZERO);
    }
}
