//! The messages of a shard's other threads to the shard. The work that the shard gave them bounds
//! their number.

use std::sync::Arc;

use bytes::Bytes;
use rustmq_engine_core::log::PartitionLog;
use rustmq_engine_core::shard::{MoveError, RebuildError};
use rustmq_engine_core::wal::SlotId;
use tokio::sync::mpsc;

use crate::disk::{DiskError, SlotFile};
use crate::folder::FolderError;

#[derive(Debug)]
pub(crate) enum Event {
    /// The slot's whole length is reserved on disk.
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
    /// The thread that prepares slots has panicked.
    PreparerPanicked,
    /// The batches of the oldest segment that must move, read back from disk.
    MoveRead {
        number: u64,
        batches: Result<Vec<Bytes>, MoveError>,
    },
    /// A log's earlier state, read back for a truncation.
    LogRebuilt {
        number: u64,
        log: Result<Box<PartitionLog>, RebuildError>,
    },
    /// The budget for recent batches has changed. An idle shard must meet a smaller budget at once,
    /// too.
    TailBudgetSet,
    /// The WAL's repair mark is removed, or the reason why it is not.
    RepairForgotten(Result<(), FolderError>),
    /// A sync outside of the commits has failed. Everything that it covered counts as lost, and so
    /// do the commits in flight: a later sync may succeed without that data, and without synced
    /// commits there is no later sync.
    SyncFailed(DiskError),
}

#[derive(Clone, Debug)]
pub(crate) struct EventSender(mpsc::Sender<Event>);

impl EventSender {
    pub(crate) fn channel(capacity: usize) -> (Self, mpsc::Receiver<Event>) {
        let (sender, receiver) = mpsc::channel(capacity);
        (Self(sender), receiver)
    }

    /// Whether the receiver has ended.
    pub(crate) fn has_ended(&self) -> bool {
        self.0.is_closed()
    }

    /// Sends from a thread that may block. A shard that has ended needs no events.
    pub(crate) fn send(&self, event: Event) {
        let _ = self.0.blocking_send(event);
    }
}
