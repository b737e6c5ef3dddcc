//! Reads what has left memory: a few threads with a bounded queue, never the shard's own. The partition's map says where; what is read is checked, and
//! shared by all who read the same place (`reader`, `window_cache`). What a move reads has a thread of its own (`move_read`): cleaning a full
//! log must not queue behind readers. In what order reads are served, and which wait for memory, is the queue's matter (`read_queue`).

use std::io;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use tokio::sync::Semaphore;

use crate::disk::DiskTurns;
use crate::metrics::Metrics;
use crate::move_read::{Mover, ReadBack};
use crate::read_job::ReadJob;
use crate::read_memory::ReadMemory;
use crate::read_queue::ReadQueue;
use crate::reader::Reader;
use crate::rebuild_job::RebuildJob;
use crate::window_cache::WindowCache;

/// The queues of the read threads, which end with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct ReadPool {
    readers: Arc<Readers>,
    moves: mpsc::SyncSender<ReadBack>,
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
    /// `shards` read back, one segment to be moved and one log to be cut each at a time.
    pub(crate) fn start(limits: ReadLimits, shards: usize, metrics: &Metrics) -> io::Result<Self> {
        let ReadLimits { threads, places, memory_bytes, damage_patience } = limits;
        let threads = threads.max(1);
        let queue = Arc::new(ReadQueue::new(threads));
        let places = Arc::new(Semaphore::new(places.clamp(1, Semaphore::MAX_PERMITS)));
        let memory = ReadMemory::new(memory_bytes, metrics.cold_read_memory_bytes.clone(), Arc::clone(&queue));
        let read_bytes_max = memory.read_bytes_max();
        let reader = Reader {
            indexes: Arc::default(),
            followers: Arc::default(),
            windows: Arc::new(WindowCache::new(memory.clone(), metrics.clone())),
            memory,
            queue: Arc::clone(&queue),
            metrics: metrics.clone(),
        };
        // Made first: an error below ends the threads that run already.
        let (moves, inbox) = mpsc::sync_channel(shards * ReadBack::KINDS);
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
        self.moves.try_send(ReadBack::Move(Box::new(job))).is_ok()
    }

    /// A log that is to be read back. Answers whether it was taken.
    pub(crate) fn submit_rebuild(&self, job: RebuildJob) -> bool {
        self.moves.try_send(ReadBack::Rebuild(job)).is_ok()
    }

    /// The same, but no move is ever taken.
    #[cfg(test)]
    pub(crate) fn without_mover(&self) -> Self {
        Self { moves: mpsc::sync_channel(0).0, ..self.clone() }
    }
}
