//! What a shard's other threads tell it. Their number is bounded by the work that it gave them.

use std::sync::Arc;

use bytes::Bytes;
use rustmq_engine_core::wal::{Generation, SlotId};
use rustmq_model::TopicIdPartition;
use tokio::sync::mpsc;

use crate::disk::SlotFile;

#[derive(Debug)]
pub(crate) enum Event {
    SlotPrepared {
        slot: SlotId,
        file: Arc<SlotFile>,
    },
    SlotFailed {
        slot: SlotId,
    },
    /// A read thread has done with a segment.
    Released {
        generation: Generation,
    },
    /// Batches of the oldest segment, read back to be moved.
    MoveRead {
        partition: TopicIdPartition,
        generation: Generation,
        batches: Result<Vec<Bytes>, String>,
    },
    /// Recent batches may take another amount of memory: a smaller one is kept at once, also by a shard that is idle.
    TailBudgetSet,
}

#[derive(Clone, Debug)]
pub(crate) struct EventSender(mpsc::Sender<Event>);

impl EventSender {
    pub(crate) fn channel(places: usize) -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(places);
        (Self(sender), receiver)
    }

    /// Whether nobody takes events any more.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.is_closed()
    }

    /// From a plain thread. A shard that has ended needs no news.
    pub(crate) fn send(&self, event: Event) {
        let _ = self.0.blocking_send(event);
    }
}
