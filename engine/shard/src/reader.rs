//! The work of a read thread: finds a job's batches, window after window, and answers with slices
//! of the windows.

use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use bytes::Bytes;
use rustmq_engine_api::ReadError;
use rustmq_engine_core::wal::read_check::{BatchQuery, CheckedBatch};
use rustmq_engine_core::wal::segments::LocatedExtents;
use rustmq_engine_core::wal::{Extent, RUNS_AHEAD, ReadRange};
use rustmq_model::Offset;

use crate::index_cache::IndexCache;
use crate::metrics::Metrics;
use crate::read_ahead::{Ahead, IndexedRange, ReadAhead, SequentialReads, beyond};
use crate::read_job::{Destination, ReadJob};
use crate::read_memory::ReadMemory;
use crate::read_queue::{ReadQueue, Task};
use crate::scattered_groups::{PlacedGroup, ScatteredGroups};
use crate::segment_file::SegmentFile;
use crate::window::{Window, WindowError};
use crate::window_cache::{Demand, WindowCache};

/// The window size for a sequential reader, in bytes. A larger group is read whole.
const WINDOW: usize = 1 << 20;
/// The window size for a read that may need no more than a batch, in bytes.
const FIRST_WINDOW: usize = 256 << 10;
/// An answer that uses less than this fraction of a window is copied, so that it does not keep the
/// window in memory.
const COPIED_FRACTION: usize = 16;
const _: () = assert!(FIRST_WINDOW <= WINDOW);

/// The state that the read threads share.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub indexes: Arc<IndexCache>,
    pub sequential_reads: Arc<SequentialReads>,
    pub windows: Arc<WindowCache>,
    pub memory: ReadMemory,
    pub queue: Arc<ReadQueue>,
    pub metrics: Metrics,
}

/// The locations of a job's batches.
#[derive(Debug, Default)]
pub(crate) struct BatchLocations {
    /// In the order of their offsets.
    pub extents: Vec<Extent>,
    /// The byte ranges to read ahead after the last extent.
    pub runs: Vec<Range<u32>>,
}

/// The batches that a read has found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub batches: Vec<FoundBatch>,
    /// One past the last record of the batches.
    end: Option<Offset>,
    /// Why the read found no more, if it wanted more.
    pub error: Option<WindowError>,
}

#[derive(Debug)]
pub(crate) struct FoundBatch {
    window: Arc<Window>,
    range: Range<usize>,
}

impl Reader {
    pub(crate) fn run(&self) {
        loop {
            // After a read, a window that no answer holds may be dropped for reads that wait for
            // memory.
            match self.queue.next() {
                Task::Read(job) => {
                    guarded(job, |job| self.read(job));
                    self.queue.on_memory_freed();
                }
                Task::Resume(job) => {
                    if !guarded(job, |job| self.resume(job)) {
                        self.queue.on_resumed();
                    }
                }
                Task::Refuse(job) => {
                    self.queue.on_resumed();
                    self.metrics.busy_reads.inc();
                    job.answer(Err(ReadError::Busy));
                }
                Task::Ahead(ahead) => {
                    // Nobody waits for a read-ahead. A panic is logged and counted like any other.
                    let _ = catch_unwind(AssertUnwindSafe(|| self.read_ahead(ahead)));
                    self.queue.on_read_ahead();
                    self.queue.on_memory_freed();
                }
                Task::Sweep => self.sweep(),
                Task::End => return,
            }
        }
    }

    fn read(&self, job: ReadJob) {
        // While others wait for memory, a later read uses only cached windows.
        let demand = if self.queue.has_waiting() { Demand::CachedOnly } else { Demand::Reader };
        match self.find(&job, demand) {
            Found { batches, error: Some(WindowError::NoMemory { .. }), .. } if batches.is_empty() => {
                if job.at_least_one {
                    self.sequential_reads.note(job.query.partition, job.query.from);
                    self.queue.await_memory(job);
                } else {
                    // A reader that may hold memory must not wait for more: readers would wait for
                    // each other.
                    self.metrics.busy_reads.inc();
                    job.answer(Ok(Vec::new()));
                }
            }
            found => self.answer(job, found),
        }
    }

    fn resume(&self, job: ReadJob) {
        match self.find(&job, Demand::Reader) {
            Found { batches, error: Some(WindowError::NoMemory { .. }), .. } if batches.is_empty() => {
                self.queue.await_memory_again(job);
            }
            found => {
                self.answer(job, found);
                self.queue.on_resumed();
            }
        }
    }

    /// Finds batches, window after window. Returns the batches before an error; the reader meets
    /// the error with its next read.
    pub(crate) fn find(&self, job: &ReadJob, demand: Demand) -> Found {
        match self.locate(job) {
            Ok(locations) => self.find_in(&locations, job, demand),
            Err(error) => Found { error: Some(error), ..Found::default() },
        }
    }

    fn find_in(&self, locations: &BatchLocations, job: &ReadJob, demand: Demand) -> Found {
        let BatchLocations { extents, runs } = locations;
        let mut found = Found::default();
        let max_bytes = job.max_bytes.min(self.memory.read_bytes_max());
        let is_reader = matches!(job.destination, Destination::Reader { .. });
        let is_sequential = is_reader && self.sequential_reads.take(job.query.partition, job.query.from);
        let reach = if is_sequential { WINDOW } else { max_bytes.clamp(FIRST_WINDOW, WINDOW) };
        let mut last: Option<Arc<Window>> = None;
        let mut size_max = None;
        let mut room = max_bytes;
        let mut next = job.query.from;
        let mut looked_to = next;
        'extents: for (number, extent) in extents.iter().enumerate() {
            if extent.is_damaged && extent.first <= looked_to && looked_to < extent.end {
                found.error = Some(WindowError::Lost { first: looked_to, end: extent.end });
                break;
            }
            if extent.first > looked_to || extent.is_damaged {
                found.error = Some(missing(job, looked_to));
                break;
            }
            looked_to = looked_to.max(extent.end);
            let group_offset = extent.group_offset;
            let window = match last.take().filter(|window| window.group(group_offset).is_some()) {
                Some(window) => window,
                None => {
                    match self.window(&job.segment, &extents[number..], size_max.filter(|_| is_reader), reach, demand) {
                        Ok(window) => window,
                        Err(error) => {
                            found.error = Some(error);
                            break;
                        }
                    }
                }
            };
            let (group, PlacedGroup { at, size, .. }) =
                window.group(group_offset).expect("the window was chosen for it");
            size_max = size_max.max(Some(size));
            // A later group has truncated the batches above the extent's end.
            let until = job.query.until.min(extent.end);
            for CheckedBatch { header, range, with_tagged_fields } in group.batches_of(job.query.partition) {
                // A batch that has moved within its segment occurs twice.
                if header.next_offset() <= next || header.next_offset() > until {
                    continue;
                }
                let is_first = job.at_least_one && found.batches.is_empty();
                if range.len() > room && !is_first {
                    last = Some(Arc::clone(&window));
                    break 'extents;
                }
                room = room.saturating_sub(range.len());
                next = header.next_offset();
                found.end = Some(next);
                let range = if is_reader { range } else { with_tagged_fields };
                let range = at + range.start..at + range.end;
                found.batches.push(FoundBatch { window: Arc::clone(&window), range });
            }
            last = Some(window);
        }
        if extents.is_empty() && next < job.query.until {
            found.error = Some(missing(job, next));
        }
        if let Some(window) = last.filter(|window| is_sequential && !window.is_scattered()) {
            self.queue_read_ahead(job, runs, window.range.end);
        }
        found
    }

    /// The window with the group of the first extent. If the following groups are scattered, and
    /// the size of earlier groups is known, the window holds these groups, too.
    fn window(
        &self,
        segment: &SegmentFile,
        extents: &[Extent],
        known_size: Option<u32>,
        reach: usize,
        demand: Demand,
    ) -> Result<Arc<Window>, WindowError> {
        let scattered = known_size.filter(|_| demand == Demand::Reader);
        let scattered = scattered.and_then(|size| ScatteredGroups::of(extents, size, 2 * WINDOW));
        match scattered.and_then(|scattered| self.windows.scattered_window(segment, &scattered)) {
            Some(window) => Ok(window),
            None => self.windows.get(segment, extents[0].group_offset, reach, demand),
        }
    }

    /// Queues reads of the next windows for a sequential reader; its current window ends at
    /// `window_end`.
    fn queue_read_ahead(&self, job: &ReadJob, runs: &[Range<u32>], window_end: u32) {
        let own = beyond(runs, window_end).filter(|run| run.start < job.segment.end);
        let own = own.map(|run| (&job.segment, Ahead::Run(run)));
        let next = job.next.iter().flat_map(|next| next.ahead.iter().map(|what| (&next.segment, what.clone())));
        for (segment, what) in own.chain(next).take(RUNS_AHEAD) {
            self.queue.push_ahead(ReadAhead { segment: segment.clone(), what });
        }
    }

    pub(crate) fn locate(&self, job: &ReadJob) -> Result<BatchLocations, WindowError> {
        match &job.extents {
            LocatedExtents::Known(extents) => Ok(BatchLocations { extents: extents.clone(), runs: job.runs.clone() }),
            LocatedExtents::Indexed(trailer) => {
                let BatchQuery { partition, from, until } = job.query;
                let index = self.indexes.load(&job.segment, *trailer)?;
                let Some(entry) = index.entry(partition) else { return Ok(BatchLocations::default()) };
                let extents = entry.extents.wanted(ReadRange { from, until, bytes: job.max_bytes });
                let runs = extents.last().map(|last| entry.extents.runs_from(last, until)).unwrap_or_default();
                Ok(BatchLocations { extents, runs })
            }
        }
    }

    fn answer(&self, job: ReadJob, found: Found) {
        self.metrics.cold_reads.inc();
        let batches = match found {
            Found { batches, error, .. } if batches.is_empty() => {
                error.and_then(WindowError::into_read_error).map_or_else(|| Ok(Vec::new()), Err)
            }
            Found { batches, end, .. } => {
                if let Some(end) = end {
                    self.sequential_reads.note(job.query.partition, end);
                }
                Ok(self.bytes_of(&batches))
            }
        };
        if let Err(error) = &batches {
            tracing::error!(partition = %job.query.partition, %error, "the write-ahead log cannot be read back");
        }
        if let Ok(batches) = &batches {
            self.metrics.cold_read_bytes.inc_by(batches.iter().map(|batch| batch.len() as u64).sum());
        }
        job.answer(batches);
    }

    /// Slices of the windows, or copies where an answer would hold a window for little.
    pub(crate) fn bytes_of(&self, found: &[FoundBatch]) -> Vec<Bytes> {
        let mut batches = Vec::with_capacity(found.len());
        for of_window in found.chunk_by(|one, other| Arc::ptr_eq(&one.window, &other.window)) {
            let window = &of_window[0].window;
            let used: usize = of_window.iter().map(|batch| batch.range.len()).sum();
            let bytes = window.pin(&self.queue);
            let slices = of_window.iter().map(|batch| bytes.slice(batch.range.clone()));
            let copy = if used < window.length() / COPIED_FRACTION { self.memory.copy(slices.clone()) } else { None };
            match copy {
                Some(copy) => {
                    let mut rest = copy;
                    batches.extend(of_window.iter().map(|batch| rest.split_to(batch.range.len())));
                }
                None => batches.extend(slices),
            }
        }
        batches
    }

    fn read_ahead(&self, ahead: ReadAhead) {
        let ReadAhead { segment, what } = ahead;
        if self.queue.has_waiting() {
            return;
        }
        // Errors are ignored: a reader that needs this part reports them.
        match what {
            Ahead::Run(run) if run.start < segment.end && !run.is_empty() => {
                let _ = self.windows.get(&segment, run.start, run.len(), Demand::Ahead);
            }
            Ahead::Run(_) => {}
            Ahead::Indexed(IndexedRange { trailer, partition, from, until }) => {
                let Ok(Some(index)) = self.indexes.load_stored(&segment, trailer) else { return };
                let Some(extents) = index.entry(partition).map(|entry| &entry.extents) else { return };
                let runs = extents.find(from).map(|first| extents.runs_from(first, until)).unwrap_or_default();
                for run in runs.into_iter().take(RUNS_AHEAD) {
                    self.queue.push_ahead(ReadAhead { segment: segment.clone(), what: Ahead::Run(run) });
                }
            }
        }
    }

    fn sweep(&self) {
        self.indexes.clear();
        if !self.windows.sweep() {
            self.queue.sweep_again();
        }
    }
}

/// The segment's index promises this offset, but no readable group has it. A rebuilt index lacks
/// damaged groups, and a read must not skip them.
fn missing(job: &ReadJob, offset: Offset) -> WindowError {
    let (path, partition) = (job.segment.file.path.display(), job.query.partition);
    WindowError::Damaged {
        reason: format!("{path}: offset {offset} of {partition} is in no group that can be read", offset = offset.0),
    }
}

/// Runs the job and returns whether it completed. A panic of one read must not end the thread,
/// which others need; dropping the job's reply tells its reader.
fn guarded(job: ReadJob, run: impl FnOnce(ReadJob)) -> bool {
    // The state that the threads share is consistent between any two steps.
    catch_unwind(AssertUnwindSafe(|| run(job))).is_ok()
}

#[cfg(test)]
mod tests;
