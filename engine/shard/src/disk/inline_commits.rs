//! Decides whether the shard executes a commit itself. Waking another thread and being woken by it
//! takes longer than a small write to a quick disk. On a slow disk, or for a large commit, the
//! shard gathers the next commit meanwhile.

use std::time::Duration;

use rustmq_engine_core::capped_mean::CappedMean;

/// Above this size, gathering the next commit meanwhile saves more than the wake-ups cost.
const BYTES_MAX: usize = 128 << 10;
/// A commit counts as at most this many times the limit: one slow commit is an accident, several
/// are a slow disk.
const OUTLIER_FACTOR: u32 = 4;

#[derive(Clone, Copy, Debug)]
pub(super) struct InlineCommits {
    /// The mean duration of small commits.
    small_commits: CappedMean,
    limit: Duration,
}

impl InlineCommits {
    /// The shard executes small commits itself while they take less than `limit` on average. Zero
    /// never lets it.
    pub(super) fn new(limit: Duration) -> Self {
        Self { small_commits: CappedMean::new(limit * OUTLIER_FACTOR), limit }
    }

    pub(super) fn allows(self, bytes: usize) -> bool {
        bytes <= BYTES_MAX && self.small_commits.mean() < self.limit
    }

    /// Takes the duration of a commit into account, whoever executed it.
    pub(super) fn note(&mut self, bytes: usize, took: Duration) {
        if bytes <= BYTES_MAX {
            self.small_commits.note(took);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BYTES_MAX, InlineCommits};
    use std::time::Duration;

    const QUICK: Duration = Duration::from_micros(150);
    const SLOW: Duration = Duration::from_millis(100);

    fn inline_commits() -> InlineCommits {
        InlineCommits::new(Duration::from_millis(1))
    }

    #[test]
    fn only_small_commits_are_inline() {
        assert!(inline_commits().allows(BYTES_MAX));
        assert!(!inline_commits().allows(BYTES_MAX + 1));
        assert!(!InlineCommits::new(Duration::ZERO).allows(1));
    }

    #[test]
    fn a_slow_disk_has_no_inline_commits_until_it_is_quick_again() {
        let mut inline_commits = inline_commits();
        inline_commits.note(1, SLOW);
        assert!(inline_commits.allows(1), "one accident");
        (0..2).for_each(|_| inline_commits.note(1, SLOW));
        assert!(!inline_commits.allows(1));
        (0..100).for_each(|_| inline_commits.note(1, SLOW));
        (0..20).for_each(|_| inline_commits.note(1, QUICK));
        assert!(inline_commits.allows(1));
    }

    #[test]
    fn large_commits_say_nothing_about_the_disk() {
        let mut inline_commits = inline_commits();
        (0..100).for_each(|_| inline_commits.note(BYTES_MAX + 1, SLOW));
        assert!(inline_commits.allows(1));
    }
}
