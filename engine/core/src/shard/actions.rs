//! What the machine asks of its driver. Each action is executed before the next one is asked for.

use std::collections::VecDeque;

use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};

use super::error::{AppendError, CutError, DeleteError, OpenError, TrimError};
use super::gathering::NoRoom;
use super::host::Host;
use super::location::ReadPlan;
use super::log_rebuild::LogRebuild;
use super::memory::NoMemory;
use super::partitions::{Leadership, Partition, PartitionKey};
use super::readable_log::TailBatch;
use super::request::{Appended, ColdRead};
use super::slot_preparation::{Preparation, Urgency};
use crate::log::{AbortedIndex, AbortedTransaction, Frontiers, TimeIndex};
use crate::wal::{LocationMap, PlacedBatches, SlotId};

/// What readers are shown of a partition when it is opened.
#[derive(Clone, Debug)]
pub struct NewView {
    pub key: PartitionKey,
    pub id: TopicIdPartition,
    pub frontiers: Frontiers,
    pub leadership: Leadership,
    pub size_bytes: u64,
    pub times: TimeIndex,
    pub aborted: AbortedIndex,
    /// Of all batches: none is in memory.
    pub locations: LocationMap,
}

impl NewView {
    /// Of a partition whose log is durable to its end.
    pub(super) fn of(partition: &mut Partition, locations: LocationMap) -> Self {
        Self {
            key: partition.key,
            id: partition.id,
            frontiers: partition.frontiers(),
            leadership: partition.leadership(),
            size_bytes: partition.size_bytes(),
            times: partition.log.times().clone(),
            aborted: partition.aborted(),
            locations,
        }
    }
}

/// The durable batches of one partition in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRun {
    pub key: PartitionKey,
    /// As they are then.
    pub frontiers: Frontiers,
    pub size_bytes: u64,
    /// Transactions that readers come upon with these frontiers, and must know to be aborted. By
    /// their end; those that were published before are left out.
    pub aborted: Vec<AbortedTransaction>,
    /// How many of the commit's batches are this partition's.
    pub count: usize,
}

/// Everything that a commit makes readable.
#[derive(Debug, Default)]
pub struct Publication {
    pub runs: Vec<PublishedRun>,
    /// Run after run.
    pub batches: Vec<TailBatch>,
}

/// Something that the driver notes in its log or its metrics. Nothing is to be done about it.
#[derive(Debug)]
pub enum Fact {
    SegmentsFreed {
        count: u64,
    },
    /// Acknowledged records are damaged: their readers are refused, the log goes on.
    RangeDamaged {
        id: TopicIdPartition,
        first: Offset,
        end: Offset,
        reason: String,
    },
    /// A segment cannot be moved now: it is tried again.
    MoveDelayed {
        id: TopicIdPartition,
        reason: String,
    },
    /// A staged change of the partition's log is dropped: the log was cut back after the change was planned.
    StaleChange {
        id: TopicIdPartition,
    },
    RetentionWaits {
        id: TopicIdPartition,
        no_room: NoRoom,
    },
    NoMemoryForCheckpoints(NoMemory),
    NoMemoryForProof(NoMemory),
    /// Every partition has a checkpoint behind the repaired damage.
    RepairForgotten,
    /// The next start does it all again.
    RepairRemembered {
        reason: String,
    },
}

#[derive(Debug)]
pub enum Action<H: Host> {
    /// The log has failed: nothing that is staged from here on is acknowledged, in the life of this process; nor what is in flight, if it was the disk. Told
    /// before anybody is refused for it.
    Poison {
        reason: String,
    },
    /// Before anything is published of it.
    CreateView(Box<NewView>),
    /// The partition may be found.
    List {
        key: PartitionKey,
    },
    /// It may not be found any more; whoever has found it goes on.
    Unlist {
        id: TopicIdPartition,
    },
    Publish(Publication),
    /// They have moved, and there are no new batches.
    PublishFrontiers {
        key: PartitionKey,
        frontiers: Frontiers,
        size_bytes: u64,
        /// As in [`PublishedRun`].
        aborted: Vec<AbortedTransaction>,
    },
    /// The log was cut back: of its batches, those between log start and durable end are left. After a reset there are none.
    PublishCut {
        key: PartitionKey,
        frontiers: Frontiers,
        leadership: Leadership,
        size_bytes: u64,
        /// What is left of it.
        times: Box<TimeIndex>,
        /// All that are left.
        aborted: AbortedIndex,
    },
    /// Readers that come find batches there, or that they are damaged. Before the segment that they
    /// were in is freed. Moves that are durable together are shown together.
    PublishMoves {
        key: PartitionKey,
        moved: Vec<PlacedBatches>,
    },
    PublishLeadership {
        key: PartitionKey,
        leadership: Leadership,
    },
    /// Another broker leads in it, from a place on that is not known: the history stays.
    PublishEpoch {
        key: PartitionKey,
        epoch: LeaderEpoch,
    },
    /// The partition is gone: its readers hear of it, and its memory is let go of. Nothing speaks of this key after it.
    CloseView {
        key: PartitionKey,
    },
    AnswerOpen {
        reply: H::OpenReply,
        results: Vec<Result<PartitionKey, OpenError>>,
    },
    AnswerConfigure {
        reply: H::DoneReply,
    },
    AnswerAppend {
        reply: H::AppendReply,
        results: Vec<Result<Appended, AppendError>>,
    },
    AnswerTrim {
        reply: H::TrimReply,
        result: Result<Offset, TrimError>,
    },
    AnswerDelete {
        reply: H::DeleteReply,
        results: Vec<Result<(), DeleteError>>,
    },
    /// Where the log ends since.
    AnswerCut {
        reply: H::CutReply,
        result: Result<Offset, CutError>,
    },
    /// Answered with an event about the slot.
    PrepareSlot {
        slot: SlotId,
        preparation: Preparation,
    },
    /// How fast slots are prepared from here on.
    PaceSlots(Urgency),
    /// Batches to be read back; answered with [`super::Shard::on_moved`] and the same number. The plan holds the segment.
    ReadToMove {
        number: u64,
        read: ColdRead,
        plan: Box<ReadPlan>,
    },
    /// What a log was, to be read back: its reads are to be executed one after the other, and its end answered with [`super::Shard::on_rebuilt`] and the same
    /// number. One at a time.
    Rebuild {
        number: u64,
        rebuild: Box<LogRebuild>,
    },
    /// The folder no longer has to say that the log was repaired; answered.
    ForgetRepair,
    Note(Box<Fact>),
}

/// What is still to be executed, in order.
#[derive(Debug)]
pub(super) struct Actions<H: Host>(VecDeque<Action<H>>);

impl<H: Host> Default for Actions<H> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<H: Host> Actions<H> {
    pub(super) fn push(&mut self, action: Action<H>) {
        self.0.push_back(action);
    }

    pub(super) fn push_move(&mut self, key: PartitionKey, batches: PlacedBatches) {
        match self.0.back_mut() {
            Some(Action::PublishMoves { key: last, moved }) if *last == key => moved.push(batches),
            _ => self.push(Action::PublishMoves { key, moved: vec![batches] }),
        }
    }

    pub(super) fn note(&mut self, fact: Fact) {
        self.push(Action::Note(Box::new(fact)));
    }

    pub(super) fn poll(&mut self) -> Option<Action<H>> {
        self.0.pop_front()
    }

    /// After a start, which asks for more at once than ever after.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
