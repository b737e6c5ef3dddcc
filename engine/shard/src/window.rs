//! A window of a segment: a run of whole groups that is read once and checked once, for all readers
//! of its batches. `window_cache` shares windows.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rustmq_engine_api::{ReadError, ReadFailure, ReadFailureCause};
use rustmq_engine_core::wal::read_check::{CheckedGroup, GroupCheck, check_group, group_size};
use rustmq_engine_core::wal::{GroupDamage, GroupError};
use rustmq_model::Offset;

use crate::read_around::Fault;
use crate::read_memory::ReadBuffer;
use crate::read_queue::ReadQueue;
use crate::scattered_groups::{PlacedGroup, ScatteredGroups};
use crate::segment_file::SegmentFile;

/// The start of a window, and the size of its first group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowStart {
    pub offset: u32,
    /// The size of the first group, if the window before it revealed that.
    pub first_size: Option<u32>,
}

/// How much to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowReach {
    /// About this many bytes; the last group is read to its end.
    Bytes(usize),
    /// The groups that begin within this many bytes, as listed in the segment's index.
    Run(usize),
    /// Only the first group, because the bytes beside it may be unreadable.
    OneGroup,
}

impl WindowReach {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Bytes(bytes) | Self::Run(bytes) => bytes,
            Self::OneGroup => 0,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Window {
    /// From the first group's offset to the end of the last group. If the groups are scattered, the
    /// range of the last run.
    pub range: Range<u32>,
    /// The size of the group behind the window, if it is known.
    pub next_size: Option<u32>,
    groups: Vec<WindowGroup>,
    bytes: Arc<Bytes>,
}

#[derive(Debug)]
struct WindowGroup {
    place: PlacedGroup,
    checked: Result<CheckedGroup, GroupError>,
}

/// Why a window cannot be read.
#[derive(Debug)]
pub(crate) enum WindowError {
    /// The budget for reads has no room. With the size of the first group, if it is known: the next
    /// attempt asks for enough memory at once.
    NoMemory { first_size: Option<u32> },
    /// The disk does not return the data that was written there.
    Damaged { reason: String },
    /// The log says that these offsets of the partition are lost.
    Lost { first: Offset, end: Offset },
    /// The disk fails in another way, which may be temporary.
    Failed { reason: String },
    /// The failure is not the disk's: memory or descriptors are missing, a thread has panicked, or
    /// a newer RustMQ wrote the frames.
    Hindered { reason: String },
}

fn failure(cause: ReadFailureCause, detail: String) -> ReadError {
    ReadError::Storage(ReadFailure { cause, detail })
}

impl WindowError {
    pub(crate) fn damaged(segment: &SegmentFile, offset: u32, reason: &str) -> Self {
        let path = segment.file.path.display();
        Self::Damaged { reason: format!("{path}, offset {offset}: {reason}") }
    }

    /// Why the group at `offset` cannot be served.
    pub(crate) fn of_group(segment: &SegmentFile, offset: u32, error: GroupError) -> Self {
        match error {
            GroupError::Damaged(damage) => Self::damaged(segment, offset, &damage.to_string()),
            GroupError::Unknown(_) => {
                let path = segment.file.path.display();
                Self::Hindered { reason: format!("{path}, offset {offset}: {error}") }
            }
        }
    }

    /// Classifies an error of a read from the segment's file.
    pub(crate) fn of(error: &io::Error, reason: String) -> Self {
        match Fault::of(error) {
            Fault::Medium => Self::Damaged { reason },
            Fault::Device => Self::Failed { reason },
            Fault::Process => Self::Hindered { reason },
        }
    }

    /// The error for a reader. `None` without memory: then the reader waits, or gets less.
    pub(crate) fn into_read_error(self) -> Option<ReadError> {
        match self {
            Self::NoMemory { .. } => None,
            Self::Lost { first, end } => Some(ReadError::Damaged { first, end }),
            Self::Damaged { reason } => Some(failure(ReadFailureCause::Damage, reason)),
            Self::Failed { reason } => Some(failure(ReadFailureCause::Device, reason)),
            Self::Hindered { reason } => Some(failure(ReadFailureCause::Process, reason)),
        }
    }
}

impl Window {
    /// Reads a window. `take` provides memory, if there is any.
    pub(crate) fn read(
        segment: &SegmentFile,
        start: WindowStart,
        reach: WindowReach,
        take: &dyn Fn(usize) -> Result<Option<ReadBuffer>, WindowError>,
    ) -> Result<Self, WindowError> {
        let mut plan = ReadPlan::new(segment, start, reach);
        let mut first_size = start.first_size;
        loop {
            let mut buffer = take(plan.capacity)?.ok_or(WindowError::NoMemory { first_size })?;
            let filled = plan.read(segment, buffer.room(), 0..plan.length)?;
            let mut walk = GroupWalk::of(segment, &plan, &buffer.room()[..filled]);
            if let Some(needed) = walk.cut.filter(|needed| filled == plan.length && *needed <= plan.capacity) {
                let filled = plan.read(segment, buffer.room(), filled..needed)?;
                walk = GroupWalk::of(segment, &plan, &buffer.room()[..filled]);
            } else if let Some(needed) = walk.cut.filter(|_| walk.groups.is_empty() && filled == plan.length) {
                // The window holds only a part of one group, whose size is known now.
                (plan.length, plan.capacity) = (needed, needed);
                first_size = walk.next_size.or(first_size);
                continue;
            }
            let Some((offset, size)) = walk.groups.last().copied() else {
                return Err(match walk.error {
                    Some(error) => WindowError::of_group(segment, start.offset, error),
                    None => WindowError::damaged(segment, start.offset, "the file ends before the group does"),
                });
            };
            let bytes = buffer.freeze(plan.at(offset + size));
            let placed = walk.groups.iter().map(|(offset, size)| PlacedGroup {
                offset: *offset,
                size: *size,
                at: plan.at(*offset),
            });
            let window = Self::of(segment, start.offset..offset + size, placed, bytes);
            return Ok(Self { next_size: walk.next_size, ..window });
        }
    }

    /// Reads scattered groups. Fails if the first group cannot be read.
    pub(crate) fn read_scattered(
        segment: &SegmentFile,
        scattered: &ScatteredGroups,
        take: &dyn Fn(usize) -> Result<Option<ReadBuffer>, WindowError>,
    ) -> Result<Self, WindowError> {
        let (bytes, groups) = scattered.read(segment, take)?;
        let first = scattered.runs()[0].start;
        let Some(last) = groups.last().filter(|_| groups[0].offset == first) else {
            return Err(WindowError::damaged(segment, first, "it is larger than was thought, or cannot be read"));
        };
        let last_run =
            scattered.runs().iter().rev().find(|run| run.start <= last.offset).expect("each begins with a group");
        let range = last_run.start..last.offset + last.size;
        Ok(Self::of(segment, range, groups.iter().copied(), bytes))
    }

    fn of(segment: &SegmentFile, range: Range<u32>, groups: impl Iterator<Item = PlacedGroup>, bytes: Bytes) -> Self {
        let groups = groups.map(|place| WindowGroup::check(segment, place, &bytes)).collect();
        Self { range, next_size: None, groups, bytes: Arc::new(bytes) }
    }

    /// Whether the groups are scattered.
    pub(crate) fn is_scattered(&self) -> bool {
        self.groups.first().is_some_and(|first| first.place.offset < self.range.start)
    }

    /// The sound group at `offset`, and its place in the bytes.
    pub(crate) fn group(&self, offset: u32) -> Option<(&CheckedGroup, PlacedGroup)> {
        let group = self.find(offset)?;
        Some((group.checked.as_ref().ok()?, group.place))
    }

    /// Why the group at `offset` cannot be served, if it cannot.
    pub(crate) fn error(&self, offset: u32) -> Option<GroupError> {
        self.find(offset)?.checked.as_ref().err().copied()
    }

    fn find(&self, offset: u32) -> Option<&WindowGroup> {
        let at = self.groups.binary_search_by_key(&offset, |group| group.place.offset).ok()?;
        Some(&self.groups[at])
    }

    /// Pins the window's bytes for an answer. The queue is notified when the answer is dropped,
    /// because the window may then be dropped for another one.
    pub(crate) fn pin(&self, queue: &Arc<ReadQueue>) -> Bytes {
        Bytes::from_owner(PinnedBytes { bytes: Some(Arc::clone(&self.bytes)), queue: Arc::clone(queue) })
    }

    /// The window's size in memory, in bytes.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// Whether no answer holds a part of the window.
    pub(crate) fn is_unpinned(&self) -> bool {
        // Counts references here, because bytes with an owner never report that they are unique.
        Arc::strong_count(&self.bytes) == 1
    }
}

/// An answer's reference to a window's bytes.
struct PinnedBytes {
    /// `None` only during the drop.
    bytes: Option<Arc<Bytes>>,
    queue: Arc<ReadQueue>,
}

impl AsRef<[u8]> for PinnedBytes {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref().expect("only the drop takes the bytes")
    }
}

impl Drop for PinnedBytes {
    fn drop(&mut self) {
        drop(self.bytes.take());
        self.queue.on_memory_freed();
    }
}

impl WindowGroup {
    fn check(segment: &SegmentFile, place: PlacedGroup, bytes: &Bytes) -> Self {
        let checked = match check_group(segment.place, place.offset, &bytes[place.at..]) {
            Ok(GroupCheck::Whole(group)) => Ok(group),
            // Only complete groups get here.
            Ok(GroupCheck::NeedBytes { .. }) => Err(GroupDamage::Truncated.into()),
            Err(error) => Err(error),
        };
        Self { place, checked }
    }
}

/// The part of the file to read, in whole blocks of the device.
struct ReadPlan {
    /// The offset of the first group.
    offset: u32,
    /// The offset of the first byte to read.
    from: u32,
    length: usize,
    /// The length may grow up to this, so that the last group is complete.
    capacity: usize,
    block: usize,
    reach: WindowReach,
}

impl ReadPlan {
    fn new(segment: &SegmentFile, start: WindowStart, reach: WindowReach) -> Self {
        let block = segment.block_size as usize;
        let from = start.offset - start.offset % segment.block_size;
        let before = (start.offset - from) as usize;
        let content = (segment.end.saturating_sub(from) as usize).max(before + 1).next_multiple_of(block);
        // Includes the header of the second group.
        let first = start.first_size.map_or(0, |size| before + size as usize + block);
        let (length, capacity) = match reach {
            WindowReach::OneGroup => (block, block),
            WindowReach::Run(bytes) => {
                // Includes the header of the group behind the run.
                let length = (before + bytes + block).next_multiple_of(block).min(content);
                (length, length)
            }
            WindowReach::Bytes(bytes) if first > before + bytes => {
                let length = first.next_multiple_of(block).min(content);
                (length, length)
            }
            WindowReach::Bytes(bytes) => {
                let length = (before + bytes).next_multiple_of(block).min(content);
                (length, (2 * length).min(content))
            }
        };
        Self { offset: start.offset, from, length, capacity, block, reach }
    }

    /// The index in the bytes of an offset in the segment.
    const fn at(&self, offset: u32) -> usize {
        (offset - self.from) as usize
    }

    /// Reads a part of the range into the same part of `room`. Returns the end of the bytes that
    /// were read: less than the end of the range if the file ends first.
    fn read(&self, segment: &SegmentFile, room: &mut [u8], range: Range<usize>) -> Result<usize, WindowError> {
        let offset = u64::from(self.from) + range.start as u64;
        let count = segment.turns.read_at(&segment.file.file, offset, &mut room[range.clone()]).map_err(|error| {
            let reason = format!("{}, offset {offset}: {error}", segment.file.path.display());
            WindowError::of(&error, reason)
        })?;
        Ok(range.start + count)
    }
}

/// The groups in a range of bytes, found by their headers.
#[derive(Default)]
struct GroupWalk {
    /// Their offsets and sizes.
    groups: Vec<(u32, u32)>,
    /// The next group is incomplete: this many bytes would hold it and the header of the group
    /// behind it.
    cut: Option<usize>,
    next_size: Option<u32>,
    /// Why there is no valid first group.
    error: Option<GroupError>,
}

impl GroupWalk {
    fn of(segment: &SegmentFile, plan: &ReadPlan, bytes: &[u8]) -> Self {
        let mut walk = Self::default();
        let mut offset = plan.offset;
        while let Some(rest) = bytes.get(plan.at(offset)..) {
            // Groups beyond the durable end are read only if the caller asks for them.
            if offset >= segment.end && !walk.groups.is_empty() {
                break;
            }
            let size = match group_size(segment.place, offset, rest) {
                Ok(Some(size)) => size,
                Ok(None) => {
                    walk.cut =
                        walk.groups.is_empty().then(|| (plan.at(offset) + plan.block).next_multiple_of(plan.block));
                    break;
                }
                Err(error) => {
                    walk.error = Some(error);
                    break;
                }
            };
            if size as usize > rest.len() {
                let is_last = plan.reach == WindowReach::OneGroup || offset + size >= segment.end;
                let next_header = if is_last { 0 } else { plan.block };
                walk.cut = Some((plan.at(offset) + size as usize + next_header).next_multiple_of(plan.block));
                walk.next_size = Some(size);
                break;
            }
            let is_beyond =
                matches!(plan.reach, WindowReach::Run(bytes) if plan.at(offset) >= plan.at(plan.offset) + bytes);
            if is_beyond && !walk.groups.is_empty() {
                walk.next_size = Some(size);
                break;
            }
            walk.groups.push((offset, size));
            if plan.reach == WindowReach::OneGroup {
                break;
            }
            offset += size;
        }
        walk
    }
}

#[cfg(test)]
pub(crate) mod tests;
