//! The latencies of the records that were due in the window. Each is measured from the instant when
//! its record was due: a stall of the broker or of the generator counts against every record that
//! it delays.

use crate::timeline::Timeline;
use hdrhistogram::Histogram;
use std::ops::Range;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Three significant digits, up to ten minutes.
const LONGEST_NANOS: u64 = 600_000_000_000;
const DIGITS: u8 = 3;

pub struct Latencies {
    timeline: Timeline,
    window: Range<u64>,
    histogram: Mutex<Histogram<u64>>,
}

impl Latencies {
    pub fn new(timeline: Timeline) -> Latencies {
        let histogram = Histogram::new_with_max(LONGEST_NANOS, DIGITS).expect("the bounds are sound");
        Latencies { timeline, window: timeline.window(), histogram: Mutex::new(histogram) }
    }

    /// A record that was due at `due` arrives now.
    pub fn arrived(&self, due: u64) {
        if self.window.contains(&due) {
            let late = self.timeline.now().saturating_sub(due);
            self.histogram().saturating_record(late);
        }
    }

    pub fn counted(&self) -> u64 {
        self.histogram().len()
    }

    /// Waits until `expected` records have arrived. After `patience`, the missing records are
    /// entered with the shortest time that they can have taken: from the window's end until now.
    /// Returns their number.
    pub fn settle(&self, expected: u64, patience: Duration) -> u64 {
        let deadline = self.timeline.now() + crate::timeline::nanos(patience);
        while self.counted() < expected && self.timeline.now() < deadline {
            std::thread::sleep(Duration::from_millis(5));
        }
        let mut histogram = self.histogram();
        let missing = expected.saturating_sub(histogram.len());
        if missing > 0 {
            let least = self.timeline.now().saturating_sub(self.window.end).clamp(1, LONGEST_NANOS);
            histogram.saturating_record_n(least, missing);
        }
        missing
    }

    pub fn take(&self) -> Histogram<u64> {
        self.histogram().clone()
    }

    fn histogram(&self) -> MutexGuard<'_, Histogram<u64>> {
        // A panic on another thread cannot leave a count half changed.
        self.histogram.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::Timing;

    fn begun(warmup_ms: u64, window_ms: u64) -> (Timeline, Latencies) {
        let [warmup, window] = [warmup_ms, window_ms].map(Duration::from_millis);
        let timeline = Timeline::begin(Timing { warmup, window });
        (timeline, Latencies::new(timeline))
    }

    #[test]
    fn only_what_was_due_in_the_window_counts() {
        let (_, latencies) = begun(10, 10);
        for due in [0, 9_999_999, 10_000_000, 19_999_999, 20_000_000] {
            latencies.arrived(due);
        }
        assert_eq!(latencies.counted(), 2);
    }

    #[test]
    fn a_record_that_waits_to_be_sent_is_late_from_when_it_was_due() {
        let (timeline, latencies) = begun(0, 1_000);
        timeline.wait_until(50_000_000);
        latencies.arrived(10_000_000);
        assert!(latencies.take().min() >= 39_000_000);
    }

    #[test]
    fn what_never_arrives_is_not_left_out() {
        let (timeline, latencies) = begun(0, 1);
        latencies.arrived(0);
        timeline.wait_until(20_000_000);
        assert_eq!(latencies.settle(4, Duration::from_millis(10)), 3);
        let histogram = latencies.take();
        assert_eq!(histogram.len(), 4);
        assert!(histogram.max() >= 19_000_000);
    }
}
