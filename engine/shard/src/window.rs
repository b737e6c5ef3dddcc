//! A window of a segment: a run of whole groups, read at once and checked once, whoever asks for their batches. How windows are shared is
//! `window_cache`'s matter.

use std::io;
use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;
use rustmq_engine_api::ReadError;
use rustmq_engine_core::wal::read_check::{CheckedGroup, GroupCheck, check_group, group_size};
use rustmq_engine_core::wal::{GroupDamage, GroupError};

use crate::groups_apart::{GroupsApart, PlacedGroup};
use crate::read_around::Fault;
use crate::read_memory::ReadBuffer;
use crate::read_queue::ReadQueue;
use crate::segment_file::SegmentFile;

/// Where a window begins, and what is known of its first group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct WindowStart {
    pub offset: u32,
    /// The group's size, where the window before has told it.
    pub first_size: Option<u32>,
}

/// How much to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WindowReach {
    /// About as many bytes; the last group is read to its end.
    Bytes(usize),
    /// The groups that begin within so many bytes, as the segment's index has it.
    Run(usize),
    /// The first group alone: what lies beside it may be unreadable.
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
    /// From the first group's offset to the end of the last. Where groups lie apart, of those alone that stand together with the last.
    pub range: Range<u32>,
    /// The size of the group after it, where that is known.
    pub next_size: Option<u32>,
    groups: Vec<WindowGroup>,
    bytes: Arc<Bytes>,
}

#[derive(Debug)]
struct WindowGroup {
    place: PlacedGroup,
    checked: Result<CheckedGroup, GroupError>,
}

/// Why there is no window.
#[derive(Debug)]
pub(crate) enum WindowError {
    /// The readers' memory is held. With the size of the first group, where that is known: the next try asks for as much at once.
    NoRoom { first_size: Option<u32> },
    /// The disk does not give back what was written there.
    Damaged { reason: String },
    /// The disk fails in another way, which may pass.
    Failed { reason: String },
    /// The disk has no part in it: memory or descriptors are missing, a thread has panicked, or a
    /// newer RustMQ wrote what is there.
    Hindered { reason: String },
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

    /// Classifies an error that a read of the segment's file gave.
    pub(crate) fn of(error: &io::Error, reason: String) -> Self {
        match Fault::of(error) {
            Fault::Medium => Self::Damaged { reason },
            Fault::Device => Self::Failed { reason },
            Fault::Process => Self::Hindered { reason },
        }
    }

    /// What a reader is told. Without memory it is not told anything: it waits, or gets less.
    pub(crate) fn into_read_error(self) -> Option<ReadError> {
        match self {
            Self::NoRoom { .. } => None,
            Self::Damaged { reason } | Self::Failed { reason } | Self::Hindered { reason } => {
                Some(ReadError::Storage { reason })
            }
        }
    }
}

impl Window {
    /// Reads a window. `take` gives the memory for it, if there is any.
    pub(crate) fn read(
        segment: &SegmentFile,
        start: WindowStart,
        reach: WindowReach,
        take: &dyn Fn(usize) -> Result<Option<ReadBuffer>, WindowError>,
    ) -> Result<Self, WindowError> {
        let mut plan = ReadPlan::new(segment, start, reach);
        let mut first_size = start.first_size;
        loop {
            let mut buffer = take(plan.capacity)?.ok_or(WindowError::NoRoom { first_size })?;
            let filled = plan.read(segment, buffer.room(), 0..plan.length)?;
            let mut walk = Walk::of(segment, &plan, &buffer.room()[..filled]);
            if let Some(needed) = walk.cut.filter(|needed| filled == plan.length && *needed <= plan.capacity) {
                let filled = plan.read(segment, buffer.room(), filled..needed)?;
                walk = Walk::of(segment, &plan, &buffer.room()[..filled]);
            } else if let Some(needed) = walk.cut.filter(|_| walk.groups.is_empty() && filled == plan.length) {
                // Only a group that is larger than was thought of: now its size is known.
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

    /// Reads groups that lie apart. An error if the first is not among what was read.
    pub(crate) fn read_apart(
        segment: &SegmentFile,
        apart: &GroupsApart,
        take: &dyn Fn(usize) -> Result<Option<ReadBuffer>, WindowError>,
    ) -> Result<Self, WindowError> {
        let (bytes, groups) = apart.read(segment, take)?;
        let first = apart.runs()[0].start;
        let Some(last) = groups.last().filter(|_| groups[0].offset == first) else {
            return Err(WindowError::damaged(segment, first, "it is larger than was thought, or cannot be read"));
        };
        let last_run =
            apart.runs().iter().rev().find(|run| run.start <= last.offset).expect("each begins with a group");
        let range = last_run.start..last.offset + last.size;
        Ok(Self::of(segment, range, groups.iter().copied(), bytes))
    }

    fn of(segment: &SegmentFile, range: Range<u32>, groups: impl Iterator<Item = PlacedGroup>, bytes: Bytes) -> Self {
        let groups = groups.map(|place| WindowGroup::check(segment, place, &bytes)).collect();
        Self { range, next_size: None, groups, bytes: Arc::new(bytes) }
    }

    /// Whether its groups lie apart.
    pub(crate) fn is_apart(&self) -> bool {
        self.groups.first().is_some_and(|first| first.place.offset < self.range.start)
    }

    /// The sound group at `offset`, and where it stands in the bytes.
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

    /// Its bytes for an answer. The queue hears when nobody holds them any more: then the window may make room for another.
    pub(crate) fn hold(&self, queue: &Arc<ReadQueue>) -> Bytes {
        Bytes::from_owner(Hold { bytes: Some(Arc::clone(&self.bytes)), queue: Arc::clone(queue) })
    }

    /// Bytes of memory.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// No answer holds a part of it.
    pub(crate) fn is_unpinned(&self) -> bool {
        // Counted here: bytes that have an owner never say that they are unique.
        Arc::strong_count(&self.bytes) == 1
    }
}

/// What an answer holds of a window.
struct Hold {
    /// `None` only while it is dropped.
    bytes: Option<Arc<Bytes>>,
    queue: Arc<ReadQueue>,
}

impl AsRef<[u8]> for Hold {
    fn as_ref(&self) -> &[u8] {
        self.bytes.as_ref().expect("it is taken away only by the drop")
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        drop(self.bytes.take());
        self.queue.on_room();
    }
}

impl WindowGroup {
    fn check(segment: &SegmentFile, place: PlacedGroup, bytes: &Bytes) -> Self {
        let checked = match check_group(segment.place, place.offset, &bytes[place.at..]) {
            Ok(GroupCheck::Whole(group)) => Ok(group),
            // The walk took whole groups only.
            Ok(GroupCheck::NeedBytes { .. }) => Err(GroupDamage::Truncated.into()),
            Err(error) => Err(error),
        };
        Self { place, checked }
    }
}

/// What to read of the file, in whole blocks of the device.
struct ReadPlan {
    /// Of the first group.
    offset: u32,
    /// Of the first byte that is read.
    from: u32,
    length: usize,
    /// The length may grow to it, so that the last group is whole.
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
        // With the header of the group after the first.
        let first = start.first_size.map_or(0, |size| before + size as usize + block);
        let (length, capacity) = match reach {
            WindowReach::OneGroup => (block, block),
            WindowReach::Run(bytes) => {
                // With the header of the group after it.
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

    /// Where a place in the segment is in the bytes.
    const fn at(&self, offset: u32) -> usize {
        (offset - self.from) as usize
    }

    /// Reads a part of the range into the same part of `room`. Answers where it ends: before the range does if the file ends.
    fn read(&self, segment: &SegmentFile, room: &mut [u8], range: Range<usize>) -> Result<usize, WindowError> {
        let offset = u64::from(self.from) + range.start as u64;
        let count = segment.turns.read_at(&segment.file.file, offset, &mut room[range.clone()]).map_err(|error| {
            let reason = format!("{}, offset {offset}: {error}", segment.file.path.display());
            WindowError::of(&error, reason)
        })?;
        Ok(range.start + count)
    }
}

/// The groups that bytes hold, by their headers.
#[derive(Default)]
struct Walk {
    /// Offsets and sizes.
    groups: Vec<(u32, u32)>,
    /// The next group is not whole: with these many bytes it would be, and the header of the one after it.
    cut: Option<usize>,
    next_size: Option<u32>,
    /// Why the first group is none.
    error: Option<GroupError>,
}

impl Walk {
    fn of(segment: &SegmentFile, plan: &ReadPlan, bytes: &[u8]) -> Self {
        let mut walk = Self::default();
        let mut offset = plan.offset;
        while let Some(rest) = bytes.get(plan.at(offset)..) {
            // What lies beyond the durable end is looked at only if it is asked for.
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
