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
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use crate::reads::ReadJob;

/// What a thread is to do.
#[derive(Debug)]
pub(crate) enum Task {
    Read(ReadJob),
    /// It waited for memory, and is the first to get what has been given back.
    Resume(ReadJob),
    /// It has waited for memory too long, or nobody waits for its answer.
    Refuse(ReadJob),
    End,
}

#[derive(Debug, Default)]
struct Queued {
    reads: VecDeque<ReadJob>,
    /// In the order in which they came.
    waiting: VecDeque<ReadJob>,
    /// Memory was given back since the first that waits last found none.
    has_room: bool,
    ended: bool,
}

impl Queued {
    fn pop(&mut self, now: Instant) -> Option<Task> {
        let is_over = |job: &ReadJob| job.room_by <= now || job.is_abandoned();
        if let Some(at) = self.waiting.iter().position(is_over) {
            return self.waiting.remove(at).map(Task::Refuse);
        }
        if self.ended {
            return Some(Task::End);
        }
        if self.has_room {
            self.has_room = false;
            if let Some(job) = self.waiting.pop_front() {
                return Some(Task::Resume(job));
            }
        }
        self.reads.pop_front().map(Task::Read)
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
    pub(crate) fn push(&self, job: ReadJob) {
        let mut queued = self.queued.lock();
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
            match queued.waiting.iter().map(|job| job.room_by).min() {
                Some(until) => {
                    let _timed_out = self.news.wait_until(&mut queued, until);
                }
                None => self.news.wait(&mut queued),
            }
        }
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
        drop(queued);
        drop(dropped);
        self.news.notify_all();
    }
}
