//! Groups of one reader that lie far apart in a segment, read in one pass that leaves out the bytes
//! between them. A coordinator's log is like this: its small commits lie between everything else
//! that the shard writes.

use std::ops::Range;

use bytes::Bytes;
use rustmq_engine_core::wal::Extent;
use rustmq_engine_core::wal::read_check::group_size;

use crate::read_memory::ReadBuffer;
use crate::segment_file::SegmentFile;
use crate::window::WindowError;

/// A disk takes about as long for this many additional bytes as for another read.
const WORTH_A_READ: u32 = 128 << 10;

/// A group within bytes that were read: its offset in the segment, its size, and its index in the
/// bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlacedGroup {
    pub offset: u32,
    pub size: u32,
    pub at: usize,
}

/// Runs of groups in ascending order; each run begins with a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ScatteredGroups {
    runs: Vec<Range<u32>>,
}

impl ScatteredGroups {
    /// The groups of `extents`, as long as they ascend and take at most `bytes_max` bytes, assuming
    /// that each has `size` bytes. `None` if the groups are not scattered: then the bytes between
    /// them are read as well.
    pub(crate) fn of(extents: &[Extent], size: u32, bytes_max: usize) -> Option<Self> {
        let mut runs: Vec<Range<u32>> = Vec::new();
        let mut bytes = 0;
        for Extent { group_offset: offset, .. } in extents.iter().take_while(|extent| !extent.is_damaged) {
            let end = offset.saturating_add(size);
            let last = runs.last_mut();
            if last.as_ref().is_some_and(|last| end < last.end) {
                // A batch that was moved here lies behind later batches.
                break;
            }
            match last.filter(|last| *offset < last.end.saturating_add(WORTH_A_READ)) {
                Some(last) => {
                    bytes += (end - last.end) as usize;
                    last.end = end;
                }
                None => {
                    bytes += size as usize;
                    runs.push(*offset..end);
                }
            }
            if bytes > bytes_max {
                break;
            }
        }
        (runs.len() > 1).then_some(Self { runs })
    }

    pub(crate) fn runs(&self) -> &[Range<u32>] {
        &self.runs
    }

    /// Reads the runs, and returns their bytes and the complete groups in them. An unreadable run
    /// yields no groups, and a run ends before a group that is larger than assumed: such groups are
    /// read by themselves when a reader needs them.
    pub(crate) fn read(
        &self,
        segment: &SegmentFile,
        take: &dyn Fn(usize) -> Result<Option<ReadBuffer>, WindowError>,
    ) -> Result<(Bytes, Vec<PlacedGroup>), WindowError> {
        let block = segment.block_size;
        let blocks = |run: &Range<u32>| run.start - run.start % block..run.end.next_multiple_of(block);
        let length = self.runs.iter().map(|run| blocks(run).len()).sum();
        let mut buffer = take(length)?.ok_or(WindowError::NoMemory { first_size: None })?;
        let mut groups = Vec::new();
        let mut at = 0;
        for run in &self.runs {
            let blocks = blocks(run);
            let room = &mut buffer.room()[at..at + blocks.len()];
            if let Ok(count) = segment.turns.read_at(&segment.file.file, u64::from(blocks.start), room) {
                let begin = (run.start - blocks.start) as usize;
                let bytes = room.get(begin..count).unwrap_or_default();
                groups.extend(
                    whole_groups(segment, run.start, bytes)
                        .map(|group| PlacedGroup { at: at + begin + group.at, ..group }),
                );
            }
            at += blocks.len();
        }
        Ok((buffer.freeze(at), groups))
    }
}

/// Finds complete groups by their headers, from `start` on.
fn whole_groups(segment: &SegmentFile, start: u32, bytes: &[u8]) -> impl Iterator<Item = PlacedGroup> {
    let mut at = 0;
    std::iter::from_fn(move || {
        let offset = start + u32::try_from(at).ok()?;
        let rest = bytes.get(at..).filter(|_| offset < segment.end)?;
        let size = group_size(segment.place, offset, rest).ok().flatten()?;
        let group = PlacedGroup { offset, size, at };
        at += size as usize;
        (at <= bytes.len()).then_some(group)
    })
}

#[cfg(test)]
mod tests {
    use rustmq_engine_core::wal::Extent;
    use rustmq_model::{Offset, Timestamp};

    use super::{ScatteredGroups, WORTH_A_READ};

    fn runs(offsets: &[u32], bytes_max: usize) -> Option<Vec<(u32, u32)>> {
        let extent = |(number, group_offset): (i64, &u32)| Extent {
            group_offset: *group_offset,
            bytes: 100,
            first: Offset(number),
            end: Offset(number + 1),
            max_timestamp: Timestamp(0),
            is_damaged: false,
        };
        let extents: Vec<_> = (0..).zip(offsets).map(extent).collect();
        let apart = ScatteredGroups::of(&extents, 1_000, bytes_max)?;
        Some(apart.runs().iter().map(|run| (run.start, run.end)).collect())
    }

    #[test]
    fn gaps_between_groups_are_skipped_where_they_are_worth_a_read() {
        const FAR: u32 = 1_000 + WORTH_A_READ;
        let check = |offsets: &[u32], expected: Option<&[(u32, u32)]>| {
            assert_eq!(runs(offsets, 1 << 20).as_deref(), expected, "{offsets:?}");
        };
        check(&[], None);
        check(&[5_000], None);
        check(&[0, 2_000, 2_000, FAR], None);
        check(&[0, FAR], Some(&[(0, 1_000), (FAR, FAR + 1_000)]));
        check(&[0, 900_000, 902_000], Some(&[(0, 1_000), (900_000, 903_000)]));
        check(&[0, 900_000, 8_000, 2_000_000], Some(&[(0, 1_000), (900_000, 901_000)]));
    }

    #[test]
    fn a_pass_reads_no_more_than_one_group_beyond_its_bound() {
        let offsets = [0, 1_000_000, 2_000_000, 3_000_000];
        assert_eq!(runs(&offsets, 2_500).map(|runs| runs.len()), Some(3));
        assert_eq!(runs(&offsets, 100), None);
    }
}
