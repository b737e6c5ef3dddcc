//! Measures whether the disk is slow: whether commits take much longer than their bytes need. Then
//! two commits may be in flight.
//!
//! ```text
//! quick --the mean reaches the limit--> slow --the mean falls below half of it--> quick
//! ```
//! The mean covers the last commits, so that a single slow or fast commit changes nothing.

use std::time::Duration;

use crate::capped_mean::CappedMean;

/// The assumed speed of the disk: a gigabyte per second. A disk that needs longer may count as
/// slow, since its commits leave time to gather another one.
const BYTES_PER_NANOSECOND: u64 = 1;
/// A commit counts as at most this many times the limit: one slow commit is an accident, several
/// are a slow disk.
const OUTLIER: u32 = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct DiskPace {
    /// The mean time of commits beyond the assumed time for their bytes.
    waits: CappedMean,
    limit: Duration,
    is_slow: bool,
}

impl DiskPace {
    /// With a limit of zero, every disk is slow.
    pub(super) fn new(limit: Duration) -> Self {
        Self { waits: CappedMean::new(limit * OUTLIER), limit, is_slow: limit.is_zero() }
    }

    pub(super) const fn is_slow(self) -> bool {
        self.is_slow
    }

    /// Records that a commit of `bytes` bytes took this long.
    pub(super) fn note(&mut self, bytes: usize, took: Duration) {
        let waited = took.saturating_sub(Duration::from_nanos(bytes as u64 / BYTES_PER_NANOSECOND));
        self.waits.note(waited);
        self.is_slow = self.waits.mean() >= if self.is_slow { self.limit / 2 } else { self.limit };
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::DiskPace;

    const LIMIT: Duration = Duration::from_millis(1);
    const MEBIBYTE: usize = 1 << 20;

    fn after(mut pace: DiskPace, count: usize, bytes: usize, took: Duration) -> DiskPace {
        (0..count).for_each(|_| pace.note(bytes, took));
        pace
    }

    #[test]
    fn a_disk_is_slow_after_several_slow_commits_and_quick_after_many_quick_ones() {
        let pace = DiskPace::new(LIMIT);
        assert!(!pace.is_slow());
        let (slow, quick) = (Duration::from_millis(3), Duration::from_micros(100));
        assert!(!after(pace, 1, 4096, Duration::from_secs(8)).is_slow(), "one accident");
        let pace = after(pace, 4, 4096, slow);
        assert!(pace.is_slow());
        assert!(after(pace, 1, 4096, quick).is_slow());
        assert!(!after(pace, 20, 4096, quick).is_slow());
    }

    #[test]
    fn a_disk_near_the_limit_keeps_its_state() {
        let between = LIMIT * 3 / 4;
        let pace = DiskPace::new(LIMIT);
        assert!(!after(pace, 100, 4096, between).is_slow());
        assert!(after(after(pace, 100, 4096, LIMIT * 2), 100, 4096, between).is_slow());
    }

    #[test]
    fn the_time_for_the_bytes_does_not_count() {
        let pace = DiskPace::new(LIMIT);
        assert!(!after(pace, 100, 8 * MEBIBYTE, Duration::from_millis(9)).is_slow());
        assert!(after(pace, 100, 8 * MEBIBYTE, Duration::from_millis(11)).is_slow());
    }

    #[test]
    fn with_a_zero_limit_every_disk_is_slow() {
        let pace = DiskPace::new(Duration::ZERO);
        assert!(pace.is_slow() && after(pace, 100, 0, Duration::ZERO).is_slow());
    }
}
