//! Groups of one reader that lie far from each other in a segment, read in one pass: what lies between them is left on the disk. A coordinator's
//! log is so, whose small commits stand among everything else that the shard writes.

use std::ops::Range;

use bytes::Bytes;
use rustmq_engine_core::wal::Extent;
use rustmq_engine_core::wal::read_check::group_size;

use crate::read_memory::ReadBuffer;
use crate::segment_file::SegmentFile;
use crate::window::WindowError;

/// As many bytes more take a disk about as long as another read does.
const WORTH_A_READ: u32 = 128 << 10;

/// A group in bytes that were read: where it stands in the segment, its size, and where it stands in the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlacedGroup {
    pub offset: u32,
    pub size: u32,
    pub at: usize,
}

/// Runs of groups, ascending; each begins with a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct GroupsApart {
    runs: Vec<Range<u32>>,
}

impl GroupsApart {
    /// The groups of `extents`, as far as they ascend and take `bytes_max` bytes at the most, if each has `size` bytes. `None` where they do not
    /// lie apart: then what lies between is read as well.
    pub(crate) fn of(extents: &[Extent], size: u32, bytes_max: usize) -> Option<Self> {
        let mut runs: Vec<Range<u32>> = Vec::new();
        let mut bytes = 0;
        for Extent { group_offset: offset, .. } in extents.iter().take_while(|extent| !extent.is_damaged) {
            let end = offset.saturating_add(size);
            let last = runs.last_mut();
            if last.as_ref().is_some_and(|last| end < last.end) {
                // A batch that was moved here lies behind those that came after it.
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

    /// The bytes of the runs, and the groups that are whole in them. A run that cannot be read has none, and one ends before a group that is larger
    /// than was thought: whoever comes to that reads it by itself.
    pub(crate) fn read(
        &self,
        segment: &SegmentFile,
        take: &dyn Fn(usize) -> Result<Option<ReadBuffer>, WindowError>,
    ) -> Result<(Bytes, Vec<PlacedGroup>), WindowError> {
        let block = segment.block_size;
        let blocks = |run: &Range<u32>| run.start - run.start % block..run.end.next_multiple_of(block);
        let length = self.runs.iter().map(|run| blocks(run).len()).sum();
        let mut buffer = take(length)?.ok_or(WindowError::NoRoom { first_size: None })?;
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

/// By their headers, from `start` on.
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

    use super::{GroupsApart, WORTH_A_READ};

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
        let apart = GroupsApart::of(&extents, 1_000, bytes_max)?;
        Some(apart.runs().iter().map(|run| (run.start, run.end)).collect())
    }

    #[test]
    fn what_lies_between_groups_is_left_out_where_it_is_worth_a_read() {
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
