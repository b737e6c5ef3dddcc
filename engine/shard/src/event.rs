//! What a shard's other threads tell it. Their number is bounded by the work that it gave them.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use rustmq_engine_core::log::PartitionLog;
use rustmq_engine_core::shard::{MoveError, RebuildError};
use rustmq_engine_core::wal::{Generation, SlotId};
use tokio::sync::mpsc;

use crate::disk::SlotFile;
use crate::folder::FolderError;

#[derive(Debug)]
pub(crate) enum Event {
    /// The slot's whole length is held on disk.
    SlotReserved {
        slot: SlotId,
        file: Arc<SlotFile>,
    },
    SlotFilled {
        slot: SlotId,
    },
    SlotFailed {
        slot: SlotId,
    },
    /// The thread that prepares slots is gone.
    PreparerPanicked,
    /// Read threads have done with segments: [`EventSender::take_released`] says with which. At most one of these is on its way, however many
    /// reads end meanwhile.
    Released,
    /// Batches of the oldest segment, read back to be moved.
    MoveRead {
        number: u64,
        batches: Result<Vec<Bytes>, MoveError>,
    },
    /// What a log was, read back for a cut.
    LogRebuilt {
        number: u64,
        log: Result<Box<PartitionLog>, RebuildError>,
    },
    /// Recent batches may take another amount of memory: a smaller one is kept at once, also by a shard that is idle.
    TailBudgetSet,
    /// The folder no longer says that the WAL was repaired, or why it still does.
    RepairForgotten(Result<(), FolderError>),
    /// A sync beside the commits has failed. What it covered counts as lost, what is in flight with it: a later sync may succeed without it, and where
    /// commits are not synced there is none.
    SyncFailed {
        reason: String,
    },
}

#[derive(Clone, Debug)]
pub(crate) struct EventSender {
    events: mpsc::Sender<Event>,
    /// How many reads of each segment have ended since the shard took them.
    released: Arc<Mutex<BTreeMap<Generation, u32>>>,
}

impl EventSender {
    pub(crate) fn channel(places: usize) -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(places);
        (Self { events: sender, released: Arc::default() }, receiver)
    }

    /// Whether nobody takes events any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.events.is_closed()
    }

    /// From a plain thread. A shard that has ended needs no news.
    pub(crate) fn send(&self, event: Event) {
        let _ = self.events.blocking_send(event);
    }

    /// From a read thread that has done with a segment. The shard is told only of the first one that it has not taken.
    pub(crate) fn release(&self, generation: Generation) {
        let is_first = {
            let mut released = self.released.lock();
            let is_first = released.is_empty();
            *released.entry(generation).or_default() += 1;
            is_first
        };
        if is_first {
            self.send(Event::Released);
        }
    }

    /// For the shard: the segments that were released since it asked last, and how often.
    pub(crate) fn take_released(&self) -> BTreeMap<Generation, u32> {
        std::mem::take(&mut self.released.lock())
    }
}

#[cfg(test)]
mod tests {
    use rustmq_engine_core::wal::Generation;

    use super::{Event, EventSender};

    #[test]
    fn reads_that_end_while_the_shard_is_busy_take_one_place_of_its_queue() {
        let (sender, mut events) = EventSender::channel(1);
        (0..100).for_each(|_| sender.release(Generation(3)));
        sender.release(Generation(4));
        assert!(matches!(events.try_recv(), Ok(Event::Released)));
        let released: Vec<_> = sender.take_released().into_iter().collect();
        assert_eq!(released, [(Generation(3), 100), (Generation(4), 1)]);
        assert!(events.try_recv().is_err());
        sender.release(Generation(4));
        assert!(events.try_recv().is_ok(), "what was taken is over");
    }
}
