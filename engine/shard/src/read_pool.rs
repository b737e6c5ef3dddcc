//! The threads that read batches which have left memory: a few threads with a bounded queue, never
//! the shard's own. The partition's map locates the batches; `reader` and `window_cache` check them
//! and share them among all readers of a place. Moves have a thread of their own (`move_read`),
//! because cleaning a full log must not queue behind readers. `read_queue` decides the order of
//! reads, and which of them wait for memory.

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

/// The queues of the read threads. The threads end with the last clone.
#[derive(Clone, Debug)]
pub(crate) struct ReadPool {
    readers: Arc<Readers>,
    moves: mpsc::SyncSender<ReadBack>,
    turns: Arc<DiskTurns>,
    read_bytes_max: usize,
}

/// The readers' queue, and the permits that bound it. Ends the threads when it is dropped.
#[derive(Debug)]
struct Readers {
    queue: Arc<ReadQueue>,
    permits: Arc<Semaphore>,
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.permits.close();
        self.queue.end();
    }
}

/// The bounds of the read threads.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ReadLimits {
    pub threads: usize,
    /// The most reads that are queued, executed, or waiting for memory.
    pub reads_max: usize,
    pub memory_bytes: usize,
    /// How long batches that must move have to be unreadable before they count as damaged.
    pub damage_timeout: Duration,
}

impl ReadPool {
    /// Starts the threads. Each of the `shards` has at most one segment that moves and one log that
    /// is rebuilt at a time.
    pub(crate) fn start(limits: ReadLimits, shards: usize, metrics: &Metrics) -> io::Result<Self> {
        let ReadLimits { threads, reads_max, memory_bytes, damage_timeout } = limits;
        let threads = threads.max(1);
        let queue = Arc::new(ReadQueue::new(threads));
        let permits = Arc::new(Semaphore::new(reads_max.clamp(1, Semaphore::MAX_PERMITS)));
        let memory = ReadMemory::new(memory_bytes, metrics.cold_read_memory_bytes.clone(), Arc::clone(&queue));
        let read_bytes_max = memory.read_bytes_max();
        let reader = Reader {
            indexes: Arc::default(),
            sequential_reads: Arc::default(),
            windows: Arc::new(WindowCache::new(memory.clone(), metrics.clone())),
            memory,
            queue: Arc::clone(&queue),
            metrics: metrics.clone(),
        };
        // Built before the threads: if starting one fails, dropping the pool ends the others.
        let (moves, inbox) = mpsc::sync_channel(shards * ReadBack::KINDS);
        let pool = Self { readers: Arc::new(Readers { queue, permits }), moves, turns: Arc::default(), read_bytes_max };
        for number in 0..threads {
            let reader = reader.clone();
            std::thread::Builder::new().name(format!("rustmq-read-{number}")).spawn(move || reader.run())?;
        }
        let mut mover = Mover::new(&reader, damage_timeout);
        std::thread::Builder::new().name("rustmq-move".to_owned()).spawn(move || mover.run(&inbox))?;
        Ok(pool)
    }

    /// A reader takes one of these permits before it submits a read.
    pub(crate) fn permits(&self) -> Arc<Semaphore> {
        Arc::clone(&self.readers.permits)
    }

    /// The turns at the disk, which reads share with commits.
    pub(crate) fn turns(&self) -> Arc<DiskTurns> {
        Arc::clone(&self.turns)
    }

    /// The most bytes that one read may take, so that several reads progress at the same time.
    pub(crate) fn read_bytes_max(&self) -> usize {
        self.read_bytes_max
    }

    /// Submits a reader's job, which holds its permit.
    pub(crate) fn submit(&self, job: ReadJob) {
        self.readers.queue.push(job);
    }

    /// Submits a move's job. Returns whether it was taken; it is not if too many are queued.
    pub(crate) fn submit_move(&self, job: ReadJob) -> bool {
        self.moves.try_send(ReadBack::Move(Box::new(job))).is_ok()
    }

    /// Submits the rebuild of a log. Returns whether it was taken.
    pub(crate) fn submit_rebuild(&self, job: RebuildJob) -> bool {
        self.moves.try_send(ReadBack::Rebuild(job)).is_ok()
    }

    /// The same pool, but without a mover: no move is ever taken.
    #[cfg(test)]
    pub(crate) fn without_mover(&self) -> Self {
        Self { moves: mpsc::sync_channel(0).0, ..self.clone() }
    }
}
