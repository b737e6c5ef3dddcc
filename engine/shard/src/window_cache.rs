//! The windows that were used last, shared by all readers of a place: who comes to one that is being read waits for it instead of reading it
//! too.
//!
//! ```text
//! get: cached -------------------------------------> served
//!      being read --its end--> looked up again
//!      neither --room--> being read ------> cached --make_room, sweep--> dropped
//! ```
//! A window is known by its segment's generation, which no other life of the slot has. That the segment holds the groups asked for, and for
//! whom, is said by the partition's map, with each read.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustmq_engine_core::wal::GroupDamage;
use rustmq_engine_core::wal::scan::SegmentPlace;

use crate::groups_apart::GroupsApart;
use crate::metrics::Metrics;
use crate::read_memory::{ReadBuffer, ReadMemory};
use crate::segment_file::SegmentFile;
use crate::window::{Window, WindowError, WindowReach, WindowStart};

/// Windows that are read one after the other from the end of another, to reach a group that is near: readers who skip different groups come upon
/// the same windows.
const STEPS_MAX: u32 = 2;

#[derive(Debug)]
struct CachedWindow {
    place: SegmentPlace,
    window: Arc<Window>,
    /// A reader has asked for it. One that was read ahead may wait for that.
    is_used: bool,
}

#[derive(Debug, Default)]
struct Windows {
    /// Used last comes first.
    cached: VecDeque<CachedWindow>,
    /// As far as is known before: one range, or several where groups lie apart.
    being_read: Vec<(SegmentPlace, Arc<[Range<u32>]>)>,
    /// The group that a read found no memory for after it had learnt its size. So a reader that waits for it does not read the disk each time
    /// that a little memory is given back. One is enough: of those that wait only the first is looked at.
    awaited: Option<(SegmentPlace, WindowStart)>,
}

#[derive(Debug)]
pub(crate) struct WindowCache {
    windows: Mutex<Windows>,
    /// One is no longer being read.
    done: Condvar,
    memory: ReadMemory,
    metrics: Metrics,
}

/// Who asks, and what may be done for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// A reader, which may take memory and wait for the disk.
    Reader,
    /// A reader before whom others wait for memory.
    CachedOnly,
    /// Nobody yet: windows that nobody has used so far stay within half of the memory.
    Ahead,
}

impl WindowCache {
    pub(crate) fn new(memory: ReadMemory, metrics: Metrics) -> Self {
        Self { windows: Mutex::default(), done: Condvar::new(), memory, metrics }
    }

    /// The window with the group at `offset`. If it must be read, about `bytes` of it, or less if the memory is small.
    pub(crate) fn get(
        &self,
        segment: &SegmentFile,
        offset: u32,
        bytes: usize,
        demand: Demand,
    ) -> Result<Arc<Window>, WindowError> {
        let bytes = bytes.min(self.memory.limit() / 8).max(segment.block_size as usize);
        let mut steps = STEPS_MAX;
        let mut windows = self.windows.lock();
        loop {
            if let Some(window) = windows.find(segment.place, offset, demand) {
                return Ok(window);
            }
            if demand == Demand::CachedOnly
                || (demand == Demand::Ahead && windows.unused_bytes() > self.memory.limit() / 2)
            {
                return Err(WindowError::NoRoom { first_size: None });
            }
            if windows.is_being_read(segment.place, offset) {
                if demand == Demand::Ahead {
                    // A thread is at it, and this one has better to do than to wait.
                    return Err(WindowError::NoRoom { first_size: None });
                }
                self.done.wait(&mut windows);
                continue;
            }
            let own = WindowStart { offset, first_size: None };
            let start = if demand == Demand::Ahead || steps == 0 {
                own
            } else {
                windows.end_before(segment.place, offset, bytes).unwrap_or(own)
            };
            let start = windows.with_known_size(segment.place, start);
            let reach = match demand {
                Demand::Ahead => WindowReach::Run(windows.bytes_before_next(segment.place, offset, bytes)),
                _ => WindowReach::Bytes(bytes),
            };
            let length = u32::try_from(reach.bytes()).unwrap_or(u32::MAX).max(start.first_size.unwrap_or(0));
            let range = start.offset..start.offset.saturating_add(length);
            let read = || self.read_window(segment, start, reach);
            match self.read(&mut windows, segment.place, &[range].into(), demand, read) {
                Ok(window) if window.group(offset).is_some() => return Ok(window),
                Ok(_) if start.offset < offset => steps -= 1,
                Ok(window) => {
                    let error = window.error(offset).unwrap_or(GroupDamage::Absent.into());
                    return Err(WindowError::of_group(segment, offset, error));
                }
                Err(WindowError::NoRoom { first_size: Some(size) }) if demand == Demand::Reader => {
                    windows.awaited = Some((segment.place, WindowStart { first_size: Some(size), ..start }));
                    return Err(WindowError::NoRoom { first_size: Some(size) });
                }
                // A hole may lie between.
                Err(error) if !matches!(error, WindowError::NoRoom { .. }) && start.offset < offset => steps = 0,
                Err(error) => return Err(error),
            }
        }
    }

    /// A window with the groups that lie apart, or one that has the first of them. `None` where that is not to be had so: [`Self::get`] reads
    /// it by itself, and says why it cannot.
    pub(crate) fn apart(&self, segment: &SegmentFile, apart: &GroupsApart) -> Option<Arc<Window>> {
        let first = apart.runs()[0].start;
        let mut windows = self.windows.lock();
        loop {
            if let Some(window) = windows.find(segment.place, first, Demand::Reader) {
                return Some(window);
            }
            if !windows.is_being_read(segment.place, first) {
                break;
            }
            self.done.wait(&mut windows);
        }
        let read =
            || Window::read_apart(segment, apart, &|bytes| self.make_room(bytes)).inspect(|read| self.count(read));
        let read = self.read(&mut windows, segment.place, &apart.runs().into(), Demand::Reader, read);
        read.ok().filter(|window| window.group(first).is_some())
    }

    /// Reads a window and keeps it; others go on meanwhile.
    fn read(
        &self,
        windows: &mut MutexGuard<'_, Windows>,
        place: SegmentPlace,
        ranges: &Arc<[Range<u32>]>,
        demand: Demand,
        read: impl FnOnce() -> Result<Window, WindowError>,
    ) -> Result<Arc<Window>, WindowError> {
        windows.being_read.push((place, Arc::clone(ranges)));
        let read = || catch_unwind(AssertUnwindSafe(read));
        // After a panic too: others wait for the end of this read.
        let read = MutexGuard::unlocked(windows, read).unwrap_or_else(|_| {
            let reason = "the thread that read has panicked".to_owned();
            Err(WindowError::Hindered { reason })
        });
        windows.being_read.retain(|(_, reading)| !Arc::ptr_eq(reading, ranges));
        self.done.notify_all();
        let window = Arc::new(read?);
        let cached = CachedWindow { place, window: Arc::clone(&window), is_used: demand == Demand::Reader };
        windows.cached.push_front(cached);
        Ok(window)
    }

    fn read_window(
        &self,
        segment: &SegmentFile,
        start: WindowStart,
        reach: WindowReach,
    ) -> Result<Window, WindowError> {
        let take = |bytes| self.make_room(bytes);
        let window = match Window::read(segment, start, reach, &take) {
            // What is beside the group may be unreadable, or damaged.
            Err(WindowError::Damaged { .. } | WindowError::Failed { .. } | WindowError::Hindered { .. }) => {
                Window::read(segment, start, WindowReach::OneGroup, &take)?
            }
            read => read?,
        };
        self.count(&window);
        Ok(window)
    }

    fn count(&self, window: &Window) {
        self.metrics.cold_windows.inc();
        self.metrics.cold_window_bytes.inc_by(window.length() as u64);
    }

    /// Memory for a window, for which others go that were used longest ago.
    fn make_room(&self, bytes: usize) -> Result<Option<ReadBuffer>, WindowError> {
        loop {
            let taken = self.memory.take(bytes).map_err(|error| {
                let reason = error.to_string();
                WindowError::Hindered { reason }
            })?;
            if taken.is_some() {
                return Ok(taken);
            }
            let Some(dropped) = self.windows.lock().pop_unpinned() else { return Ok(None) };
            drop(dropped);
        }
    }

    /// Drops every window that no answer holds, and spare memory. Whether none is held any more.
    pub(crate) fn sweep(&self) -> bool {
        let dropped: Vec<_> = self.windows.lock().cached.drain(..).collect();
        drop(dropped);
        self.memory.give_up_spares()
    }
}

impl Windows {
    fn find(&mut self, place: SegmentPlace, offset: u32, demand: Demand) -> Option<Arc<Window>> {
        let is_it = |known: &CachedWindow| known.place == place && known.window.group(offset).is_some();
        let at = self.cached.iter().position(is_it)?;
        let mut known = self.cached.remove(at)?;
        known.is_used |= demand != Demand::Ahead;
        let window = Arc::clone(&known.window);
        self.cached.push_front(known);
        Some(window)
    }

    fn is_being_read(&self, place: SegmentPlace, offset: u32) -> bool {
        let holds = |ranges: &[Range<u32>]| ranges.iter().any(|range| range.contains(&offset));
        self.being_read.iter().any(|(of, ranges)| *of == place && holds(ranges))
    }

    /// The start, with the size of its group where that was found out by a read that had no memory.
    fn with_known_size(&self, place: SegmentPlace, start: WindowStart) -> WindowStart {
        let is_awaited = |(of, awaited): &(SegmentPlace, WindowStart)| *of == place && awaited.offset == start.offset;
        let awaited = self.awaited.filter(is_awaited).and_then(|(_, awaited)| awaited.first_size);
        WindowStart { first_size: start.first_size.or(awaited), ..start }
    }

    /// Where a window ends that is gone on from to reach `offset`.
    fn end_before(&self, place: SegmentPlace, offset: u32, near: usize) -> Option<WindowStart> {
        let of_segment = self.cached.iter().filter(|known| known.place == place).map(|known| &known.window);
        let is_near = |end: u32| offset.checked_sub(end).is_some_and(|between| (between as usize) < near);
        let nearest = of_segment.filter(|window| is_near(window.range.end)).max_by_key(|window| window.range.end)?;
        Some(WindowStart { offset: nearest.range.end, first_size: nearest.next_size })
    }

    /// Of so many bytes, those before the next window, which begins with a group: runs of other partitions begin elsewhere.
    fn bytes_before_next(&self, place: SegmentPlace, offset: u32, bytes: usize) -> usize {
        let cached = self.cached.iter().filter(|known| known.place == place).map(|known| known.window.range.start);
        let being_read = self.being_read.iter().filter(|(of, _)| *of == place).flat_map(|(_, ranges)| ranges.iter());
        let being_read = being_read.map(|range| range.start);
        let next = cached.chain(being_read).filter(|start| *start > offset).min();
        next.map_or(bytes, |next| bytes.min((next - offset) as usize))
    }

    fn unused_bytes(&self) -> usize {
        self.cached.iter().filter(|known| !known.is_used).map(|known| known.window.length()).sum()
    }

    fn pop_unpinned(&mut self) -> Option<CachedWindow> {
        let is_free = |known: &CachedWindow| Arc::strong_count(&known.window) == 1 && known.window.is_unpinned();
        let at = self.cached.iter().rposition(is_free)?;
        self.cached.remove(at)
    }
}

#[cfg(test)]
mod tests;
