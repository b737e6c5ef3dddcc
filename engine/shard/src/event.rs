//! What a shard's other threads tell it. Their number is bounded by the work that it gave them.

use std::sync::Arc;

use bytes::Bytes;
use rustmq_engine_core::log::PartitionLog;
use rustmq_engine_core::shard::{MoveError, RebuildError};
use rustmq_engine_core::wal::SlotId;
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
