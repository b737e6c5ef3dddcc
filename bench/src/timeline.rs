//! The clock of one run: instants in nanoseconds since its start, the measured window, and waiting
//! until an instant.

use std::fs;
use std::ops::Range;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

/// The length of the warm-up and of the measured window.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    pub warmup: Duration,
    pub window: Duration,
}

/// The time axis of a run. The load runs without a break from 0 through the warm-up to the end of
/// the window.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    start: Instant,
    timing: Timing,
}

impl Timeline {
    pub fn begin(timing: Timing) -> Timeline {
        Timeline { start: Instant::now(), timing }
    }

    pub fn now(&self) -> u64 {
        nanos(self.start.elapsed())
    }

    /// The instants within the window.
    pub fn window(&self) -> Range<u64> {
        nanos(self.timing.warmup)..nanos(self.timing.warmup + self.timing.window)
    }

    /// Sleeps until `at`. Returns at once if that has passed.
    pub fn wait_until(&self, at: u64) {
        loop {
            let now = self.now();
            if now >= at {
                return;
            }
            thread::sleep(Duration::from_nanos(at - now));
        }
    }
}

pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).expect("a run is shorter than five centuries")
}

/// Lets the calling thread wake at the requested time, not up to 50 us later. Threads and processes
/// that it starts inherit this, so it must never be called on a thread that starts a broker.
pub fn wake_precisely() {
    // Without it, the generator is late by the same time for every contender.
    let Ok(thread) = fs::read_link("/proc/thread-self") else { return };
    if let Some(id) = thread.file_name() {
        let _ = fs::write(Path::new("/proc").join(id).join("timerslack_ns"), "1");
    }
}
