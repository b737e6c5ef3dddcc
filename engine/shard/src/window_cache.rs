//! The most recently used windows, shared by all readers of a place: a reader of a window that is
//! being read waits for it instead of reading it, too.
//!
//! ```text
//! get: cached -------------------------------------> served
//!      being read --its end--> looked up again
//!      neither --room--> being read ------> cached --make_room, sweep--> dropped
//! ```
//! The segment's generation is part of a window's key, so that windows of an earlier use of the
//! slot never match. The partition's map says for each read that the segment holds the wanted
//! groups.

use std::collections::VecDeque;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use parking_lot::{Condvar, Mutex, MutexGuard};
use rustmq_engine_core::wal::GroupDamage;
use rustmq_engine_core::wal::scan::SegmentPlace;

use crate::metrics::Metrics;
use crate::read_memory::{ReadBuffer, ReadMemory};
use crate::scattered_groups::ScatteredGroups;
use crate::segment_file::SegmentFile;
use crate::window::{Window, WindowError, WindowReach, WindowStart};

/// The most windows that are read one after the other, each from the end of the one before, to
/// reach a near group. So readers that skip different groups find the same windows.
const STEPS_MAX: u32 = 2;

#[derive(Debug)]
struct CachedWindow {
    place: SegmentPlace,
    window: Arc<Window>,
    /// Whether a reader has used it. A window that was read ahead may wait for its first reader.
    is_used: bool,
}

#[derive(Debug, Default)]
struct CacheState {
    /// The most recently used window comes first.
    cached: VecDeque<CachedWindow>,
    /// The ranges that are being read, as far as they are known before the read: one range, or
    /// several for scattered groups.
    being_read: Vec<(SegmentPlace, Arc<[Range<u32>]>)>,
    /// The group whose size a read learnt before it ran out of memory. Thus a reader that waits for
    /// memory does not read the disk again each time that a little is released. One entry is
    /// enough, because only the first waiting read is tried again.
    awaited: Option<(SegmentPlace, WindowStart)>,
}

#[derive(Debug)]
pub(crate) struct WindowCache {
    state: Mutex<CacheState>,
    /// Notified when a read of a window ends.
    done: Condvar,
    memory: ReadMemory,
    metrics: Metrics,
}

/// The kind of requester of a window, which limits the means of its read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Demand {
    /// A reader. The read may take memory and wait for the disk.
    Reader,
    /// A reader behind others that wait for memory.
    CachedOnly,
    /// Read-ahead. Windows that no reader has used yet stay within half of the memory.
    Ahead,
}

impl WindowCache {
    pub(crate) fn new(memory: ReadMemory, metrics: Metrics) -> Self {
        Self { state: Mutex::default(), done: Condvar::new(), memory, metrics }
    }

    /// The window with the group at `offset`. If it must be read, it has about `bytes` bytes, or
    /// less if the memory is small.
    pub(crate) fn get(
        &self,
        segment: &SegmentFile,
        offset: u32,
        bytes: usize,
        demand: Demand,
    ) -> Result<Arc<Window>, WindowError> {
        let bytes = bytes.min(self.memory.limit() / 8).max(segment.block_size as usize);
        let mut steps = STEPS_MAX;
        let mut state = self.state.lock();
        loop {
            if let Some(window) = state.find(segment.place, offset, demand) {
                return Ok(window);
            }
            if demand == Demand::CachedOnly
                || (demand == Demand::Ahead && state.unused_bytes() > self.memory.limit() / 2)
            {
                return Err(WindowError::NoMemory { first_size: None });
            }
            if state.is_being_read(segment.place, offset) {
                if demand == Demand::Ahead {
                    // Another thread reads it, and this one has better things to do than to wait.
                    return Err(WindowError::NoMemory { first_size: None });
                }
                self.done.wait(&mut state);
                continue;
            }
            let own = WindowStart { offset, first_size: None };
            let start = if demand == Demand::Ahead || steps == 0 {
                own
            } else {
                state.end_before(segment.place, offset, bytes).unwrap_or(own)
            };
            let start = state.with_known_size(segment.place, start);
            let reach = match demand {
                Demand::Ahead => WindowReach::Run(state.bytes_before_next(segment.place, offset, bytes)),
                _ => WindowReach::Bytes(bytes),
            };
            let length = u32::try_from(reach.bytes()).unwrap_or(u32::MAX).max(start.first_size.unwrap_or(0));
            let range = start.offset..start.offset.saturating_add(length);
            let read = || self.read_window(segment, start, reach);
            match self.read(&mut state, segment.place, &[range].into(), demand, read) {
                Ok(window) if window.group(offset).is_some() => return Ok(window),
                Ok(_) if start.offset < offset => steps -= 1,
                Ok(window) => {
                    let error = window.error(offset).unwrap_or(GroupDamage::Absent.into());
                    return Err(WindowError::of_group(segment, offset, error));
                }
                Err(WindowError::NoMemory { first_size: Some(size) }) if demand == Demand::Reader => {
                    state.awaited = Some((segment.place, WindowStart { first_size: Some(size), ..start }));
                    return Err(WindowError::NoMemory { first_size: Some(size) });
                }
                // A hole may lie in between.
                Err(error) if !matches!(error, WindowError::NoMemory { .. }) && start.offset < offset => steps = 0,
                Err(error) => return Err(error),
            }
        }
    }

    /// A window with the scattered groups, or one with the first of them. `None` if this does not
    /// succeed: then [`Self::get`] reads the group by itself and reports the error.
    pub(crate) fn scattered_window(&self, segment: &SegmentFile, scattered: &ScatteredGroups) -> Option<Arc<Window>> {
        let first = scattered.runs()[0].start;
        let mut state = self.state.lock();
        loop {
            if let Some(window) = state.find(segment.place, first, Demand::Reader) {
                return Some(window);
            }
            if !state.is_being_read(segment.place, first) {
                break;
            }
            self.done.wait(&mut state);
        }
        let read = || {
            Window::read_scattered(segment, scattered, &|bytes| self.make_room(bytes)).inspect(|read| self.count(read))
        };
        let read = self.read(&mut state, segment.place, &scattered.runs().into(), Demand::Reader, read);
        read.ok().filter(|window| window.group(first).is_some())
    }

    /// Reads a window and caches it; other readers continue meanwhile.
    fn read(
        &self,
        state: &mut MutexGuard<'_, CacheState>,
        place: SegmentPlace,
        ranges: &Arc<[Range<u32>]>,
        demand: Demand,
        read: impl FnOnce() -> Result<Window, WindowError>,
    ) -> Result<Arc<Window>, WindowError> {
        state.being_read.push((place, Arc::clone(ranges)));
        let read = || catch_unwind(AssertUnwindSafe(read));
        // A panic is caught, because others wait for the end of this read.
        let read = MutexGuard::unlocked(state, read).unwrap_or_else(|_| {
            let reason = "the thread that read has panicked".to_owned();
            Err(WindowError::Hindered { reason })
        });
        state.being_read.retain(|(_, reading)| !Arc::ptr_eq(reading, ranges));
        self.done.notify_all();
        let window = Arc::new(read?);
        let cached = CachedWindow { place, window: Arc::clone(&window), is_used: demand == Demand::Reader };
        state.cached.push_front(cached);
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
            // The bytes beside the group may be unreadable or damaged.
            Err(
                WindowError::Damaged { .. }
                | WindowError::Lost { .. }
                | WindowError::Failed { .. }
                | WindowError::Hindered { .. },
            ) => Window::read(segment, start, WindowReach::OneGroup, &take)?,
            read => read?,
        };
        self.count(&window);
        Ok(window)
    }

    fn count(&self, window: &Window) {
        self.metrics.cold_windows.inc();
        self.metrics.cold_window_bytes.inc_by(window.length() as u64);
    }

    /// Takes memory for a window, and drops the least recently used windows for it.
    fn make_room(&self, bytes: usize) -> Result<Option<ReadBuffer>, WindowError> {
        loop {
            let taken = self.memory.take(bytes).map_err(|error| {
                let reason = error.to_string();
                WindowError::Hindered { reason }
            })?;
            if taken.is_some() {
                return Ok(taken);
            }
            let Some(dropped) = self.state.lock().pop_unpinned() else { return Ok(None) };
            drop(dropped);
        }
    }

    /// Drops every window that no answer holds, and spare memory. Returns whether no memory is
    /// reserved any more.
    pub(crate) fn sweep(&self) -> bool {
        let dropped: Vec<_> = self.state.lock().cached.drain(..).collect();
        drop(dropped);
        self.memory.release_spares()
    }
}

impl CacheState {
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

    /// Adds the size of the start's group if an earlier read learnt it and then found no memory.
    fn with_known_size(&self, place: SegmentPlace, start: WindowStart) -> WindowStart {
        let is_awaited = |(of, awaited): &(SegmentPlace, WindowStart)| *of == place && awaited.offset == start.offset;
        let awaited = self.awaited.filter(is_awaited).and_then(|(_, awaited)| awaited.first_size);
        WindowStart { first_size: start.first_size.or(awaited), ..start }
    }

    /// The end of a near window, from which reading on reaches `offset`.
    fn end_before(&self, place: SegmentPlace, offset: u32, near: usize) -> Option<WindowStart> {
        let of_segment = self.cached.iter().filter(|known| known.place == place).map(|known| &known.window);
        let is_near = |end: u32| offset.checked_sub(end).is_some_and(|between| (between as usize) < near);
        let nearest = of_segment.filter(|window| is_near(window.range.end)).max_by_key(|window| window.range.end)?;
        Some(WindowStart { offset: nearest.range.end, first_size: nearest.next_size })
    }

    /// At most `bytes`, and no further than the next window, which begins with a group: runs of
    /// other partitions begin elsewhere.
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
