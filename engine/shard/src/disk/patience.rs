//! Whether the shard waits for a commit itself. Waking another thread and being woken by it costs more than a small write to a quick disk
//! takes; to a slow disk, or a large one, the shard had better gather the next commit meanwhile.

use std::time::Duration;

use rustmq_engine_core::capped_mean::CappedMean;

/// For more bytes, gathering the next commit meanwhile saves more than the wakes cost.
const BYTES_MAX: usize = 128 << 10;
/// A commit counts as at most this many times the limit: one that was slow is an accident, several are a slow disk.
const OUTLIER: u32 = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct Patience {
    /// How long small commits take.
    small_commits: CappedMean,
    limit: Duration,
}

impl Patience {
    /// The shard waits itself while small commits take less than `limit` in the mean. Zero: never.
    pub(super) fn new(limit: Duration) -> Self {
        Self { small_commits: CappedMean::new(limit * OUTLIER), limit }
    }

    pub(super) fn waits_for(self, bytes: usize) -> bool {
        bytes <= BYTES_MAX && self.small_commits.mean() < self.limit
    }

    /// A commit took that long, whoever made it.
    pub(super) fn note(&mut self, bytes: usize, took: Duration) {
        if bytes <= BYTES_MAX {
            self.small_commits.note(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, Patience};
    use std::time::Duration;

    const QUICK: Duration = Duration::from_micros(150);
    const SLOW: Duration = Duration::from_millis(100);

    fn patience() -> Patience {
        Patience::new(Duration::from_millis(1))
    }

    #[test]
    fn only_small_commits_are_waited_for() {
        assert!(patience().waits_for(BYTES_MAX));
        assert!(!patience().waits_for(BYTES_MAX + 1));
        assert!(!Patience::new(Duration::ZERO).waits_for(1));
    }

    #[test]
    fn a_slow_disk_is_not_waited_for_until_it_is_quick_again() {
        let mut patience = patience();
        patience.note(1, SLOW);
        assert!(patience.waits_for(1), "one accident");
        (0..2).for_each(|_| patience.note(1, SLOW));
        assert!(!patience.waits_for(1));
        (0..100).for_each(|_| patience.note(1, SLOW));
        (0..20).for_each(|_| patience.note(1, QUICK));
        assert!(patience.waits_for(1));
    }

    #[test]
    fn large_commits_say_nothing_about_the_disk() {
        let mut patience = patience();
        (0..100).for_each(|_| patience.note(BYTES_MAX + 1, SLOW));
        assert!(patience.waits_for(1));
    }
}
