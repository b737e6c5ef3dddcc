//! The machine's requests to its driver. The driver executes each action before it polls the next
//! one.

use std::collections::{BTreeMap, VecDeque};

use rustmq_model::{LeaderEpoch, Offset, TopicIdPartition};

use super::commit_builder::NoRoom;
use super::error::{AppendError, CutError, DeleteError, OpenError, TrimError};
use super::failure::WalFailure;
use super::host::Host;
use super::location::ReadPlan;
use super::log_rebuild::LogRebuild;
use super::memory::NoMemory;
use super::partitions::{Leadership, Partition, PartitionKey};
use super::readable_log::TailBatch;
use super::request::{Appended, ColdRead, ProducerState, Verification};
use super::slot_preparation::{Preparation, Urgency};
use crate::log::{AbortedIndex, AbortedTransaction, Frontiers, TimeIndex};
use crate::wal::{LocationMap, PlacedBatches, SlotId};

/// The readers' initial view of a partition.
#[derive(Clone, Debug)]
pub struct NewView {
    pub key: PartitionKey,
    pub id: TopicIdPartition,
    pub frontiers: Frontiers,
    pub leadership: Leadership,
    pub size_bytes: u64,
    pub times: TimeIndex,
    pub aborted: AbortedIndex,
    /// The locations of all batches: none is in memory.
    pub locations: LocationMap,
}

impl NewView {
    /// For a partition whose log is durable to its end. `aborted` are the transactions that the
    /// segments know.
    pub(super) fn of(
        partition: &Partition,
        locations: LocationMap,
        mut aborted: BTreeMap<Offset, AbortedTransaction>,
    ) -> Self {
        let unindexed = partition.log.unindexed_aborted().iter();
        aborted.extend(unindexed.map(|unindexed| (unindexed.last_offset, unindexed)));
        let aborted = aborted.split_off(&partition.log_start()).into_values().collect();
        Self {
            key: partition.key,
            id: partition.id,
            frontiers: partition.frontiers(),
            leadership: partition.leadership(),
            size_bytes: partition.size_bytes(),
            times: partition.log.times().clone(),
            aborted,
            locations,
        }
    }
}

/// The durable batches of one partition in a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishedRun {
    pub key: PartitionKey,
    /// The partition's frontiers after the commit.
    pub frontiers: Frontiers,
    pub size_bytes: u64,
    /// Aborted transactions that these frontiers let readers reach, in the order of their ends,
    /// without those published before.
    pub aborted: Vec<AbortedTransaction>,
    /// The number of the commit's batches in this partition.
    pub count: usize,
}

/// Everything that becomes readable with a commit.
#[derive(Debug, Default)]
pub struct Publication {
    pub runs: Vec<PublishedRun>,
    /// The batches of all runs, run after run.
    pub batches: Vec<TailBatch>,
}

/// An event for the driver's log or metrics. Nothing else follows from it.
#[derive(Debug)]
pub enum Fact {
    SegmentsFreed {
        count: u64,
    },
    /// Acknowledged records are damaged: reads of them fail, the log continues.
    RangeDamaged {
        id: TopicIdPartition,
        first: Offset,
        end: Offset,
        reason: String,
    },
    /// A segment cannot be moved now; the machine tries again.
    MoveDelayed {
        id: TopicIdPartition,
        reason: String,
    },
    /// A staged change of the partition's log is dropped: the log was cut after the change was
    /// planned.
    StaleChange {
        id: TopicIdPartition,
    },
    RetentionWaits {
        id: TopicIdPartition,
        no_room: NoRoom,
    },
    NoMemoryForCheckpoints(NoMemory),
    NoMemoryForProof(NoMemory),
    /// Every partition has a checkpoint after the repaired damage.
    RepairForgotten,
    /// The next start writes these checkpoints again.
    RepairRemembered {
        reason: String,
    },
}

#[derive(Debug)]
pub enum Action<H: Host> {
    /// The log has failed: nothing staged from here on is acknowledged while this process lives;
    /// after a disk failure, commits in flight do not count either. Comes before the refusals that
    /// follow from it.
    Poison(WalFailure),
    /// Creates the view of a partition, before anything is published in it.
    CreateView(Box<NewView>),
    /// Makes the partition findable.
    List {
        key: PartitionKey,
    },
    /// Makes the partition unfindable; readers that hold it continue.
    Unlist {
        id: TopicIdPartition,
    },
    Publish(Publication),
    /// The frontiers have moved without new batches.
    PublishFrontiers {
        key: PartitionKey,
        frontiers: Frontiers,
        size_bytes: u64,
        /// As in [`PublishedRun`].
        aborted: Vec<AbortedTransaction>,
    },
    /// The log was cut: only its batches between log start and durable end remain, and the aborted
    /// transactions that ended there. After a reset there are none.
    PublishCut {
        key: PartitionKey,
        frontiers: Frontiers,
        leadership: Leadership,
        size_bytes: u64,
        /// The time index of the remaining batches.
        times: Box<TimeIndex>,
    },
    /// Readers find the batches there from now on, or learn that they are damaged. Comes before the
    /// old segment is freed. Moves that become durable together are published together.
    PublishMoves {
        key: PartitionKey,
        moved: Vec<PlacedBatches>,
    },
    PublishLeadership {
        key: PartitionKey,
        leadership: Leadership,
    },
    /// Another broker leads in this epoch, from an unknown offset on: the epoch history stays.
    PublishEpoch {
        key: PartitionKey,
        epoch: LeaderEpoch,
    },
    /// The partition is gone: its readers are informed, and its memory is released. No later action
    /// names this key.
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
    AnswerVerify {
        reply: H::VerifyReply,
        results: Vec<Result<Verification, AppendError>>,
    },
    /// `None` unless the partition is open.
    AnswerProducers {
        reply: H::ProducersReply,
        producers: Option<Vec<ProducerState>>,
    },
    AnswerTrim {
        reply: H::TrimReply,
        result: Result<Offset, TrimError>,
    },
    AnswerDelete {
        reply: H::DeleteReply,
        results: Vec<Result<(), DeleteError>>,
    },
    /// Carries the log's new end.
    AnswerCut {
        reply: H::CutReply,
        result: Result<Offset, CutError>,
    },
    /// Answered with an `on_slot_*` event.
    PrepareSlot {
        slot: SlotId,
        preparation: Preparation,
    },
    /// Sets the speed of slot preparation.
    PaceSlots(Urgency),
    /// Reads batches for a move; answered with [`super::Shard::on_moved`] and the same number. The
    /// plan holds the segment.
    ReadToMove {
        number: u64,
        read: ColdRead,
        plan: Box<ReadPlan>,
    },
    /// Rebuilds an earlier state of a log: the driver executes the reads one after the other, and
    /// reports the end with [`super::Shard::on_rebuilt`] and the same number. One at a time.
    Rebuild {
        number: u64,
        rebuild: Box<LogRebuild>,
    },
    /// Removes the folder's note that the log was repaired; answered with
    /// [`super::Shard::on_repair_forgotten`].
    ForgetRepair,
    Note(Box<Fact>),
}

/// The actions to execute, in order.
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

    /// Releases memory after a start, which needs more actions at once than any turn.
    pub(super) fn shrink(&mut self) {
        self.0.shrink_to_fit();
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
