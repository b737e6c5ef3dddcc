//! What the read threads do next. A read that finds no memory stands apart until some is given back, or until its patience ends: no thread
//! waits for memory, since those that hold it may wait for a thread.
//!
//! ```text
//! push -> reads --next--> a thread --await_room--> waiting --on_room, next--> a thread
//!                                                     `------- too late -----> refused as busy
//! ```
//! The number of reads in here is bounded by the places that readers take before they ask (`PartitionReader::read`).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::read_ahead::ReadAhead;
use crate::read_job::ReadJob;

/// How long memory is kept for the next read.
pub(crate) const WARM: Duration = Duration::from_secs(1);
/// Places to read ahead from that wait for a thread.
const AHEAD_MAX: usize = 64;

/// What a thread is to do.
#[derive(Debug)]
pub(crate) enum Task {
    Read(ReadJob),
    /// It waited for memory, and is the first to get what has been given back.
    Resume(ReadJob),
    /// It has waited for memory too long, or nobody waits for its answer.
    Refuse(ReadJob),
    /// Nobody reads, or waits for this.
    Ahead(ReadAhead),
    /// Nobody has read for [`WARM`].
    Sweep,
    End,
}

#[derive(Debug, Default)]
struct Queued {
    reads: VecDeque<ReadJob>,
    /// In the order in which they came.
    waiting: VecDeque<ReadJob>,
    /// Memory was given back since the first that waits last found none.
    has_room: bool,
    ahead: VecDeque<ReadAhead>,
    /// Threads that read ahead, and how many may: one less than there are, so that whoever asks finds one. A thread that is alone may.
    reading_ahead: usize,
    reading_ahead_max: usize,
    /// When the last read came, unless its memory has been swept up since.
    read_at: Option<Instant>,
    ended: bool,
}

impl Queued {
    fn pop(&mut self, now: Instant) -> Option<Task> {
        let is_over = |job: &ReadJob| job.room_by().is_some_and(|room_by| room_by <= now) || job.is_abandoned();
        if let Some(at) = self.waiting.iter().position(is_over) {
            return self.waiting.remove(at).map(Task::Refuse);
        }
        if self.ended {
            return Some(Task::End);
        }
        // The word of room is kept until a job takes it: the one that waits may be looked at just now.
        if self.has_room
            && let Some(job) = self.waiting.pop_front()
        {
            self.has_room = false;
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
        self.read_at.take_if(|read_at| now >= *read_at + WARM).map(|_| Task::Sweep)
    }

    /// When something is to be done though nothing comes.
    fn due(&self) -> Option<Instant> {
        let refused = self.waiting.iter().filter_map(ReadJob::room_by);
        refused.chain(self.read_at.map(|read_at| read_at + WARM)).min()
    }
}

#[derive(Debug, Default)]
pub(crate) struct ReadQueue {
    queued: Mutex<Queued>,
    news: Condvar,
    /// As many as in `waiting`, and those of them that a thread looks at again.
    waiting: AtomicUsize,
}

impl ReadQueue {
    pub(crate) fn new(threads: usize) -> Self {
        let queued = Queued { reading_ahead_max: threads.saturating_sub(1).max(1), ..Queued::default() };
        Self { queued: Mutex::new(queued), ..Self::default() }
    }

    pub(crate) fn push(&self, job: ReadJob) {
        let mut queued = self.queued.lock();
        queued.read_at = Some(Instant::now());
        if !queued.ended {
            queued.reads.push_back(job);
        }
        drop(queued);
        self.news.notify_one();
    }

    /// Blocks until there is something to do.
    pub(crate) fn next(&self) -> Task {
        let mut queued = self.queued.lock();
        loop {
            if let Some(task) = queued.pop(Instant::now()) {
                return task;
            }
            match queued.due() {
                Some(until) => {
                    let _timed_out = self.news.wait_until(&mut queued, until);
                }
                None => self.news.wait(&mut queued),
            }
        }
    }

    /// Of more than enough to do ahead, the oldest is left out: its reader may have come to it by now, and reads it.
    pub(crate) fn push_ahead(&self, ahead: ReadAhead) {
        let mut queued = self.queued.lock();
        let is_same = |other: &ReadAhead| other.what == ahead.what && other.segment.place == ahead.segment.place;
        if queued.ended || queued.ahead.iter().any(is_same) {
            return;
        }
        if queued.ahead.len() >= AHEAD_MAX {
            queued.ahead.pop_front();
        }
        queued.ahead.push_back(ahead);
        drop(queued);
        self.news.notify_one();
    }

    /// A thread has read ahead, or has given it up.
    pub(crate) fn on_read_ahead(&self) {
        let mut queued = self.queued.lock();
        queued.reading_ahead -= 1;
        // What was read is swept up again, though its reader may not come.
        queued.read_at.get_or_insert_with(Instant::now);
        drop(queued);
        self.news.notify_one();
    }

    /// Some memory was held when it was swept up: it is tried again.
    pub(crate) fn sweep_again(&self) {
        self.queued.lock().read_at.get_or_insert_with(Instant::now);
    }

    /// Whether reads wait for memory: then none that comes later takes any.
    pub(crate) fn has_waiting(&self) -> bool {
        self.waiting.load(Ordering::SeqCst) > 0
    }

    /// The job found no memory for the first time.
    pub(crate) fn await_room(&self, job: ReadJob) {
        self.waiting.fetch_add(1, Ordering::SeqCst);
        let mut queued = self.queued.lock();
        if !queued.ended {
            queued.waiting.push_back(job);
        }
        // Some may have been given back before the job was counted.
        queued.has_room = true;
        drop(queued);
        self.news.notify_one();
    }

    /// The job found no memory again, and stays the first in turn.
    pub(crate) fn await_room_again(&self, job: ReadJob) {
        let mut queued = self.queued.lock();
        if !queued.ended {
            queued.waiting.push_front(job);
        }
        drop(queued);
        // A thread that waits until an earlier time must learn of this one's.
        self.news.notify_one();
    }

    /// A job that waited does so no more. There may be room for the next one too.
    pub(crate) fn on_resumed(&self) {
        self.waiting.fetch_sub(1, Ordering::SeqCst);
        self.on_room();
    }

    /// Memory was given back.
    pub(crate) fn on_room(&self) {
        if self.has_waiting() {
            self.queued.lock().has_room = true;
            self.news.notify_one();
        }
    }

    /// The threads end. What is queued, or comes later, is dropped, and its readers hear that the partition is closed.
    pub(crate) fn end(&self) {
        let mut queued = self.queued.lock();
        queued.ended = true;
        let dropped = (std::mem::take(&mut queued.reads), std::mem::take(&mut queued.waiting));
        queued.ahead.clear();
        drop(queued);
        drop(dropped);
        self.news.notify_all();
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
    fn room_that_comes_while_the_one_that_waits_is_looked_at_is_not_forgotten() {
        let test = TestSegment::new(1, &[100]);
        let (reply, _answer) = oneshot::channel();
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        let partition = TopicIdPartition { topic_id: TopicId(1), partition: PartitionId(0) };
        let now = Instant::now();
        let queue = ReadQueue::default();
        queue.await_room(ReadJob {
            hold: test.hold(),
            segment: test.segment,
            extents: LocatedExtents::Known(Vec::new()),
            runs: Vec::new(),
            next: None,
            query: BatchQuery { partition, from: Offset(0), until: Offset(1) },
            max_bytes: 1,
            at_least_one: true,
            destination: Destination::Reader { reply, room_by: now + Duration::from_secs(600), place },
        });
        let pop = || queue.queued.lock().pop(now);
        let Some(Task::Resume(job)) = pop() else { panic!("it waits") };
        // The thread that has it finds no memory; then some is given back, and another thread is woken by that.
        queue.on_room();
        assert!(pop().is_none(), "there is nothing else to do");
        queue.await_room_again(job);
        assert!(matches!(pop(), Some(Task::Resume(_))));
    }
}
