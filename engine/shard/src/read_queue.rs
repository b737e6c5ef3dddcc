//! The queue of the read threads. A read that finds no memory waits apart until some is released,
//! or until its deadline. No thread waits for memory, because the holders of memory may wait for a
//! thread.
//!
//! ```text
//! push -> reads --next--> a thread --await_memory--> waiting --on_memory_freed, next--> a thread
//! waiting --deadline--> refused as busy
//! ```
//! The permits that readers take before they ask (`PartitionReader::read`) bound the number of
//! reads.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::read_ahead::ReadAhead;
use crate::read_job::ReadJob;

/// How long windows and indexes stay in memory after the last read.
pub(crate) const IDLE_SWEEP_AFTER: Duration = Duration::from_secs(1);
/// The most read-aheads that wait for a thread.
const AHEAD_MAX: usize = 64;

/// A task for a thread.
#[derive(Debug)]
pub(crate) enum Task {
    Read(ReadJob),
    /// A read that waited for memory, and the first to get released memory.
    Resume(ReadJob),
    /// A read that has waited for memory too long, or that nobody waits for.
    Refuse(ReadJob),
    /// A read-ahead: no reader waits for it.
    Ahead(ReadAhead),
    /// Nobody has read for [`IDLE_SWEEP_AFTER`].
    Sweep,
    End,
}

#[derive(Debug, Default)]
struct QueueState {
    reads: VecDeque<ReadJob>,
    /// The reads that wait for memory, in the order of their arrival.
    waiting: VecDeque<ReadJob>,
    /// Whether memory was released since the first waiting read last found none.
    has_freed_memory: bool,
    ahead: VecDeque<ReadAhead>,
    /// The number of threads that read ahead, and its bound: one less than there are, so that a
    /// reader finds a free thread. A single thread may read ahead, too.
    reading_ahead: usize,
    reading_ahead_max: usize,
    /// When the last read arrived; `None` after the sweep that followed it.
    read_at: Option<Instant>,
    ended: bool,
}

impl QueueState {
    fn pop(&mut self, now: Instant) -> Option<Task> {
        let is_over = |job: &ReadJob| job.deadline().is_some_and(|deadline| deadline <= now) || job.is_abandoned();
        if let Some(at) = self.waiting.iter().position(is_over) {
            return self.waiting.remove(at).map(Task::Refuse);
        }
        if self.ended {
            return Some(Task::End);
        }
        // The flag stays set until a job takes it: the only waiting read may be with a thread just
        // now.
        if self.has_freed_memory
            && let Some(job) = self.waiting.pop_front()
        {
            self.has_freed_memory = false;
            return Some(Task::Resume(job));
        }
        if let Some(job) = self.reads.pop_front() {
            return Some(Task::Read(job));
        }
        if self.reading_ahead < self.reading_ahead_max
            && let Some(ahead) = self.ahead.pop_front()
        {
            self.reading_ahead += 1;
            return Some(Task::Ahead(ahead));
        }
        self.read_at.take_if(|read_at| now >= *read_at + IDLE_SWEEP_AFTER).map(|_| Task::Sweep)
    }

    /// When a task falls due without any new input.
    fn due(&self) -> Option<Instant> {
        let refused = self.waiting.iter().filter_map(ReadJob::deadline);
        refused.chain(self.read_at.map(|read_at| read_at + IDLE_SWEEP_AFTER)).min()
    }
}

#[derive(Debug, Default)]
pub(crate) struct ReadQueue {
    state: Mutex<QueueState>,
    changed: Condvar,
    /// The number of reads in `waiting`, and of those that a thread tries again.
    waiting: AtomicUsize,
}

impl ReadQueue {
    pub(crate) fn new(threads: usize) -> Self {
        let state = QueueState { reading_ahead_max: threads.saturating_sub(1).max(1), ..QueueState::default() };
        Self { state: Mutex::new(state), ..Self::default() }
    }

    pub(crate) fn push(&self, job: ReadJob) {
        let mut state = self.state.lock();
        state.read_at = Some(Instant::now());
        if !state.ended {
            state.reads.push_back(job);
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Blocks until there is a task.
    pub(crate) fn next(&self) -> Task {
        let mut state = self.state.lock();
        loop {
            if let Some(task) = state.pop(Instant::now()) {
                return task;
            }
            match state.due() {
                Some(until) => {
                    let _timed_out = self.changed.wait_until(&mut state, until);
                }
                None => self.changed.wait(&mut state),
            }
        }
    }

    /// Beyond the bound, the oldest read-ahead is dropped: by now its reader has probably come to
    /// that place and reads it.
    pub(crate) fn push_ahead(&self, ahead: ReadAhead) {
        let mut state = self.state.lock();
        let is_same = |other: &ReadAhead| other.what == ahead.what && other.segment.place == ahead.segment.place;
        if state.ended || state.ahead.iter().any(is_same) {
            return;
        }
        if state.ahead.len() >= AHEAD_MAX {
            state.ahead.pop_front();
        }
        state.ahead.push_back(ahead);
        drop(state);
        self.changed.notify_one();
    }

    /// A thread has finished a read-ahead.
    pub(crate) fn on_read_ahead(&self) {
        let mut state = self.state.lock();
        state.reading_ahead -= 1;
        // Schedules a sweep for the window, because its reader may never come.
        state.read_at.get_or_insert_with(Instant::now);
        drop(state);
        self.changed.notify_one();
    }

    /// Schedules another sweep, because the last one could not drop everything.
    pub(crate) fn sweep_again(&self) {
        self.state.lock().read_at.get_or_insert_with(Instant::now);
    }

    /// Whether reads wait for memory: then no later read takes any.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// Queues a job that found no memory for the first time.
    pub(crate) fn await_memory(&self, job: ReadJob) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut state = self.state.lock();
        if !state.ended {
            state.waiting.push_back(job);
        }
        // Memory may have been released before the job was counted.
        state.has_freed_memory = true;
        drop(state);
        self.changed.notify_one();
    }

    /// Puts back a job that found no memory again; it stays the first in the queue.
    pub(crate) fn await_memory_again(&self, job: ReadJob) {
        let mut state = self.state.lock();
        if !state.ended {
            state.waiting.push_front(job);
        }
        drop(state);
        // A thread may wait for a deadline later than this job's.
        self.changed.notify_one();
    }

    /// A job has stopped waiting for memory. Memory may be left for the next one.
    pub(crate) fn on_resumed(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.on_memory_freed();
    }

    /// Memory was released.
    pub(crate) fn on_memory_freed(&self) {
        if self.has_waiting() {
            self.state.lock().has_freed_memory = true;
            self.changed.notify_one();
        }
    }

    /// Ends the threads. Drops queued and later reads, and their readers learn that the partition
    /// is closed.
    pub(crate) fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        let dropped = (std::mem::take(&mut state.reads), std::mem::take(&mut state.waiting));
        state.ahead.clear();
        drop(state);
        drop(dropped);
        self.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use rustmq_engine_core::wal::read_check::BatchQuery;
    use rustmq_engine_core::wal::segments::LocatedExtents;
    use rustmq_model::{Offset, PartitionId, TopicId, TopicIdPartition};
    use tokio::sync::{Semaphore, oneshot};

    use super::{ReadQueue, Task};
    use crate::read_job::{Destination, ReadJob};
    use crate::window::tests::TestSegment;

    #[test]
    fn memory_released_while_a_thread_retries_the_waiting_read_is_not_forgotten() {
        let test = TestSegment::new(1, &[100]);
        let (reply, _answer) = oneshot::channel();
        let permit = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let partition = TopicIdPartition { topic_id: TopicId(1), partition: PartitionId(0) };
        let now = Instant::now();
        let queue = ReadQueue::default();
        queue.await_memory(ReadJob {
            hold: test.hold(),
            segment: test.segment,
            extents: LocatedExtents::Known(Vec::new()),
            runs: Vec::new(),
            next: None,
            query: BatchQuery { partition, from: Offset(0), until: Offset(1) },
            max_bytes: 1,
            at_least_one: true,
            destination: Destination::Reader { reply, deadline: now + Duration::from_secs(600), permit },
        });
        let pop = || queue.state.lock().pop(now);
        let Some(Task::Resume(job)) = pop() else { panic!("it waits") };
        // The thread with the job finds no memory; then some is released, which wakes another
        // thread.
        queue.on_memory_freed();
        assert!(pop().is_none(), "there is nothing else to do");
        queue.await_memory_again(job);
        assert!(matches!(pop(), Some(Task::Resume(_))));
    }
}
