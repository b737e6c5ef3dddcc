//! Reads what has left memory: a few threads with a bounded queue, never the shard's own. The shard says where; what is read is checked, and
//! shared by all who read the same place (`window`, `window_cache`). What a move reads has a thread of its own (`move_read`): cleaning a full
//! log must not queue behind readers. In what order reads are served, and which wait for memory, is the queue's matter (`read_queue`).

use std::collections::VecDeque;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rustmq_engine_api::chunk::ChunkPool;
use rustmq_engine_api::request::Reply;
use rustmq_engine_api::{Frontiers, ReadBatches, ReadError};
use rustmq_engine_core::wal::read_check::{BatchQuery, CheckedBatch};
use rustmq_engine_core::wal::recovery::read_index;
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_engine_core::wal::segments::LocatedExtents;
use rustmq_engine_core::wal::{Extent, RUNS_AHEAD, ReadRange, SegmentIndex, Trailer};
use rustmq_model::Offset;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::dio::read_at;
use crate::disk::DiskTurns;
use crate::event::EventSender;
use crate::index_scan::scan_index;
use crate::metrics::Metrics;
use crate::move_read::Mover;
use crate::read_ahead::{Ahead, Followers, IndexedRange, NextPlace, ReadAhead, beyond};
use crate::read_around::Fault;
use crate::read_memory::ReadMemory;
use crate::read_queue::{ReadQueue, Task};
use crate::window::{SegmentFile, Window, WindowError};
use crate::window_cache::{Demand, WindowCache};

/// Bytes to read at once for a reader who goes on; a larger group is read whole.
const WINDOW: usize = 1 << 20;
/// The same for one who may want no more than a batch.
const FIRST_WINDOW: usize = 256 << 10;
/// An answer that takes less than this part of a window is copied, so that it does not keep the rest.
const COPIED_PART: usize = 16;
/// What one read may take of the memory, so that several can go on at once.
const READ_PART: usize = 8;
/// Indexes of sealed segments that are kept.
const CACHED_INDEXES: usize = 16;
/// An index that was made anew lacks what could not be read then, which may be readable again.
const REBUILT_INDEX_AGE_MAX: Duration = Duration::from_secs(10);

/// Where the batches go.
#[derive(Debug)]
pub(crate) enum Destination {
    /// With the place in the queue that it was given.
    Reader {
        reply: Reply<Result<ReadBatches, ReadError>>,
        /// Refused if it has not found memory by then.
        room_by: Instant,
        place: OwnedSemaphorePermit,
    },
    /// Back to the shard, to be written anew. The number is that of its question.
    Move { number: u64 },
}

#[derive(Debug)]
pub(crate) struct ReadJob {
    pub segment: SegmentFile,
    pub extents: LocatedExtents,
    /// Where to read on from the last of known extents.
    pub runs: Vec<Range<u32>>,
    /// Where after that, if it is near.
    pub next: Option<NextPlace>,
    pub query: BatchQuery,
    pub max_bytes: usize,
    pub at_least_one: bool,
    pub destination: Destination,
    /// The shard holds the segment until it hears that the job is done.
    pub done: EventSender,
}

impl ReadJob {
    /// Nobody waits for the answer.
    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(&self.destination, Destination::Reader { reply, .. } if reply.is_closed())
    }

    /// Until when it waits for memory. A move has memory of its own.
    pub(crate) const fn room_by(&self) -> Option<Instant> {
        match self.destination {
            Destination::Reader { room_by, .. } => Some(room_by),
            Destination::Move { .. } => None,
        }
    }

    fn answer(self, batches: Result<Vec<Bytes>, ReadError>) {
        if let Destination::Reader { reply, place: _place, .. } = self.destination {
            let answer =
                batches.map(|batches| ReadBatches { batches, aborted: Vec::new(), frontiers: Frontiers::default() });
            // A reader that has gone does not need it.
            let _ = reply.send(answer);
        }
        self.done.release(self.segment.place.generation);
    }
}

/// The queues of the read threads, which end with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct ReadPool {
    readers: Arc<Readers>,
    moves: mpsc::SyncSender<ReadJob>,
    turns: Arc<DiskTurns>,
    read_bytes_max: usize,
}

/// The readers' queue, and the places that bound it. Ends their threads when it is dropped.
#[derive(Debug)]
struct Readers {
    queue: Arc<ReadQueue>,
    places: Arc<Semaphore>,
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.places.close();
        self.queue.end();
    }
}

/// What bounds the readers.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    pub threads: usize,
    /// Reads that are queued, under way, or wait for memory.
    pub places: usize,
    pub memory_bytes: usize,
    /// How long the mover waits for what cannot be read.
    pub damage_patience: Duration,
}

impl ReadPool {
    /// `shards` move, one segment each at a time.
    pub(crate) fn start(limits: ReadLimits, shards: usize, metrics: &Metrics) -> io::Result<Self> {
        let ReadLimits { threads, places, memory_bytes, damage_patience } = limits;
        let threads = threads.max(1);
        let queue = Arc::new(ReadQueue::new(threads));
        let places = Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)));
        let memory = ReadMemory::new(memory_bytes, metrics.cold_read_memory_bytes.clone(), Arc::clone(&queue));
        let read_bytes_max = memory.limit() / READ_PART;
        let reader = Reader {
            indexes: Arc::default(),
            followers: Arc::default(),
            windows: Arc::new(WindowCache::new(memory.clone(), metrics.clone())),
            memory,
            queue: Arc::clone(&queue),
            metrics: metrics.clone(),
        };
        // Made first: an error below ends the threads that run already.
        let (moves, inbox) = mpsc::sync_channel(shards);
        let pool = Self { readers: Arc::new(Readers { queue, places }), moves, turns: Arc::default(), read_bytes_max };
        for number in 0..threads {
            let reader = reader.clone();
            std::thread::Builder::new().name(format!("rustmq-read-{number}")).spawn(move || reader.run())?;
        }
        let mut mover = Mover::new(&reader, damage_patience);
        std::thread::Builder::new().name("rustmq-move".to_owned()).spawn(move || mover.run(&inbox))?;
        Ok(pool)
    }

    /// Whoever asks for a read takes one of these first.
    pub(crate) fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.readers.places)
    }

    /// At the disk, which reads share with commits.
    pub(crate) fn turns(&self) -> Arc<DiskTurns> {
        Arc::clone(&self.turns)
    }

    /// What a read may take at most, so that several can go on at once.
    pub(crate) fn read_bytes_max(&self) -> usize {
        self.read_bytes_max
    }

    /// A reader's job, which has its place in the queue.
    pub(crate) fn submit(&self, job: ReadJob) {
        self.readers.queue.push(job);
    }

    /// A job of a move. Answers whether it was taken: not if too many are queued.
    pub(crate) fn submit_move(&self, job: ReadJob) -> bool {
        self.moves.try_send(job).is_ok()
    }

    /// The same, but no move is ever taken.
    #[cfg(test)]
    pub(crate) fn without_mover(&self) -> Self {
        Self { moves: mpsc::sync_channel(0).0, ..self.clone() }
    }
}

/// What a read thread works with.
#[derive(Clone, Debug)]
pub(crate) struct Reader {
    pub indexes: Arc<IndexCache>,
    pub followers: Arc<Followers>,
    pub windows: Arc<WindowCache>,
    pub memory: ReadMemory,
    pub queue: Arc<ReadQueue>,
    pub metrics: Metrics,
}

/// Where a job's batches are.
#[derive(Debug, Default)]
pub(crate) struct Places {
    /// In the order of offsets.
    pub extents: Vec<Extent>,
    /// Where to read on from the last of them.
    pub runs: Vec<Range<u32>>,
}

/// What a read has found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    pub batches: Vec<FoundBatch>,
    /// One past the last record.
    end: Option<Offset>,
    /// Why there is no more, if the read wanted more.
    pub error: Option<WindowError>,
}

#[derive(Debug)]
pub(crate) struct FoundBatch {
    window: Arc<Window>,
    range: Range<usize>,
}

impl Reader {
    fn run(&self) {
        loop {
            // A window that was read, and is held by no answer, may make room for those that wait.
            match self.queue.next() {
                Task::Read(job) => {
                    guarded(job, |job| self.read(job));
                    self.queue.on_room();
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
                    // Nobody waits for it; the panic is logged and counted as all are.
                    let _ = catch_unwind(AssertUnwindSafe(|| self.read_ahead(ahead)));
                    self.queue.on_read_ahead();
                    self.queue.on_room();
                }
                Task::Sweep => self.sweep(),
                Task::End => return,
            }
        }
    }

    fn read(&self, job: ReadJob) {
        // In turn: what comes later takes no memory before those that wait.
        let demand = if self.queue.has_waiting() { Demand::CachedOnly } else { Demand::Reader };
        match self.find(&job, demand) {
            Found { batches, error: Some(WindowError::NoRoom { .. }), .. } if batches.is_empty() => {
                if job.at_least_one {
                    self.followers.note(job.query.partition, job.query.from);
                    self.queue.await_room(job);
                } else {
                    // Who holds memory already must not wait for more: readers would wait for each other.
                    self.metrics.busy_reads.inc();
                    job.answer(Ok(Vec::new()));
                }
            }
            found => self.answer(job, found),
        }
    }

    fn resume(&self, job: ReadJob) {
        match self.find(&job, Demand::Reader) {
            Found { batches, error: Some(WindowError::NoRoom { .. }), .. } if batches.is_empty() => {
                self.queue.await_room_again(job);
            }
            found => {
                self.answer(job, found);
                self.queue.on_resumed();
            }
        }
    }

    /// Looks for batches, window after window. Those before an error are found, and the reader meets it when it comes again.
    pub(crate) fn find(&self, job: &ReadJob, demand: Demand) -> Found {
        match self.places(job) {
            Ok(places) => self.find_in(&places, job, demand),
            Err(error) => Found { error: Some(error), ..Found::default() },
        }
    }

    fn find_in(&self, places: &Places, job: &ReadJob, demand: Demand) -> Found {
        let Places { extents, runs } = places;
        let mut found = Found::default();
        let max_bytes = job.max_bytes.min(self.memory.limit() / READ_PART);
        let is_reader = matches!(job.destination, Destination::Reader { .. });
        let is_follower = is_reader && self.followers.take(job.query.partition, job.query.from);
        let reach = if is_follower { WINDOW } else { max_bytes.clamp(FIRST_WINDOW, WINDOW) };
        let mut last: Option<Arc<Window>> = None;
        let mut room = max_bytes;
        let mut next = job.query.from;
        let mut looked_to = next;
        'extents: for extent in extents {
            if extent.first > looked_to || extent.is_damaged {
                found.error = Some(missing(job, looked_to));
                break;
            }
            looked_to = looked_to.max(extent.end);
            let group_offset = extent.group_offset;
            let window = match last.take().filter(|window| window.group(group_offset).is_some()) {
                Some(window) => window,
                None => match self.windows.get(&job.segment, group_offset, reach, demand) {
                    Ok(window) => window,
                    Err(error) => {
                        found.error = Some(error);
                        break;
                    }
                },
            };
            let (group, at) = window.group(group_offset).expect("the window was chosen for it");
            // What lies above the extent was truncated by a later group.
            let until = job.query.until.min(extent.end);
            for CheckedBatch { header, range } in group.batches_of(job.query.partition) {
                // A batch that has moved within its segment is there twice.
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
                let range = at + range.start..at + range.end;
                found.batches.push(FoundBatch { window: Arc::clone(&window), range });
            }
            last = Some(window);
        }
        if extents.is_empty() && next < job.query.until {
            found.error = Some(missing(job, next));
        }
        if let (true, Some(window)) = (is_follower, last) {
            self.go_on(job, runs, window.range.end);
        }
        found
    }

    /// Has the next windows read of one who is in the window that ends here.
    fn go_on(&self, job: &ReadJob, runs: &[Range<u32>], window_end: u32) {
        let own = beyond(runs, window_end).filter(|run| run.start < job.segment.end);
        let own = own.map(|run| (&job.segment, Ahead::Run(run)));
        let next = job.next.iter().flat_map(|next| next.ahead.iter().map(|what| (&next.segment, what.clone())));
        for (segment, what) in own.chain(next).take(RUNS_AHEAD) {
            self.queue.push_ahead(ReadAhead { segment: segment.clone(), what });
        }
    }

    pub(crate) fn places(&self, job: &ReadJob) -> Result<Places, WindowError> {
        match &job.extents {
            LocatedExtents::Known(extents) => Ok(Places { extents: extents.clone(), runs: job.runs.clone() }),
            LocatedExtents::Indexed(trailer) => {
                let BatchQuery { partition, from, until } = job.query;
                let index = self.indexes.load(&job.segment, *trailer)?;
                let Some(entry) = index.entry(partition) else { return Ok(Places::default()) };
                let extents = entry.extents.wanted(ReadRange { from, until, bytes: job.max_bytes });
                let runs = extents.last().map(|last| entry.extents.runs_from(last, until)).unwrap_or_default();
                Ok(Places { extents, runs })
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
                    self.followers.note(job.query.partition, end);
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

    /// Slices of the windows, or of copies where a window would be kept for little.
    pub(crate) fn bytes_of(&self, found: &[FoundBatch]) -> Vec<Bytes> {
        let mut batches = Vec::with_capacity(found.len());
        for of_window in found.chunk_by(|one, other| Arc::ptr_eq(&one.window, &other.window)) {
            let window = &of_window[0].window;
            let used: usize = of_window.iter().map(|batch| batch.range.len()).sum();
            let bytes = window.hold(&self.queue);
            let slices = of_window.iter().map(|batch| bytes.slice(batch.range.clone()));
            let copy = if used < window.length() / COPIED_PART { self.memory.copy(slices.clone()) } else { None };
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
        // Whoever comes to what cannot be read hears of it.
        match what {
            Ahead::Run(run) if run.start < segment.end && !run.is_empty() => {
                let _ = self.windows.get(&segment, run.start, run.len(), Demand::Ahead);
            }
            Ahead::Run(_) => {}
            Ahead::First(IndexedRange { trailer, partition, from, until }) => {
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
        self.indexes.entries.lock().clear();
        if !self.windows.sweep() {
            self.queue.sweep_again();
        }
    }
}

/// What the segment should hold is in no group of it that can be read. An index that was made anew lacks what is damaged, which must not be
/// passed over.
fn missing(job: &ReadJob, offset: Offset) -> WindowError {
    let (path, partition) = (job.segment.file.path.display(), job.query.partition);
    WindowError::Damaged {
        reason: format!("{path}: offset {offset} of {partition} is in no group that can be read", offset = offset.0),
    }
}

/// Whether `run` came to its end. One read that panics must take neither the thread with it, which others need, nor keep its segment from being
/// freed. Its reader is told by the answer that does not come.
fn guarded(job: ReadJob, run: impl FnOnce(ReadJob)) -> bool {
    let (generation, done) = (job.segment.place.generation, job.done.clone());
    // What the threads share is consistent between any two of their steps.
    let ran = catch_unwind(AssertUnwindSafe(|| run(job)));
    if ran.is_err() {
        done.release(generation);
    }
    ran.is_ok()
}

/// Indexes of sealed segments, the ones used last.
#[derive(Debug, Default)]
pub(crate) struct IndexCache {
    entries: Mutex<VecDeque<CachedIndex>>,
}

#[derive(Clone, Debug)]
struct CachedIndex {
    place: SegmentPlace,
    index: Arc<SegmentIndex>,
    /// When it was made anew, from what could be read then; none for the one that is stored.
    rebuilt: Option<Instant>,
}

impl IndexCache {
    fn load(&self, segment: &SegmentFile, trailer: Trailer) -> Result<Arc<SegmentIndex>, WindowError> {
        let path = &segment.file.path;
        let of = |error: io::Error| {
            let (path, offset) = (path.display(), trailer.index_group);
            WindowError::of(&error, format!("{path}, offset {offset}: the index: {error}"))
        };
        if let Some(index) = self.load_stored(segment, trailer).map_err(of)? {
            return Ok(index);
        }
        tracing::warn!(path = %path.display(), "a segment's index is damaged: it is made anew from the groups");
        let index = scan_index(path, segment.place, trailer).map_err(of)?;
        Ok(self.keep(segment.place, index, Some(Instant::now())))
    }

    /// The same, but `None` where the index on disk is damaged, or the slot has been used again.
    fn load_stored(&self, segment: &SegmentFile, trailer: Trailer) -> io::Result<Option<Arc<SegmentIndex>>> {
        if let Some(index) = self.cached(segment.place) {
            return Ok(Some(index));
        }
        let index = read_stored_index(segment, trailer)?;
        Ok(index.map(|index| self.keep(segment.place, index, None)))
    }

    fn cached(&self, place: SegmentPlace) -> Option<Arc<SegmentIndex>> {
        let mut entries = self.entries.lock();
        entries.retain(|entry| entry.rebuilt.is_none_or(|rebuilt| rebuilt.elapsed() < REBUILT_INDEX_AGE_MAX));
        let at = entries.iter().position(|known| known.place == place)?;
        let entry = entries.remove(at)?;
        let index = Arc::clone(&entry.index);
        entries.push_front(entry);
        Some(index)
    }

    fn keep(&self, place: SegmentPlace, index: SegmentIndex, rebuilt: Option<Instant>) -> Arc<SegmentIndex> {
        let index = Arc::new(index);
        let mut entries = self.entries.lock();
        entries.push_front(CachedIndex { place, index: Arc::clone(&index), rebuilt });
        entries.truncate(CACHED_INDEXES);
        index
    }

    /// An index that was made anew is made once more when it is wanted next.
    pub(crate) fn forget_rebuilt(&self, place: SegmentPlace) {
        self.entries.lock().retain(|known| known.place != place || known.rebuilt.is_none());
    }
}

/// The index that the sealed segment ends with; `None` if it is damaged.
fn read_stored_index(segment: &SegmentFile, trailer: Trailer) -> io::Result<Option<SegmentIndex>> {
    let (at, length) = (trailer.index_group, trailer.end.saturating_sub(trailer.index_group));
    // Whole blocks of the device.
    let before = at % segment.block_size;
    let length = (before + length).next_multiple_of(segment.block_size) as usize;
    match read_at(&segment.file.file, u64::from(at - before), length, &ChunkPool::default()) {
        Ok(bytes) => Ok(read_index(segment.place, at, bytes.get(before as usize..).unwrap_or_default())),
        Err(error) if Fault::of(&error) == Fault::Medium => Ok(None),
        Err(error) => Err(error),
    }
}
