//! [`Shard`]: what a driver calls. What happens in a turn stands in [`super::turn`], each decision in the file of its noun.

use std::time::Duration;

use rustmq_model::{Instant, TopicIdPartition};

use super::actions::{Action, Actions, Fact, NewView};
use super::appends::{AppendCount, PartialAppend};
use super::backlog::{Backlog, Job};
use super::cleaner::Cleaner;
use super::commits::{CommitNumber, Commits};
use super::cuts::Cuts;
use super::error::AppendError;
use super::gathering::Gathering;
use super::host::Host;
use super::memory::NoMemory;
use super::now::Now;
use super::partitions::{Partition, Partitions};
use super::placement_change::{Placement, PlacementChange};
use super::repair_checkpoints::RepairCheckpoints;
use super::request::{Append, LogConfig, OpenPartition, TrimTo};
use super::retention::Retention;
use super::slot_preparation::SlotPreparation;
use super::staging::Staging;
use super::waiting::{Answer, Waiting, WaitingAnswers, WaitingAppend};
use crate::log::{LogLimits, Replicas};
use crate::wal::SegmentTable;

/// Requests that wait in the machine itself, so that one commit takes many.
const REQUESTS_MAX: usize = 256;

/// How a shard works, apart from what it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// How long the shard is idle before it proves what it wrote last.
    pub proof_after: Duration,
    pub retention_interval: Duration,
    /// From how long on, beyond what their bytes take, commits make the disk count as slow: then two of them are in flight. With none, always.
    pub slow_commit: Duration,
    /// What may gather for one commit, and one frame more.
    pub gathered_bytes_max: usize,
    /// Batches that may wait for a frontier, and those of one request more: then no append is taken before some have been passed.
    pub waits_max: usize,
    /// Of one read that a move or a cut asks for.
    pub read_bytes_max: usize,
    /// Of a checkpoint in one frame. A larger one is written in pieces.
    pub checkpoint_piece_bytes_max: usize,
    pub limits: LogLimits,
    /// Of the partitions that are opened here.
    pub replicas: Replicas,
}

/// The logs of a shard's partitions and the write-ahead log that they share, as a machine without I/O.
///
/// ```text
/// handle_* -> backlog -> stage (the cores decide) -> gathering --poll_commit--> in flight --on_committed--> publish, answer, free, evict
/// ```
/// The driver makes turns. In each it says what has happened (`handle_*`, `on_*`), then calls [`Self::stage`] once; after every call it executes
/// what [`Self::poll_action`] asks for until nothing is left. [`Self::poll_commit`] begins the next commit when the driver can execute it, and
/// [`Self::on_committed`] ends it; while the disk is slow there may be two, which end in any order. [`Self::poll_timeout`] says when the next turn is due
/// without news. No call waits for anything.
#[derive(Debug)]
pub struct Shard<H: Host> {
    pub(super) config: ShardConfig,
    pub(super) partitions: Partitions,
    pub(super) staging: Staging<H::Memory>,
    pub(super) backlog: Backlog<H>,
    pub(super) waiting: WaitingAnswers<H>,
    pub(super) commits: Commits,
    pub(super) cleaner: Cleaner,
    pub(super) cuts: Cuts<H>,
    pub(super) retention: Retention,
    pub(super) slots: SlotPreparation,
    pub(super) repair: RepairCheckpoints,
    pub(super) closing: Option<Vec<H::DoneReply>>,
    pub(super) appended: AppendCount,
    /// The newest commit of which everything is published, and not yet followed up.
    pub(super) durable: Option<CommitNumber>,
    /// A segment that nothing but its readers need is looked at again.
    pub(super) free_at: Option<Instant>,
    pub(super) actions: Actions<H>,
}

impl<H: Host> Shard<H> {
    /// Of what recovery found; empty partitions if it found none. Plans the group that puts this run on disk, for the first commit.
    pub fn new(
        config: ShardConfig,
        gathering: Gathering<H::Memory>,
        partitions: Partitions,
        now: Now,
    ) -> Result<Self, NoMemory> {
        let mut shard = Self {
            partitions,
            staging: Staging::new(gathering, config.gathered_bytes_max, config.checkpoint_piece_bytes_max),
            backlog: Backlog::default(),
            waiting: WaitingAnswers::default(),
            commits: Commits::new(now.at, config.proof_after, config.slow_commit),
            cleaner: Cleaner::new(config.read_bytes_max),
            cuts: Cuts::new(config.read_bytes_max),
            retention: Retention::new(now.at, config.retention_interval),
            slots: SlotPreparation::new(now.at),
            repair: RepairCheckpoints::Over,
            closing: None,
            appended: AppendCount::default(),
            durable: None,
            free_at: None,
            actions: Actions::default(),
            config,
        };
        // The run must be on disk before anything of it is: a proof names it.
        shard.commits.on_proof_staged();
        shard.staging.stage_run()?;
        for key in shard.partitions.keys().collect::<Vec<_>>() {
            let partition = shard.partitions.at_mut(key).expect("it is one of those that are there");
            let locations = shard.staging.table().location_map(partition.id);
            shard.actions.push(Action::CreateView(Box::new(NewView::of(partition, locations))));
            shard.actions.push(Action::List { key });
        }
        Ok(shard)
    }

    /// The log was repaired: every partition gets a checkpoint, and then the repair is forgotten.
    pub fn checkpoint_after_repair(&mut self) {
        self.repair = RepairCheckpoints::of_all(&self.partitions);
    }

    // Requests. They are staged in a turn.

    /// Creates partitions, or takes up existing ones under a leader epoch.
    pub fn handle_open(&mut self, partitions: Vec<OpenPartition>, reply: H::OpenReply) {
        self.backlog.push(Job::Open { partitions, reply });
    }

    pub fn handle_configure(&mut self, id: TopicIdPartition, config: LogConfig, reply: H::DoneReply) {
        self.backlog.push(Job::Configure { id, config, reply });
    }

    pub fn handle_append(&mut self, appends: Vec<Append>, reply: H::AppendReply) {
        self.backlog.push(Job::Append(PartialAppend::new(appends, reply)));
    }

    pub fn handle_trim(&mut self, id: TopicIdPartition, to: TrimTo, reply: H::TrimReply) {
        self.backlog.push(Job::Trim { id, to, reply });
    }

    pub fn handle_delete(&mut self, ids: Vec<TopicIdPartition>, reply: H::DeleteReply) {
        self.backlog.push(Job::Delete { ids, reply });
    }

    /// Ends once what was asked before is done and proved. The driver answers it when it has let go of the folder.
    pub fn handle_close(&mut self, reply: H::DoneReply) {
        self.backlog.push(Job::Close { reply });
    }

    /// Whether so many requests more may be handed over now.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.closing.is_none() && self.backlog.len() < REQUESTS_MAX
    }

    /// Whether news of requests should wake the driver: those taken before come first.
    #[must_use]
    pub fn awaits_requests(&self) -> bool {
        self.closing.is_none() && self.backlog.is_empty()
    }

    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    // Questions.

    /// `None` if it is not open.
    #[must_use]
    pub fn partition(&self, id: TopicIdPartition) -> Option<&Partition> {
        self.partitions.find(id)
    }

    #[must_use]
    pub const fn table(&self) -> &SegmentTable {
        self.staging.table()
    }

    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.partitions.len()
    }

    #[must_use]
    pub fn poisoned(&self) -> Option<&str> {
        self.staging.poisoned()
    }

    /// The memory that the driver lent.
    pub const fn memory_mut(&mut self) -> &mut H::Memory {
        self.staging.memory_mut()
    }

    /// What was appended since this was asked last.
    pub const fn take_appended(&mut self) -> AppendCount {
        std::mem::replace(&mut self.appended, AppendCount { batches: 0, bytes: 0 })
    }

    // Execution.

    /// The next thing to be done.
    pub fn poll_action(&mut self) -> Option<Action<H>> {
        self.actions.poll()
    }

    /// When the next turn is due, if nothing happens before.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let due = self.retention.due_at();
        let proof = self.commits.proof_due(self.staging.is_empty()).filter(|_| self.poisoned().is_none());
        let due = proof.map_or(due, |proof| due.min(proof));
        let looks = [self.cleaner.due_at(), self.free_at, self.cuts.due_at()];
        looks.into_iter().flatten().fold(due, Instant::min)
    }

    /// Answers when every batch is passed by the frontier that it waits for.
    pub(super) fn answer_when_passed(&mut self, append: WaitingAppend<H>) {
        if let Some(reason) = self.staging.poisoned() {
            // Of a part of it the commit may have succeeded; it is refused as a whole.
            let reason = reason.to_owned();
            Waiting::Append(append).refuse(&reason, &mut self.partitions, &mut self.actions);
            return;
        }
        if append.is_cut(&self.partitions) {
            // While the rest of it waited for room. As a whole: where a batch is that the cut has left is not looked for.
            append.refuse(&AppendError::CutOff, &mut self.actions);
            return;
        }
        if let Some(passed) = self.waiting.push_append(append, &self.partitions) {
            self.complete(passed);
        }
    }

    /// They take effect once what was staged so far is durable, in their order.
    pub(super) fn apply_when_durable(&mut self, changes: impl IntoIterator<Item = PlacementChange>) {
        changes.into_iter().for_each(|change| self.when_durable(Waiting::Change(change)));
    }

    /// The same, and then the answer to who asked for them.
    pub(super) fn answer_when_durable(
        &mut self,
        changes: impl IntoIterator<Item = PlacementChange>,
        answer: Answer<H>,
    ) {
        self.apply_when_durable(changes);
        self.when_durable(Waiting::Answer(answer));
    }

    fn when_durable(&mut self, waiting: Waiting<H>) {
        if let Some(reason) = self.staging.poisoned() {
            // Nothing waits any more, but what was staged before the failure never became durable.
            let reason = reason.to_owned();
            waiting.refuse(&reason, &mut self.partitions, &mut self.actions);
            return;
        }
        match self.staging.last_staged() {
            Some(at) => self.waiting.push(at, waiting),
            None => self.complete(waiting),
        }
    }

    pub(super) fn complete(&mut self, waiting: Waiting<H>) {
        match &waiting {
            Waiting::Change(change) if change.is_stale(&self.partitions) => {
                // What was planned for a partition that is gone is nothing to speak of.
                if self.partitions.at(change.key).is_some() {
                    self.actions.note(Fact::StaleChange { id: change.id });
                }
                return;
            }
            Waiting::Change(PlacementChange { key, what: Placement::Close, .. }) => {
                // No frontier of it moves any more, and another partition may have its place from here on.
                for append in self.waiting.take_above(*key, None) {
                    append.refuse(&AppendError::UnknownPartition, &mut self.actions);
                }
            }
            Waiting::Change(PlacementChange { key, what: Placement::Cut(_), .. }) => {
                let partition = self.partitions.at_mut(*key).expect("the change is not stale");
                if partition.log.end_cut() {
                    self.waiting.advance(*key, &partition.frontiers());
                    self.waiting.order_reached();
                }
            }
            _ => {}
        }
        if waiting.complete(&mut self.partitions, &mut self.staging, &self.commits, &mut self.actions) {
            self.cleaner.look_now();
        }
    }

    /// Panics where the machine contradicts itself.
    pub fn check_invariants(&self) {
        self.staging.table().check_invariants();
        self.partitions.iter().for_each(|partition| partition.log.check_invariants());
    }
}
