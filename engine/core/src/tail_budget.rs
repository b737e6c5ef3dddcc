//! How much memory recent batches may take: a share of what the machine (or the cgroup) has, less while others need it.
//!
//! ```text
//!              available < 10%: half of what is used, at most once a second, not below the floor
//! full budget ------------------------------------------------------------------------------> cut
//!      ^                                                                                        |
//!      +---- available >= 20%: twice as much every 10 s, up to the full budget -----------------+
//! ```
//! Where the numbers come from is the caller's matter, and that memory is given back in fact.

use std::time::Duration;

use rustmq_model::{ByteSize, Instant};

/// Of the smallest memory that holds the process, this part may be taken.
const PART: u64 = 8;
const LEAST: ByteSize = ByteSize::mib(128);
/// What recent batches keep however short memory is.
const FLOOR: ByteSize = ByteSize::mib(16);
/// One cut has to show its effect before the next.
const CUT_EVERY: Duration = Duration::from_secs(1);
const RESTORE_EVERY: Duration = Duration::from_secs(10);

/// One memory that the process lives in: the machine's, or a limited cgroup's. Bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLevel {
    pub total: u64,
    /// What can be taken before the system has to swap or to kill: free memory, and file pages that it can drop.
    pub available: u64,
}

impl MemoryLevel {
    /// Less than a tenth is left.
    const fn is_short(self) -> bool {
        self.available < self.total / 10
    }

    /// A fifth is left at least: the margin keeps a budget from swinging.
    const fn is_ample(self) -> bool {
        self.available >= self.total / 5
    }
}

/// What recent batches may take where nobody has said it: an eighth of the smallest of these memories, at least 128 MiB.
#[must_use]
pub fn tail_share(levels: &[MemoryLevel]) -> ByteSize {
    let smallest = levels.iter().map(|level| level.total).min().unwrap_or(0);
    ByteSize((smallest / PART).max(LEAST.0))
}

/// The budget over time.
#[derive(Clone, Debug)]
pub struct TailBudget {
    full: u64,
    budget: u64,
    changed: Option<Instant>,
}

impl TailBudget {
    #[must_use]
    pub const fn new(full: ByteSize) -> Self {
        Self { full: full.0, budget: full.0, changed: None }
    }

    /// Memory was looked at while `used` bytes of the budget were taken: the new budget, if it changes. Without a level nothing is known,
    /// and nothing changes.
    pub fn handle_levels(&mut self, now: Instant, levels: &[MemoryLevel], used: u64) -> Option<ByteSize> {
        let since = |time: Option<Instant>| time.map_or(Duration::MAX, |time| now.since(time));
        let next = if levels.iter().any(|level| level.is_short()) {
            if since(self.changed) < CUT_EVERY {
                return None;
            }
            // What was never taken cannot be given back.
            (self.budget.min(used) / 2).max(FLOOR.0).min(self.budget)
        } else if levels.iter().all(|level| level.is_ample()) && !levels.is_empty() {
            if since(self.changed) < RESTORE_EVERY {
                return None;
            }
            self.budget.saturating_mul(2).min(self.full)
        } else {
            return None;
        };
        if next == self.budget {
            return None;
        }
        self.budget = next;
        self.changed = Some(now);
        Some(ByteSize(next))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use rustmq_model::{ByteSize, Instant};

    use super::{MemoryLevel, TailBudget, tail_share};

    const MIB: u64 = 1 << 20;

    /// Of a machine with 1,000 MiB.
    fn machine(available: u64) -> MemoryLevel {
        MemoryLevel { total: 1_000 * MIB, available: available * MIB }
    }

    #[test]
    fn the_share_is_an_eighth_of_the_smallest_memory_and_128_mib_at_least() {
        let level = |gib: u64| MemoryLevel { total: gib << 30, available: 0 };
        for (levels, expected) in [
            (vec![], ByteSize::mib(128)),
            (vec![level(1)], ByteSize::mib(128)),
            (vec![level(64)], ByteSize::gib(8)),
            (vec![level(64), level(4)], ByteSize::mib(512)),
        ] {
            assert_eq!(tail_share(&levels), expected, "{levels:?}");
        }
    }

    #[test]
    fn the_budget_halves_while_memory_is_short_and_comes_back_when_it_is_ample() {
        let mut budget = TailBudget::new(ByteSize::mib(128));
        // Milliseconds, MiB available, MiB used, and the new budget in MiB.
        for (at, available, used, expected) in [
            (0, 500, 128, None),
            (500, 100, 128, None),
            (1_000, 99, 128, Some(64)),
            (1_500, 99, 70, None),
            (2_000, 150, 64, None),
            (2_500, 99, 64, Some(32)),
            (3_500, 99, 20, Some(16)),
            (4_500, 10, 16, None),
            (5_000, 199, 16, None),
            (9_000, 200, 16, None),
            (13_500, 200, 16, Some(32)),
            (14_000, 900, 32, None),
            (23_500, 900, 32, Some(64)),
            (24_000, 150, 64, None),
            (33_500, 900, 64, Some(128)),
            (43_500, 900, 128, None),
        ] {
            let now = Instant::default().plus(Duration::from_millis(at));
            let next = budget.handle_levels(now, &[machine(available)], used * MIB);
            assert_eq!(next, expected.map(ByteSize::mib), "at {at} ms");
        }
    }

    #[test]
    fn half_of_what_is_used_is_given_back_not_of_what_might_be() {
        let mut budget = TailBudget::new(ByteSize::gib(8));
        let now = Instant::default();
        assert_eq!(budget.handle_levels(now, &[machine(50)], 300 * MIB), Some(ByteSize::mib(150)));
    }

    #[test]
    fn any_short_memory_cuts_and_all_must_be_ample_to_restore() {
        let cgroup = |available| MemoryLevel { total: 100 * MIB, available: available * MIB };
        let mut budget = TailBudget::new(ByteSize::mib(128));
        let at = |seconds| Instant::default().plus(Duration::from_secs(seconds));
        assert_eq!(budget.handle_levels(at(0), &[], 128 * MIB), None);
        assert_eq!(budget.handle_levels(at(0), &[machine(900), cgroup(9)], 128 * MIB), Some(ByteSize::mib(64)));
        assert_eq!(budget.handle_levels(at(20), &[machine(900), cgroup(15)], 64 * MIB), None);
        assert_eq!(budget.handle_levels(at(21), &[], 64 * MIB), None);
        assert_eq!(budget.handle_levels(at(22), &[machine(900), cgroup(20)], 64 * MIB), Some(ByteSize::mib(128)));
    }
}
