//! From where a log must be searched for a timestamp: a sparse, bounded index over its batches. Which record it is, only the
//! batches themselves say. The log has one over all of its batches, for its checkpoints; readers have one over those that are durable.

use rustmq_model::{Offset, Timestamp};

/// Entries at most. When they are full every second one goes, and the distance between new ones doubles.
pub const ENTRIES_MAX: usize = 256;
/// Bytes of batches between entries, at first.
pub const INTERVAL_BYTES_MIN: u64 = 32 << 10;

/// No record below `offset` is later than `largest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub largest: Timestamp,
    pub offset: Offset,
}

/// Both fields of its entries rise, offsets strictly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeIndex {
    pub(super) entries: Vec<TimeEntry>,
    /// At least the largest timestamp of all records so far, trimmed ones included.
    pub(super) largest: Timestamp,
    /// Below this a truncation by an earlier version may have left, in `largest` and in entries, the time of a record that is gone.
    pub(super) inexact_below: Offset,
    pub(super) interval_bytes: u64,
    pub(super) bytes_since: u64,
}

impl Default for TimeIndex {
    fn default() -> Self {
        let (largest, inexact_below) = (Timestamp::NONE, Offset::ZERO);
        Self { entries: Vec::new(), largest, inexact_below, interval_bytes: INTERVAL_BYTES_MIN, bytes_since: 0 }
    }
}

impl TimeIndex {
    /// Notes a batch that begins at `base`, has `size` bytes, and no record later than `max_timestamp`.
    pub fn append(&mut self, base: Offset, size: usize, max_timestamp: Timestamp) {
        if self.bytes_since >= self.interval_bytes {
            self.push(TimeEntry { largest: self.largest, offset: base });
            self.bytes_since = 0;
        }
        self.largest = self.largest.max(max_timestamp);
        self.bytes_since = self.bytes_since.saturating_add(u64::try_from(size).unwrap_or(u64::MAX));
    }

    fn push(&mut self, entry: TimeEntry) {
        if self.entries.len() == ENTRIES_MAX {
            let mut index = 0;
            self.entries.retain(|_| {
                index += 1;
                index % 2 == 0
            });
            self.interval_bytes = self.interval_bytes.saturating_mul(2);
        }
        self.entries.push(entry);
    }

    /// The log starts there now.
    pub fn trim(&mut self, log_start: Offset) {
        let gone = self.entries.partition_point(|entry| entry.offset <= log_start);
        self.entries.drain(..gone);
    }

    /// No record below the answer (and at or above `log_start`) has at least `timestamp`.
    #[must_use]
    pub fn search_from(&self, timestamp: Timestamp, log_start: Offset) -> Offset {
        let earlier = self.entries.partition_point(|entry| entry.largest < timestamp);
        self.start_of(earlier, log_start)
    }

    /// The first record with the largest timestamp of what lies below `until` is not below the answer.
    #[must_use]
    pub fn search_largest_from(&self, log_start: Offset, until: Offset) -> Offset {
        // The last entry's bound is reached by a record below it, or by a trimmed one and then by no entry's that is left. Not so
        // after a truncation, until the log starts above it.
        if log_start < self.inexact_below {
            return log_start;
        }
        let whole = self.entries.partition_point(|entry| entry.offset <= until);
        self.entries[..whole].last().map_or(log_start, |last| self.search_from(last.largest, log_start))
    }

    fn start_of(&self, after: usize, log_start: Offset) -> Offset {
        after.checked_sub(1).map_or(log_start, |index| self.entries[index].offset.max(log_start))
    }

    pub(super) fn rises(&self) -> bool {
        let rises = |pair: &[TimeEntry]| pair[0].largest <= pair[1].largest && pair[0].offset < pair[1].offset;
        self.entries.len() <= ENTRIES_MAX
            && self.interval_bytes >= INTERVAL_BYTES_MIN
            && self.entries.windows(2).all(rises)
            && self.entries.last().is_none_or(|last| last.largest <= self.largest)
    }
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES_MAX, INTERVAL_BYTES_MIN, TimeIndex};
    use rustmq_model::{Offset, Timestamp};

    /// A batch per offset, each as large as the first interval, each later than the one before.
    fn filled(count: i64) -> TimeIndex {
        let mut index = TimeIndex::default();
        let size = usize::try_from(INTERVAL_BYTES_MIN).expect("it is small");
        (0..count).for_each(|offset| index.append(Offset(offset), size, Timestamp(offset * 10)));
        index
    }

    #[test]
    fn a_full_index_is_thinned_and_still_bounds_the_search() {
        for count in [3, 256, 257, 258, 1_000, 5_000] {
            let index = filled(count);
            assert!(index.rises() && index.entries.len() <= ENTRIES_MAX, "{count} batches");
            let gap_max = i64::try_from(2 * index.interval_bytes / INTERVAL_BYTES_MIN).expect("it is small");
            for wanted in 0..count {
                let from = index.search_from(Timestamp(wanted * 10), Offset::ZERO).0;
                assert!(from <= wanted && wanted - from <= gap_max, "{wanted} of {count} is searched from {from}");
            }
            let from = index.search_largest_from(Offset::ZERO, Offset(count)).0;
            assert!(from < count && count - from <= 3 * gap_max, "the largest of {count} is searched from {from}");
        }
    }

    #[test]
    fn a_search_never_starts_below_the_log_start() {
        let mut index = filled(100);
        index.trim(Offset(50));
        assert_eq!(index.search_from(Timestamp(100), Offset(50)), Offset(50));
        assert_eq!(index.search_from(Timestamp(900), Offset(50)), Offset(90));
    }

    #[test]
    fn after_a_truncation_the_largest_is_searched_from_the_start() {
        let mut index = filled(100);
        index.entries.retain(|entry| entry.offset < Offset(60));
        index.inexact_below = Offset(60);
        assert_eq!(index.search_largest_from(Offset(10), Offset(60)), Offset(10));
        assert_eq!(index.search_from(Timestamp(590), Offset(10)), Offset(59));
    }
}
