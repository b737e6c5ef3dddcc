//! Reads what has left memory: a few threads with a bounded queue, never the shard's own. The shard says where; each frame is
//! checked before it is served. What a move reads has a thread of its own: cleaning a full log must not queue behind readers.
//! In what order reads are served, and which wait for memory, is the queue's matter (`read_queue`).

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, mpsc};
use std::time::Instant;

use bytes::Bytes;
use parking_lot::Mutex;
use rustmq_engine_api::chunk::ChunkPool;
use rustmq_engine_api::request::Reply;
use rustmq_engine_api::{LogOffsets, ReadBatches, ReadError};
use rustmq_engine_core::wal::read_check::{BatchQuery, CheckedBatch, GroupRead, read_group};
use rustmq_engine_core::wal::recovery::read_index;
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_engine_core::wal::segments::LocatedExtents;
use rustmq_engine_core::wal::{Extent, ReadRange, SegmentIndex, Trailer};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::dio::read_at;
use crate::disk::SlotFile;
use crate::event::{Event, EventSender};
use crate::metrics::Metrics;
use crate::read_memory::{ReadMemory, ReadShare};
use crate::read_queue::{ReadQueue, Task};

/// Bytes to read at once; a larger group is read whole.
const WINDOW: usize = 256 << 10;
/// Indexes of sealed segments that are kept.
const CACHED_INDEXES: usize = 16;

/// Where the batches go.
#[derive(Debug)]
pub(crate) enum Destination {
    /// With the place in the queue that it was given.
    Reader(Reply<Result<ReadBatches, ReadError>>, OwnedSemaphorePermit),
    /// Back to the shard, to be written anew.
    Move,
}

#[derive(Debug)]
pub(crate) struct ReadJob {
    pub place: SegmentPlace,
    pub file: Arc<SlotFile>,
    pub extents: LocatedExtents,
    pub query: BatchQuery,
    pub max_bytes: usize,
    pub at_least_one: bool,
    /// Refused if it has not found memory by then.
    pub room_by: Instant,
    /// What the device reads in, which may be more than the segment is laid out by: the folder has moved to it.
    pub block_size: u32,
    pub destination: Destination,
    /// The shard holds the segment until it hears that the job is done.
    pub done: EventSender,
}

impl ReadJob {
    /// Nobody waits for the answer.
    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(&self.destination, Destination::Reader(reply, _) if reply.is_closed())
    }

    fn answer(self, batches: Result<Vec<Bytes>, ReadError>) {
        let (partition, generation) = (self.query.partition, self.place.generation);
        match self.destination {
            Destination::Reader(reply, _place) => {
                let answer =
                    batches.map(|batches| ReadBatches { batches, aborted: Vec::new(), offsets: LogOffsets::default() });
                // A reader that has gone does not need it.
                let _ = reply.send(answer);
            }
            Destination::Move => {
                let batches = batches.map_err(|error| error.to_string());
                self.done.send(Event::MoveRead { partition, generation, batches });
            }
        }
        self.done.send(Event::Released { generation });
    }
}

/// The queues of the read threads, which end with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct ReadPool {
    readers: Arc<Readers>,
    moves: mpsc::SyncSender<ReadJob>,
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
}

impl ReadPool {
    /// `shards` move, one segment each at a time.
    pub(crate) fn start(limits: ReadLimits, shards: usize, metrics: &Metrics) -> io::Result<Self> {
        let ReadLimits { threads, places, memory_bytes } = limits;
        let queue = Arc::new(ReadQueue::default());
        let places = Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)));
        let memory = ReadMemory::new(memory_bytes, metrics.cold_read_memory_bytes.clone(), Arc::clone(&queue));
        let reader = Reader { indexes: Arc::default(), memory, queue: Arc::clone(&queue), metrics: metrics.clone() };
        // Made first: an error below ends the threads that run already.
        let (moves, inbox) = mpsc::sync_channel(shards);
        let pool = Self { readers: Arc::new(Readers { queue, places }), moves };
        for number in 0..threads.max(1) {
            let reader = reader.clone();
            std::thread::Builder::new().name(format!("rustmq-read-{number}")).spawn(move || reader.run())?;
        }
        std::thread::Builder::new().name("rustmq-move".to_owned()).spawn(move || {
            while let Ok(job) = inbox.recv() {
                reader.read_to_move(job);
            }
        })?;
        Ok(pool)
    }

    /// Whoever asks for a read takes one of these first.
    pub(crate) fn places(&self) -> Arc<Semaphore> {
        Arc::clone(&self.readers.places)
    }

    /// Gives a move back if too many are queued. A reader's job has its place.
    pub(crate) fn submit(&self, job: ReadJob) -> Result<(), Box<ReadJob>> {
        match job.destination {
            Destination::Reader(..) => self.readers.queue.push(job),
            Destination::Move => {
                return self.moves.try_send(job).map_err(|error| match error {
                    mpsc::TrySendError::Full(job) | mpsc::TrySendError::Disconnected(job) => Box::new(job),
                });
            }
        }
        Ok(())
    }
}

/// What a read thread works with.
#[derive(Clone, Debug)]
struct Reader {
    indexes: Arc<IndexCache>,
    memory: ReadMemory,
    queue: Arc<ReadQueue>,
    metrics: Metrics,
}

impl Reader {
    fn run(&self) {
        loop {
            match self.queue.next() {
                Task::Read(job) => self.read(job),
                Task::Resume(job) => self.resume(job),
                Task::Refuse(job) => {
                    self.queue.on_resumed();
                    self.metrics.busy_reads.inc();
                    job.answer(Err(ReadError::Busy));
                }
                Task::End => return,
            }
        }
    }

    fn read(&self, job: ReadJob) {
        // In turn: what comes later takes no memory before those that wait.
        let share = if self.queue.has_waiting() { None } else { self.share(&job) };
        match share {
            Some(share) => self.read_with(job, share),
            None if job.at_least_one => self.queue.await_room(job),
            // Who holds memory already must not wait for more: readers would wait for each other.
            None => {
                self.metrics.busy_reads.inc();
                job.answer(Ok(Vec::new()));
            }
        }
    }

    fn resume(&self, job: ReadJob) {
        match self.share(&job) {
            Some(share) => {
                self.queue.on_resumed();
                self.read_with(job, share);
            }
            None => self.queue.await_room_again(job),
        }
    }

    fn share(&self, job: &ReadJob) -> Option<ReadShare> {
        self.memory.take(job.max_bytes.min(self.memory.read_bytes_max()).max(WINDOW))
    }

    fn read_with(&self, mut job: ReadJob, mut share: ReadShare) {
        job.max_bytes = job.max_bytes.min(self.memory.read_bytes_max());
        let batches = read(&job, &self.indexes).map(|(batches, held)| {
            share.settle(held);
            share.hold(batches)
        });
        self.count(&batches);
        job.answer(batches);
    }

    /// One plan at a time, in small parts: it waits for no memory.
    fn read_to_move(&self, job: ReadJob) {
        let batches = read(&job, &self.indexes).map(|(batches, _)| batches);
        self.count(&batches);
        job.answer(batches);
    }

    fn count(&self, batches: &Result<Vec<Bytes>, ReadError>) {
        self.metrics.cold_reads.inc();
        if let Ok(batches) = batches {
            self.metrics.cold_read_bytes.inc_by(batches.iter().map(|batch| batch.len() as u64).sum());
        }
    }
}

/// The batches, and the bytes of memory that they keep.
fn read(job: &ReadJob, indexes: &IndexCache) -> Result<(Vec<Bytes>, usize), ReadError> {
    let extents = match &job.extents {
        LocatedExtents::Known(extents) => extents.clone(),
        LocatedExtents::Indexed(trailer) => {
            let range = ReadRange { from: job.query.from, until: job.query.until, bytes: job.max_bytes };
            let index = indexes.load(job, *trailer)?;
            index.entry(job.query.partition).map(|entry| entry.extents.wanted(range)).unwrap_or_default()
        }
    };
    let mut window = Window { start: 0, bytes: Bytes::new(), file: &job.file, block_size: job.block_size };
    let mut batches = Vec::new();
    let mut room = job.max_bytes;
    let mut next = job.query.from;
    let mut held = 0;
    let mut held_window = None;
    for extent in &extents {
        let (group, found) = read_one(job, &mut window, extent)?;
        for CheckedBatch { header, range } in found {
            // A batch that has moved within its segment is there twice.
            if header.next_offset() <= next {
                continue;
            }
            let first = job.at_least_one && batches.is_empty();
            if range.len() > room && !first {
                return Ok((batches, held));
            }
            room = room.saturating_sub(range.len());
            next = header.next_offset();
            let bytes = group.slice(range);
            // A small batch must not keep a whole window alive.
            if bytes.len() < window.bytes.len() / 4 {
                held += bytes.len();
                batches.push(Bytes::copy_from_slice(&bytes));
            } else {
                if held_window.replace(window.start) != Some(window.start) {
                    held += window.bytes.len();
                }
                batches.push(bytes);
            }
        }
    }
    Ok((batches, held))
}

/// The bytes of an extent's group, and the batches in it that are asked for.
fn read_one(
    job: &ReadJob,
    window: &mut Window<'_>,
    extent: &Extent,
) -> Result<(Bytes, Vec<CheckedBatch>), ReadError> {
    let offset = extent.group_offset;
    // What lies above the extent was truncated by a later group.
    let query = BatchQuery { until: job.query.until.min(extent.end), ..job.query };
    let mut group = window.at(offset, job.place.shape.block_size() as usize)?;
    loop {
        match read_group(job.place, offset, &group, query) {
            Ok(GroupRead::Batches { batches, .. }) => return Ok((group, batches)),
            Ok(GroupRead::NeedBytes { length }) if length as usize > group.len() => {
                let asked = window.at(offset, length as usize)?;
                if asked.len() < length as usize {
                    return Err(damaged(job, offset, "the file ends before the group does"));
                }
                group = asked;
            }
            Ok(GroupRead::NeedBytes { .. }) => return Err(damaged(job, offset, "the group has no end")),
            Err(damage) => return Err(damaged(job, offset, &damage.to_string())),
        }
    }
}

fn damaged(job: &ReadJob, offset: u32, reason: &str) -> ReadError {
    let path = job.file.path.display();
    tracing::error!(%path, offset, reason, "the write-ahead log cannot be read back");
    ReadError::Storage { reason: format!("{path}, offset {offset}: {reason}") }
}

/// The part of a file that was read last: neighbouring groups come from one read.
struct Window<'a> {
    start: usize,
    bytes: Bytes,
    file: &'a SlotFile,
    block_size: u32,
}

/// At least `length` bytes at `offset`, unless the file ends, in whole blocks of the device, and where they start.
fn read_blocks(file: &SlotFile, offset: u32, length: usize, block_size: u32) -> Result<(u32, Bytes), ReadError> {
    let before = offset % block_size;
    let length = (before as usize + length).next_multiple_of(block_size as usize);
    let bytes = read_at(&file.file, u64::from(offset - before), length, &ChunkPool::default());
    let bytes = bytes.map_err(|error| ReadError::Storage { reason: format!("{}: {error}", file.path.display()) })?;
    Ok((offset - before, bytes))
}

impl Window<'_> {
    /// The bytes from `offset` on, `length` of them at least, unless the file ends.
    fn at(&mut self, offset: u32, length: usize) -> Result<Bytes, ReadError> {
        let (at, end) = (offset as usize, self.start + self.bytes.len());
        if at < self.start || at + length > end {
            let (start, bytes) = read_blocks(self.file, offset, length.max(WINDOW), self.block_size)?;
            (self.start, self.bytes) = (start as usize, bytes);
        }
        // The file may end before the offset.
        Ok(self.bytes.slice((at - self.start).min(self.bytes.len())..))
    }
}

/// Indexes of sealed segments, the ones used last.
#[derive(Debug, Default)]
struct IndexCache {
    entries: Mutex<VecDeque<(SegmentPlace, Arc<SegmentIndex>)>>,
}

impl IndexCache {
    fn load(&self, job: &ReadJob, trailer: Trailer) -> Result<Arc<SegmentIndex>, ReadError> {
        let (place, file) = (job.place, &job.file);
        {
            let mut entries = self.entries.lock();
            if let Some(at) = entries.iter().position(|(known, _)| *known == place)
                && let Some(entry) = entries.remove(at)
            {
                let index = Arc::clone(&entry.1);
                entries.push_front(entry);
                return Ok(index);
            }
        }
        let length = trailer.end.saturating_sub(trailer.index_group) as usize;
        let (start, bytes) = read_blocks(file, trailer.index_group, length, job.block_size)?;
        let group = bytes.get((trailer.index_group - start) as usize..).unwrap_or_default();
        let index = read_index(place, trailer.index_group, group).ok_or_else(|| ReadError::Storage {
            reason: format!("{}: the segment's index is damaged", file.path.display()),
        })?;
        let index = Arc::new(index);
        let mut entries = self.entries.lock();
        entries.push_front((place, Arc::clone(&index)));
        entries.truncate(CACHED_INDEXES);
        Ok(index)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use bytes::Bytes;
    use rustmq_engine_core::wal::SlotId;

    use super::{WINDOW, Window};
    use crate::dio::DirectIo;
    use crate::disk::SlotFile;

    #[test]
    fn a_window_is_whole_blocks_of_a_device_with_larger_ones_than_the_segments() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("slot");
        let content: Vec<_> = (0..8 * 65_536_u32).map(|at| u8::try_from(at / 4096 % 251).unwrap()).collect();
        std::fs::write(&path, &content).unwrap();
        let file = SlotFile::open(SlotId(0), path, DirectIo { direct: false, block_size: 65_536 }).unwrap();
        let mut window = Window { start: 0, bytes: Bytes::new(), file: &file, block_size: 65_536 };
        for (offset, length) in [(4_096, 100), (69_632, WINDOW + 1), (520_192, 4_096), (4_096, 4_096)] {
            let found = window.at(offset, length).unwrap();
            assert!(found.len() >= length.min(content.len() - offset as usize), "{offset}");
            assert!(content[offset as usize..].starts_with(&found), "{offset}");
            assert_eq!((window.start % 65_536, window.bytes.len() % 65_536), (0, 0), "{offset}");
        }
        assert!(window.at(600_000, 1).unwrap().is_empty(), "the file ends before");
    }
}
