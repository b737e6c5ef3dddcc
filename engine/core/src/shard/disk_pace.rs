//! Whether the disk is slow: whether commits wait for it for much longer than their bytes take. Then a second one is written beside the first.
//!
//! ```text
//! quick --the mean reaches the limit--> slow --the mean falls below half of it--> quick
//! ```
//! The mean is one over the last commits, so that neither a single commit that was held up nor one that was lucky changes anything.

use std::time::Duration;

use crate::capped_mean::CappedMean;

/// What a commit's bytes are taken to cost: a gigabyte takes a second. A disk that needs longer for them leaves time to gather another commit, too, so
/// it may count as slow.
const BYTES_PER_NANOSECOND: u64 = 1;
/// A commit counts as at most this many times the limit: one that was slow is an accident, several are a slow disk.
const OUTLIER: u32 = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct DiskPace {
    /// How long commits wait beyond what their bytes cost.
    waits: CappedMean,
    limit: Duration,
    is_slow: bool,
}

impl DiskPace {
    /// With no limit, every disk is slow.
    pub(super) fn new(limit: Duration) -> Self {
        Self { waits: CappedMean::new(limit * OUTLIER), limit, is_slow: limit.is_zero() }
    }

    pub(super) const fn is_slow(self) -> bool {
        self.is_slow
    }

    /// A commit of so many bytes took that long.
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
    fn a_disk_is_slow_after_several_slow_commits_and_quick_again_after_many_quick_ones() {
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
    fn a_disk_about_the_limit_stays_what_it_was() {
        let between = LIMIT * 3 / 4;
        let pace = DiskPace::new(LIMIT);
        assert!(!after(pace, 100, 4096, between).is_slow());
        assert!(after(after(pace, 100, 4096, LIMIT * 2), 100, 4096, between).is_slow());
    }

    #[test]
    fn what_the_bytes_take_is_no_wait() {
        let pace = DiskPace::new(LIMIT);
        assert!(!after(pace, 100, 8 * MEBIBYTE, Duration::from_millis(9)).is_slow());
        assert!(after(pace, 100, 8 * MEBIBYTE, Duration::from_millis(11)).is_slow());
    }

    #[test]
    fn without_a_limit_every_disk_is_slow() {
        let pace = DiskPace::new(Duration::ZERO);
        assert!(pace.is_slow() && after(pace, 100, 0, Duration::ZERO).is_slow());
    }
}
