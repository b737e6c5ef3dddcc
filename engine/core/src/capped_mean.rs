//! A mean of recent durations that a single outlier cannot move far.

use std::time::Duration;

/// Each duration moves the mean by 1/`WEIGHT` of its distance from the mean.
const WEIGHT: u32 = 8;

/// An exponentially weighted mean. One outlier moves it by at most an eighth of the cap; a series
/// of them moves it to the cap.
#[derive(Clone, Copy, Debug)]
pub struct CappedMean {
    mean: Duration,
    /// Longer durations count as this one.
    cap: Duration,
}

impl CappedMean {
    #[must_use]
    pub const fn new(cap: Duration) -> Self {
        Self { mean: Duration::ZERO, cap }
    }

    pub fn note(&mut self, duration: Duration) {
        self.mean = (self.mean * (WEIGHT - 1) + duration.min(self.cap)) / WEIGHT;
    }

    #[must_use]
    pub const fn mean(self) -> Duration {
        self.mean
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::CappedMean;

    #[test]
    fn one_outlier_counts_as_the_cap_and_a_series_moves_the_mean_to_it() {
        let cap = Duration::from_millis(8);
        let mut mean = CappedMean::new(cap);
        mean.note(Duration::from_secs(60));
        assert_eq!(mean.mean(), Duration::from_millis(1));
        (0..100).for_each(|_| mean.note(Duration::from_secs(60)));
        assert!(mean.mean() > cap * 99 / 100 && mean.mean() <= cap);
        (0..100).for_each(|_| mean.note(Duration::ZERO));
        assert!(mean.mean() < Duration::from_micros(1));
    }
}
