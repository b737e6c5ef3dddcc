//! A sparse, bounded index over a log's batches: the offset from which a search for a timestamp
//! must start. The batches themselves say which record it is. The log has an index over all its
//! batches, for its checkpoints; readers have one over the durable batches.

use rustmq_model::{Offset, Timestamp};

/// The most entries. A full index drops every second entry, and doubles the distance between new
/// ones.
pub const ENTRIES_MAX: usize = 256;
/// The initial distance between entries, in bytes of batches.
pub const INTERVAL_BYTES_MIN: u64 = 32 << 10;

/// No record below `offset` is later than `largest`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeEntry {
    pub largest: Timestamp,
    pub offset: Offset,
}

/// The entries rise in both fields, strictly in their offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TimeIndex {
    pub(super) entries: Vec<TimeEntry>,
    /// At least the largest timestamp of all records so far, including trimmed ones.
    pub(super) largest: Timestamp,
    /// Below this offset, `largest` and the entries may state the time of a record that is gone: an
    /// earlier version kept it in a truncation.
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
    /// Adds a batch that begins at `base`, has `size` bytes, and no record later than
    /// `max_timestamp`.
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

    /// The log starts at `log_start` now.
    pub fn trim(&mut self, log_start: Offset) {
        let gone = self.entries.partition_point(|entry| entry.offset <= log_start);
        self.entries.drain(..gone);
    }

    /// The offset where a search for a record with at least `timestamp` must start: no record
    /// between `log_start` and it is that late.
    #[must_use]
    pub fn search_from(&self, timestamp: Timestamp, log_start: Offset) -> Offset {
        let earlier = self.entries.partition_point(|entry| entry.largest < timestamp);
        self.start_of(earlier, log_start)
    }

    /// The offset where a search for the largest timestamp below `until` must start: the first
    /// record that has it is not below this offset.
    #[must_use]
    pub fn search_largest_from(&self, log_start: Offset, until: Offset) -> Offset {
        // A record below the last entry reaches that entry's `largest`, unless that record is
        // trimmed; then all entries that are left state the same `largest`. Neither holds after a
        // truncation by an earlier version, until the log starts above it.
        if log_start < self.inexact_below {
            return log_start;
        }
        let whole = self.entries.partition_point(|entry| entry.offset <= until);
        self.entries[..whole].last().map_or(log_start, |last| self.search_from(last.largest, log_start))
    }

    fn start_of(&self, after: usize, log_start: Offset) -> Offset {
        after.checked_sub(1).map_or(log_start, |index| self.entries[index].offset.max(log_start))
    }

    pub(super) fn is_ordered(&self) -> bool {
        let is_ordered = |pair: &[TimeEntry]| pair[0].largest <= pair[1].largest && pair[0].offset < pair[1].offset;
        self.entries.len() <= ENTRIES_MAX
            && self.interval_bytes >= INTERVAL_BYTES_MIN
            && self.entries.windows(2).all(is_ordered)
            && self.entries.last().is_none_or(|last| last.largest <= self.largest)
    }
}

#[cfg(test)]
mod tests {
    use super::{ENTRIES_MAX, INTERVAL_BYTES_MIN, TimeIndex};
    use rustmq_model::{Offset, Timestamp};

    /// One batch per offset, each as large as the first interval, and later than the previous one.
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
            assert!(index.is_ordered() && index.entries.len() <= ENTRIES_MAX, "{count} batches");
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
