//! What reaches a shard from other threads, and how much of it one turn takes.

use rustmq_engine_api::request::{DiskRead, Request, TimeSearch};
use rustmq_engine_core::shard::Now;
use tokio::sync::mpsc::{self, error::TryRecvError};

use crate::event::Event;
use crate::shard::Shard;

/// Requests that wait in the shard itself, so that one commit takes many.
const REQUESTS_PER_TURN: usize = 256;
/// Each is looked up in the indexes of the segments, which takes longer than laying a small batch.
const READS_PER_TURN: usize = 32;
const SEARCHES_PER_TURN: usize = 32;
const EVENTS_PER_TURN: usize = 256;

pub(crate) struct Inboxes {
    pub requests: mpsc::Receiver<Request>,
    pub disk_reads: mpsc::Receiver<DiskRead>,
    pub time_searches: mpsc::Receiver<TimeSearch>,
    pub events: mpsc::Receiver<Event>,
}

impl Shard {
    pub(crate) fn take_events(&mut self, now: Now) {
        for _ in 0..EVENTS_PER_TURN {
            let Ok(event) = self.inboxes.events.try_recv() else { return };
            self.on_event(event, now);
        }
    }

    pub(crate) fn take_disk_reads(&mut self) {
        if self.is_closing() {
            return;
        }
        for _ in 0..READS_PER_TURN {
            let Ok(read) = self.inboxes.disk_reads.try_recv() else { return };
            self.read(read);
        }
    }

    pub(crate) fn take_time_searches(&mut self) {
        for _ in 0..SEARCHES_PER_TURN {
            let Ok(search) = self.inboxes.time_searches.try_recv() else { return };
            self.search(search);
        }
    }

    pub(crate) fn take_requests(&mut self) {
        while !self.is_closing() && self.backlog_length() < REQUESTS_PER_TURN {
            match self.inboxes.requests.try_recv() {
                Ok(request) => self.queue(request),
                Err(TryRecvError::Empty) => return,
                // Every handle is gone.
                Err(TryRecvError::Disconnected) => self.close(None),
            }
        }
    }
}
