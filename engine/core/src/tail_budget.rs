//! The memory budget of recent batches: a share of the memory of the machine or of its cgroup, and
//! a smaller one while other processes need memory.
//!
//! ```text
//!              available < 10%: half of the used bytes, at most once a second, not below the floor
//! full budget ------------------------------------------------------------------------------> cut
//!      ^                                                                                        |
//!      +---- available >= 20%: twice as much every 10 s, up to the full budget -----------------+
//! ```
//! The caller reads the memory levels, and frees the memory that a cut takes away.

use std::time::Duration;

use rustmq_model::{ByteSize, Instant};

/// The default budget is the smallest memory that holds the process, divided by this.
const MEMORY_DIVISOR: u64 = 8;
/// The smallest default budget.
const DEFAULT_MIN: ByteSize = ByteSize::mib(128);
/// No cut goes below this, however short memory is.
const FLOOR: ByteSize = ByteSize::mib(16);
/// A cut must take effect before the next one.
const CUT_INTERVAL: Duration = Duration::from_secs(1);
/// The least time from a change of the budget to an increase.
const RESTORE_INTERVAL: Duration = Duration::from_secs(10);

const _: () = {
    assert!(FLOOR.0 <= DEFAULT_MIN.0, "no default budget is below the floor");
    assert!(CUT_INTERVAL.as_nanos() < RESTORE_INTERVAL.as_nanos(), "a budget falls faster than it rises");
};

/// A memory that bounds the process: the machine's, or a limited cgroup's. In bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MemoryLevel {
    pub total: u64,
    /// The memory that can be taken before the system must swap or kill: free memory, and file
    /// pages that it can drop.
    pub available: u64,
}

impl MemoryLevel {
    /// Less than a tenth is available.
    const fn is_short(self) -> bool {
        self.available < self.total / 10
    }

    /// At least a fifth is available. The distance to [`Self::is_short`] keeps the budget from
    /// oscillating.
    const fn is_ample(self) -> bool {
        self.available >= self.total / 5
    }
}

/// The default budget of recent batches: an eighth of the smallest of these memories, at least 128
/// MiB.
#[must_use]
pub fn tail_share(levels: &[MemoryLevel]) -> ByteSize {
    let smallest = levels.iter().map(|level| level.total).min().unwrap_or(0);
    ByteSize((smallest / MEMORY_DIVISOR).max(DEFAULT_MIN.0))
}

/// The budget, which follows the available memory.
#[derive(Clone, Debug)]
pub struct TailBudget {
    /// The budget while memory is ample, in bytes.
    full: u64,
    /// The current budget, in bytes.
    budget: u64,
    changed: Option<Instant>,
}

impl TailBudget {
    #[must_use]
    pub const fn new(full: ByteSize) -> Self {
        Self { full: full.0, budget: full.0, changed: None }
    }

    /// Takes the memory levels at `now`, when `used` bytes of the budget were taken. Returns the
    /// new budget if it changes. Without any level nothing is known, and nothing changes.
    pub fn handle_levels(&mut self, now: Instant, levels: &[MemoryLevel], used: u64) -> Option<ByteSize> {
        let since = |time: Option<Instant>| time.map_or(Duration::MAX, |time| now.since(time));
        let next = if levels.iter().any(|level| level.is_short()) {
            if since(self.changed) < CUT_INTERVAL {
                return None;
            }
            // Only used memory can be given back.
            (self.budget.min(used) / 2).max(FLOOR.0).min(self.budget)
        } else if levels.iter().all(|level| level.is_ample()) && !levels.is_empty() {
            if since(self.changed) < RESTORE_INTERVAL {
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

    /// A machine with 1,000 MiB.
    fn machine(available: u64) -> MemoryLevel {
        MemoryLevel { total: 1_000 * MIB, available: available * MIB }
    }

    #[test]
    fn the_share_is_an_eighth_of_the_smallest_memory_and_at_least_128_mib() {
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
    fn the_budget_halves_while_memory_is_short_and_recovers_while_it_is_ample() {
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
    fn a_cut_halves_the_used_bytes_and_not_the_budget() {
        let mut budget = TailBudget::new(ByteSize::gib(8));
        let now = Instant::default();
        assert_eq!(budget.handle_levels(now, &[machine(50)], 300 * MIB), Some(ByteSize::mib(150)));
    }

    #[test]
    fn one_short_memory_cuts_and_all_must_be_ample_to_restore() {
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
