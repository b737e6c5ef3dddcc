//! [`Shard`]: its parts, its start, and the requests to it. The driver's calls for turns and events
//! are in [`super::turn`]; each decision has a file of its own.

use std::time::Duration;

use rustmq_model::batch::HEADER_LENGTH;
use rustmq_model::{Instant, TopicIdPartition};

use super::actions::{Action, Actions, Fact, NewView};
use super::appends::{AppendCount, PartialAppend};
use super::backlog::{Backlog, Job};
use super::cleaner::Cleaner;
use super::commit_builder::CommitBuilder;
use super::commits::{CommitNumber, Commits};
use super::cuts::Cuts;
use super::error::AppendError;
use super::failure::WalFailure;
use super::host::Host;
use super::memory::NoMemory;
use super::now::Now;
use super::partitions::{Partition, Partitions};
use super::placement_change::{Placement, PlacementChange};
use super::repair_checkpoints::RepairCheckpoints;
use super::request::{Append, LogConfig, OpenPartition, TrimTo, Verify};
use super::retention::Retention;
use super::slot_preparation::SlotPreparation;
use super::staging::Staging;
use super::waiting::{Answer, Waiting, WaitingAnswers, WaitingAppend};
use crate::log::{LogLimits, Replicas};
use crate::wal::SegmentTable;
use crate::wal::frame::frame_size;

/// The capacity of the machine's own request queue: one commit takes many requests.
pub(super) const REQUESTS_MAX: usize = 256;

/// The configuration of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// After this long without commits the shard writes a proof of its last group.
    pub proof_after: Duration,
    pub retention_interval: Duration,
    /// While commits take at least this on average, not counting the time for their bytes, two of
    /// them may be in flight. Zero always allows two.
    pub slow_commit: Duration,
    /// The bytes that may gather for one commit. The frame that reaches the limit may exceed it.
    pub gathered_bytes_max: usize,
    /// The batches that may wait for frontiers. The request that reaches the limit may exceed it;
    /// then appends stall until frontiers pass some of the batches.
    pub waits_max: usize,
    /// The size of one read for a move or a cut, in bytes.
    pub read_bytes_max: usize,
    /// The most checkpoint bytes in one frame. A larger checkpoint is written in pieces.
    pub checkpoint_piece_bytes_max: usize,
    pub limits: LogLimits,
    /// The replicas of the partitions that are opened here.
    pub replicas: Replicas,
}

/// The bounds of a shard in production.
impl ShardConfig {
    /// For [`Self::gathered_bytes_max`].
    pub const GATHERED_BYTES_MAX: usize = 16 << 20;
    /// For [`Self::checkpoint_piece_bytes_max`]: the producers of all partitions wait for the
    /// commit that writes a piece.
    pub const CHECKPOINT_PIECE_BYTES_MAX: usize = 256 << 10;
    /// For [`Self::waits_max`]. Larger than the number of the smallest batches that three commits
    /// hold, two of them in flight. It bounds the duplicates that wait for their originals, because
    /// duplicates take no room in a commit.
    pub const WAITS_MAX: usize = 1 << 19;
}

/// The least bytes of a batch: a header, and the smallest record with its length.
const BATCH_BYTES_MIN: usize = HEADER_LENGTH + 7;

const _: () = {
    use ShardConfig as Bounds;
    assert!(
        Bounds::CHECKPOINT_PIECE_BYTES_MAX < Bounds::GATHERED_BYTES_MAX,
        "a commit has room for more than a checkpoint's piece"
    );
    assert!(
        Bounds::WAITS_MAX > 3 * Bounds::GATHERED_BYTES_MAX / frame_size(BATCH_BYTES_MIN),
        "three commits of batches may wait"
    );
};

/// The logs of a shard's partitions and the write-ahead log that they share, as a machine without
/// I/O.
///
/// ```text
/// handle_* -> backlog -> stage (the cores decide) -> commit builder --poll_commit--> in flight
/// in flight --on_committed--> publish, answer, free, evict
/// ```
/// The driver runs turns. In each turn it reports events (`handle_*`, `on_*`), then calls
/// [`Self::stage`] once; after every call it executes the actions of [`Self::poll_action`] until
/// none is left. [`Self::poll_commit`] begins the next commit when the driver can execute one, and
/// [`Self::on_committed`] ends it; while the disk is slow there may be two, which end in any order.
/// [`Self::poll_timeout`] says when the next turn is due if no event comes before. No call blocks.
///
/// A turn of a driver, without events and requests:
///
/// ```
/// use rustmq_engine_core::shard::{Action, CommitSteps, Host, Now, Shard};
///
/// fn turn<H: Host>(
///     shard: &mut Shard<H>,
///     now: Now,
///     execute: impl Fn(Action<H>),
///     write: impl Fn(CommitSteps),
/// ) {
///     shard.handle_time(now);
///     while let Some(action) = shard.poll_action() {
///         execute(action);
///     }
///     shard.stage(now);
///     while let Some(action) = shard.poll_action() {
///         execute(action);
///     }
///     // The driver reports the end of the commit with `on_committed`.
///     if let Some(commit) = shard.poll_commit(now) {
///         write(commit);
///     }
/// }
/// ```
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
    /// The newest commit whose batches are published and whose follow-up ([`Self::stage`]) is due.
    pub(super) durable: Option<CommitNumber>,
    /// When to check again whether readers have released a segment that is otherwise free.
    pub(super) free_at: Option<Instant>,
    pub(super) actions: Actions<H>,
}

impl<H: Host> Shard<H> {
    /// Starts with the recovered partitions; none for a new log. Plans the group that puts the WAL
    /// session on disk, for the first commit.
    ///
    /// # Errors
    /// If there is no memory for that group.
    pub fn new(
        config: ShardConfig,
        builder: CommitBuilder<H::Memory>,
        partitions: Partitions,
        now: Now,
    ) -> Result<Self, NoMemory> {
        let mut shard = Self {
            partitions,
            staging: Staging::new(builder, config.gathered_bytes_max, config.checkpoint_piece_bytes_max),
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
        // The WAL session must be on disk before its other groups: a proof names it.
        shard.staging.stage_session()?;
        if shard.table().is_proven() {
            shard.commits.on_proof_staged();
        }
        for key in shard.partitions.keys().collect::<Vec<_>>() {
            let partition = shard.partitions.at(key).expect("the key comes from the partitions");
            let locations = shard.staging.table().location_map(partition.id);
            let aborted = shard.staging.table_mut().take_aborted(partition.id);
            shard.actions.push(Action::CreateView(Box::new(NewView::of(partition, locations, aborted))));
            shard.actions.push(Action::List { key });
        }
        Ok(shard)
    }

    /// Writes a checkpoint of every partition, then asks the driver to forget the repair.
    pub fn checkpoint_after_repair(&mut self) {
        self.repair = RepairCheckpoints::of_all(&self.partitions);
    }

    // Requests, each only while [`Self::takes_requests`]: otherwise the call panics. A turn stages
    // them, in order; the reply is an action once the request is refused or its commit is durable.

    /// Creates partitions, or leads existing ones in a leader epoch that is not lower.
    pub fn handle_open(&mut self, partitions: Vec<OpenPartition>, reply: H::OpenReply) {
        self.accept(Job::Open { partitions, reply });
    }

    pub fn handle_configure(&mut self, id: TopicIdPartition, config: LogConfig, reply: H::DoneReply) {
        self.accept(Job::Configure { id, config, reply });
    }

    pub fn handle_append(&mut self, appends: Vec<Append>, reply: H::AppendReply) {
        self.accept(Job::Append(PartialAppend::new(appends, reply)));
    }

    pub fn handle_verify(&mut self, batches: Vec<Verify>, reply: H::VerifyReply) {
        self.accept(Job::Verify { batches, reply });
    }

    pub fn handle_describe_producers(&mut self, id: TopicIdPartition, reply: H::ProducersReply) {
        self.accept(Job::DescribeProducers { id, reply });
    }

    pub fn handle_trim(&mut self, id: TopicIdPartition, to: TrimTo, reply: H::TrimReply) {
        self.accept(Job::Trim { id, to, reply });
    }

    pub fn handle_delete(&mut self, ids: Vec<TopicIdPartition>, reply: H::DeleteReply) {
        self.accept(Job::Delete { ids, reply });
    }

    /// Closes the shard after the earlier requests are done and their commits are proved. The
    /// driver answers after it has released the folder.
    pub fn handle_close(&mut self, reply: H::DoneReply) {
        self.accept(Job::Close { reply });
    }

    /// Whether the machine accepts another request now.
    #[must_use]
    pub fn takes_requests(&self) -> bool {
        self.closing.is_none() && self.backlog.len() < REQUESTS_MAX
    }

    /// Whether new requests should wake the driver: accepted requests come first.
    #[must_use]
    pub fn awaits_requests(&self) -> bool {
        self.closing.is_none() && self.backlog.is_empty()
    }

    #[must_use]
    pub const fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    // Questions.

    /// `None` if the partition is not open.
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
    pub const fn poisoned(&self) -> Option<&WalFailure> {
        self.staging.poisoned()
    }

    /// The memory that the driver provided.
    pub const fn memory_mut(&mut self) -> &mut H::Memory {
        self.staging.memory_mut()
    }

    /// The batches and bytes appended since the last call.
    pub const fn take_appended(&mut self) -> AppendCount {
        std::mem::replace(&mut self.appended, AppendCount { batches: 0, bytes: 0 })
    }

    // Execution.

    /// The next action to execute.
    pub fn poll_action(&mut self) -> Option<Action<H>> {
        self.actions.poll()
    }

    /// When the next turn is due if no event comes before.
    #[must_use]
    pub fn poll_timeout(&self) -> Instant {
        let due = self.retention.due_at();
        let proof = self.commits.proof_due(self.staging.is_empty()).filter(|_| self.poisoned().is_none());
        let due = proof.map_or(due, |proof| due.min(proof));
        let checks = [self.cleaner.due_at(), self.free_at, self.cuts.due_at()];
        checks.into_iter().flatten().fold(due, Instant::min)
    }

    /// Answers the append when every batch is passed by the frontier that it waits for.
    pub(super) fn answer_when_passed(&mut self, append: WaitingAppend<H>) {
        if let Some(failure) = self.staging.poisoned().cloned() {
            // Some of its batches may be durable; the request is refused as a whole.
            Waiting::Append(append).refuse(&failure, &mut self.partitions, &mut self.actions);
            return;
        }
        if append.is_cut(&self.partitions) {
            // The cut came while the rest of the request waited for room. Refused as a whole: the
            // remaining batches are not looked up.
            append.refuse(&AppendError::CutOff, &mut self.actions);
            return;
        }
        if let Some(passed) = self.waiting.push_append(append, &self.partitions) {
            self.complete(passed);
        }
    }

    /// Applies the changes, in their order, once everything staged so far is durable.
    pub(super) fn apply_when_durable(&mut self, changes: impl IntoIterator<Item = PlacementChange>) {
        changes.into_iter().for_each(|change| self.when_durable(Waiting::Change(change)));
    }

    /// As [`Self::apply_when_durable`]; then sends the answer.
    pub(super) fn answer_when_durable(
        &mut self,
        changes: impl IntoIterator<Item = PlacementChange>,
        answer: Answer<H>,
    ) {
        self.apply_when_durable(changes);
        self.when_durable(Waiting::Answer(answer));
    }

    fn when_durable(&mut self, waiting: Waiting<H>) {
        if let Some(failure) = self.staging.poisoned().cloned() {
            // No wait is accepted any more: frames staged before the failure may never become
            // durable.
            waiting.refuse(&failure, &mut self.partitions, &mut self.actions);
            return;
        }
        match self.staging.last_staged() {
            Some(at) => self.waiting.push(at, waiting),
            None => self.complete(waiting),
        }
    }

    /// Completes a wait that is due. Drops a change whose log is not there any more.
    pub(super) fn complete(&mut self, waiting: Waiting<H>) {
        match &waiting {
            Waiting::Change(change) if change.is_stale(&self.partitions) => {
                // A change of a closed partition needs no note.
                if self.partitions.at(change.key).is_some() {
                    self.actions.note(Fact::StaleChange { id: change.id });
                }
                return;
            }
            Waiting::Change(change) => self.prepare_change(change),
            Waiting::Append(_) | Waiting::Answer(_) => {}
        }
        if waiting.complete(&mut self.partitions, &mut self.staging, &self.commits, &mut self.actions) {
            self.cleaner.check_now();
        }
    }

    /// The consequences of a change for the appends that wait, before it is applied.
    fn prepare_change(&mut self, change: &PlacementChange) {
        match change.what {
            Placement::Close => {
                // The partition's frontiers never move again, and another partition may take its
                // slot from here on.
                for append in self.waiting.take_above(change.key, None) {
                    append.refuse(&AppendError::UnknownPartition, &mut self.actions);
                }
            }
            Placement::Cut(_) => {
                let partition = self.partitions.at_mut(change.key).expect("the change is not stale");
                if partition.log.end_cut() {
                    self.waiting.advance(change.key, &partition.frontiers());
                    self.waiting.order_reached();
                }
            }
            // No frontier that appends wait for moves.
            Placement::Trim(_) | Placement::Move(_) | Placement::Lead(_) => {}
        }
    }

    /// Queues a request for [`Self::stage`].
    fn accept(&mut self, job: Job<H>) {
        assert!(self.takes_requests(), "the caller asks before each request whether the machine accepts it");
        self.backlog.push(job);
    }
}
