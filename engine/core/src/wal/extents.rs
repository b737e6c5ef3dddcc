//! The places of one partition's batches in one segment, by offset. A lookup takes logarithmic
//! time, whatever the order in which the batches came.

use std::ops::Range;

use rustmq_model::{Offset, Timestamp};

use super::retention::is_dated;

/// Batches of one partition in one group, with consecutive offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    pub group_offset: u32,
    /// The length of the batches, in bytes; 0 for a damaged range.
    pub bytes: u32,
    pub first: Offset,
    pub end: Offset,
    /// The timestamp for retention: the largest one of the records, or the time of the append if
    /// they have none.
    pub max_timestamp: Timestamp,
    /// A [`super::DamagedRange`] in the group replaces the batches.
    pub is_damaged: bool,
}

impl Extent {
    /// Extents without a timestamp stay apart from those with one, so that they can be given one.
    fn is_continued_by(&self, next: &Self) -> bool {
        let follows = self.end == next.first && self.group_offset == next.group_offset;
        follows && self.is_damaged == next.is_damaged && is_dated(self.max_timestamp) == is_dated(next.max_timestamp)
    }

    /// The offset that the extent's group reaches at least.
    const fn known_end(&self) -> u32 {
        self.group_offset.saturating_add(self.bytes)
    }

    const fn place(&self) -> (Offset, u32) {
        (self.first, self.group_offset)
    }

    fn join(&mut self, next: &Self) {
        self.end = next.end;
        self.bytes = self.bytes.saturating_add(next.bytes);
        self.max_timestamp = self.max_timestamp.max(next.max_timestamp);
    }
}

/// The extents of one partition in one segment, ascending by first offset, then by group. That is
/// not the order of the groups: relocated batches have lower offsets than batches that were
/// appended before them. A batch that was relocated within its segment has two extents.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extents(Vec<Entry>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Entry {
    extent: Extent,
    /// The highest end of this extent and of all before it. It never decreases, although the ends
    /// of overlapping extents may.
    max_end: Offset,
}

/// The range that a reader asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadRange {
    pub from: Offset,
    pub until: Offset,
    /// The bytes of batches to find; the extent that reaches this number is included.
    pub bytes: usize,
}

/// The most extents in the result of one lookup. It bounds the work of a read, and of a lookup for
/// a relocation.
pub const EXTENTS_MAX: usize = 1024;

/// The most runs of groups to read ahead, not counting the run that the reader is in.
pub const RUNS_AHEAD: usize = 3;
/// A run ends with the group that crosses a multiple of this, in bytes. So all readers read ahead
/// the same runs.
const RUN_BYTES: u32 = 1 << 20;
/// If the next group begins further than this after the start of a run, in bytes, the run ends at
/// its last known byte: most of the bytes between belong to other partitions.
const RUN_BYTES_MAX: u32 = 4 * RUN_BYTES;

const _: () = assert!(RUN_BYTES <= RUN_BYTES_MAX, "consecutive groups of a run are near each other");

impl Extents {
    /// The lowest extent that holds `offset`, or the first one after it.
    #[must_use]
    pub fn find(&self, offset: Offset) -> Option<&Extent> {
        self.between(offset, Offset(i64::MAX)).next()
    }

    /// The extents that hold offsets from `first` on and below `end`.
    pub fn between(&self, first: Offset, end: Offset) -> impl Iterator<Item = &Extent> {
        let after = &self.0[self.0.partition_point(|entry| entry.max_end <= first)..];
        let extents = after.iter().map(|entry| &entry.extent).take_while(move |extent| extent.first < end);
        extents.filter(move |extent| extent.end > first)
    }

    /// The extents that hold the first `range.bytes` bytes of the range, at most [`EXTENTS_MAX`],
    /// and at least one if there is any.
    #[must_use]
    pub fn wanted(&self, range: ReadRange) -> Vec<Extent> {
        let mut wanted: Vec<Extent> = Vec::new();
        let mut bytes = 0;
        for extent in self.between(range.from, range.until).take(EXTENTS_MAX) {
            // The first extent does not count: the range may include only its last offset.
            let is_first = wanted.is_empty();
            wanted.push(*extent);
            bytes += if is_first { 0 } else { extent.bytes as usize };
            if bytes >= range.bytes {
                break;
            }
        }
        wanted
    }

    /// The runs of groups that hold the extents from `extent` on, below `until`. A run ends where
    /// the next one begins. If that is far away, or there is none, it ends at the last byte that is
    /// known to belong to its last group, which may lie within that group.
    #[must_use]
    pub fn runs_from(&self, extent: &Extent, until: Offset) -> Vec<Range<u32>> {
        let mut runs = Vec::new();
        let (mut begin, mut end) = (extent.group_offset, extent.known_end());
        for next in self.between(extent.end, until).take(EXTENTS_MAX) {
            let at = next.group_offset;
            if at > begin && at / RUN_BYTES != begin / RUN_BYTES {
                let is_near = at - begin <= RUN_BYTES_MAX;
                runs.push(begin..if is_near { at } else { end });
                if runs.len() > RUNS_AHEAD {
                    return runs;
                }
                (begin, end) = (at, next.known_end());
            } else if at >= begin {
                end = end.max(next.known_end());
            }
            // An extent at a lower offset of the segment is out of order because of a relocation;
            // runs do not go back.
        }
        runs.push(begin..end);
        runs
    }

    #[must_use]
    pub const fn len(&self) -> usize {
        self.0.len()
    }

    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &Extent> {
        self.0.iter().map(|entry| &entry.extent)
    }

    /// Adds an extent, usually at the end. An extent that continues another one of its group is
    /// joined to it.
    pub(super) fn insert(&mut self, extent: Extent) {
        let mut at = self.0.partition_point(|entry| entry.extent.place() <= extent.place());
        let before = at.checked_sub(1).and_then(|before| self.0.get_mut(before)).map(|entry| &mut entry.extent);
        match before.filter(|before| before.is_continued_by(&extent)) {
            Some(before) => {
                before.join(&extent);
                at -= 1;
            }
            None => self.0.insert(at, Entry { extent, max_end: extent.end }),
        }
        let mut max_end = at.checked_sub(1).map_or(Offset(i64::MIN), |before| self.0[before].max_end);
        for entry in &mut self.0[at..] {
            max_end = max_end.max(entry.extent.end);
            // The ends after an unchanged `max_end` are unchanged too.
            if entry.max_end == max_end && entry.extent.place() > extent.place() {
                break;
            }
            entry.max_end = max_end;
        }
    }

    /// Removes the offsets from `end` on.
    pub(super) fn truncate(&mut self, end: Offset) {
        self.0.truncate(self.0.partition_point(|entry| entry.extent.first < end));
        for entry in &mut self.0 {
            entry.extent.end = entry.extent.end.min(end);
            entry.max_end = entry.max_end.min(end);
        }
    }

    /// Gives extents without a timestamp the timestamp `at`.
    pub(super) fn date(&mut self, at: Timestamp) {
        let undated = self.0.iter_mut().map(|entry| &mut entry.extent).filter(|extent| !is_dated(extent.max_timestamp));
        undated.for_each(|extent| extent.max_timestamp = at);
    }

    pub(super) fn clear(&mut self) {
        self.0.clear();
    }
}

impl FromIterator<Extent> for Extents {
    /// The extents may come in any order, since they may come from a disk.
    fn from_iter<I: IntoIterator<Item = Extent>>(extents: I) -> Self {
        let mut entries: Vec<_> = extents.into_iter().map(|extent| Entry { extent, max_end: extent.end }).collect();
        entries.sort_by_key(|entry| entry.extent.place());
        let mut max_end = Offset(i64::MIN);
        for entry in &mut entries {
            max_end = max_end.max(entry.extent.end);
            entry.max_end = max_end;
        }
        Self(entries)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustmq_model::{Offset, Timestamp};

    use super::{Extent, Extents, RUNS_AHEAD, ReadRange};

    fn extent(group_offset: u32, first: i64, end: i64) -> Extent {
        Extent {
            group_offset,
            bytes: 1,
            first: Offset(first),
            end: Offset(end),
            max_timestamp: Timestamp(0),
            is_damaged: false,
        }
    }

    fn inserted(extents: &[Extent]) -> Extents {
        let mut all = Extents::default();
        extents.iter().for_each(|extent| all.insert(*extent));
        all
    }

    fn ranges(extents: &Extents) -> Vec<(u32, i64, i64)> {
        extents.iter().map(|extent| (extent.group_offset, extent.first.0, extent.end.0)).collect()
    }

    #[test]
    fn an_extent_is_found_by_each_of_its_offsets_whatever_the_order_of_insertion() {
        let appended = [extent(1, 10, 20), extent(2, 20, 30), extent(3, 40, 50)];
        let check = |extents: &Extents, expected: &[(i64, Option<u32>)]| {
            for (offset, group) in expected {
                assert_eq!(extents.find(Offset(*offset)).map(|extent| extent.group_offset), *group, "{offset}");
            }
        };
        let expected = [(0, Some(1)), (10, Some(1)), (19, Some(1)), (20, Some(2)), (35, Some(3)), (50, None)];
        check(&inserted(&appended), &expected);
        let relocated = [&appended[..], &[extent(4, 0, 5), extent(4, 5, 10)]].concat();
        let expected = [(0, Some(4)), (9, Some(4)), (10, Some(1)), (49, Some(3)), (50, None)];
        check(&inserted(&relocated), &expected);
        check(&relocated.iter().copied().collect(), &expected);
        assert_eq!(inserted(&relocated).len(), 4, "an extent that continues another one of its group joins it");
    }

    #[test]
    fn where_extents_overlap_the_lowest_holds_the_offset() {
        let overlapping =
            [extent(1, 10, 20), extent(2, 15, 25), extent(3, 5, 12), extent(4, 16, 18), extent(5, 10, 20)];
        for extents in [inserted(&overlapping), overlapping.into_iter().collect()] {
            for offset in 0..30 {
                let holding = overlapping.iter().filter(|extent| extent.end > Offset(offset));
                let lowest = holding.min_by_key(|extent| extent.first);
                assert_eq!(extents.find(Offset(offset)), lowest, "{offset}");
            }
            let between = extents.between(Offset(12), Offset(16)).map(|extent| extent.group_offset);
            assert_eq!(between.collect::<Vec<_>>(), [1, 5, 2], "extents that end before the range are left out");
        }
    }

    #[test]
    fn a_reader_gets_as_many_extents_as_may_hold_its_bytes() {
        let extents = inserted(&[extent(1, 0, 5), extent(2, 5, 6), extent(3, 6, 7), extent(4, 7, 8)]);
        let wanted = |from, until, bytes| {
            let range = ReadRange { from: Offset(from), until: Offset(until), bytes };
            extents.wanted(range).iter().map(|extent| extent.group_offset).collect::<Vec<_>>()
        };
        assert_eq!(wanted(0, 8, 0), [1]);
        assert_eq!(wanted(4, 8, 2), [1, 2, 3]);
        assert_eq!(wanted(5, 7, 100), [2, 3]);
        assert_eq!(wanted(8, 9, 100), [0; 0]);
    }

    #[test]
    fn runs_ahead_are_whole_groups_and_the_same_for_all_readers() {
        const MIB: u32 = 1 << 20;
        let groups = |starts: &[u32]| -> Vec<Extent> {
            (0..).zip(starts).map(|(offset, start)| extent(*start, offset, offset + 1)).collect()
        };
        let small: Vec<u32> = (0..2_000).map(|number| 4096 + number * 8_000).collect();
        let all = groups(&small);
        let extents = inserted(&all);
        let first = extents.runs_from(&all[0], Offset(i64::MAX));
        assert_eq!(first.len(), 1 + RUNS_AHEAD);
        assert_eq!(first[0].start, small[0]);
        for (run, next) in first.iter().zip(&first[1..]) {
            assert_eq!(run.end, next.start, "no group is left out");
            assert!(small.contains(&run.end) && run.end % MIB < 8_000, "the first group past the multiple");
        }
        assert_eq!(extents.runs_from(&all[100], Offset(i64::MAX))[0], small[100]..first[0].end);
        let end = extents.runs_from(&all[1_999], Offset(i64::MAX));
        assert_eq!(end, vec![small[1_999]..small[1_999] + 1]);

        assert_eq!(extents.runs_from(&all[0], Offset(100)), vec![4096..small[99] + 1]);

        // Large groups, a group far after the others, and a relocated one.
        let all = groups(&[4096, 3 * MIB, 5 * MIB, 30 * MIB, 8192]);
        let expected = [4096..3 * MIB, 3 * MIB..5 * MIB, 5 * MIB..5 * MIB + 1, 30 * MIB..30 * MIB + 1];
        assert_eq!(inserted(&all).runs_from(&all[0], Offset(i64::MAX)), expected);
        let all = groups(&[4096, 900_000, 8192]);
        assert_eq!(inserted(&all).runs_from(&all[0], Offset(i64::MAX)), vec![4096..900_001]);
    }

    #[test]
    fn a_truncation_cuts_the_last_extent() {
        let mut extents = inserted(&[extent(1, 10, 20), extent(2, 20, 30), extent(3, 0, 10)]);
        extents.truncate(Offset(15));
        assert_eq!(ranges(&extents), [(3, 0, 10), (1, 10, 15)]);
        assert_eq!(extents.find(Offset(15)), None);
        extents.insert(extent(4, 15, 17));
        assert_eq!(extents.find(Offset(16)).unwrap().group_offset, 4);
        extents.truncate(Offset(15));
        extents.truncate(Offset(0));
        assert!(extents.is_empty());
    }
}
