//! Moves live batches and checkpoints from the oldest segment to the log's end, so that the segment
//! can be freed. The segment table decides whether a move pays and what moves; this file decides
//! when to ask it.

use std::time::Duration;

use bytes::Bytes;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Instant, Offset, TopicIdPartition};

use super::actions::{Action, Actions, Fact};
use super::commit_builder::NoRoom;
use super::commits::{CommitNumber, Commits};
use super::host::{Host, ReaderMemory};
use super::location;
use super::partitions::{LogVersion, Partition, PartitionKey, Partitions};
use super::placement_change::{Placement, PlacementChange};
use super::request::ColdRead;
use super::staging::Staging;
use crate::wal::segments::{BatchMove, Purpose, RelocationPlan};
use crate::wal::{DamagedRange, SegmentGeneration};

/// The most batch bytes that one step of a move reads.
const MOVE_BYTES: usize = 4 << 20;
/// The pause before a failed move is tried again, for example after a shortage of memory.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a move cannot continue with a range of offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveError {
    /// The reason may pass: the move is tried again.
    Later { reason: String },
    /// The batches from the first requested offset up to `until` cannot be read back.
    Damaged { until: Offset, reason: String },
}

/// The result of a read for a move.
#[derive(Debug)]
pub(super) struct Read {
    pub number: u64,
    pub batches: Result<Vec<Bytes>, MoveError>,
}

/// A move whose batches are being read.
#[derive(Clone, Copy, Debug)]
struct Moving {
    number: u64,
    key: PartitionKey,
    /// The version of the log when the move was planned: after a cut, the batches may not belong to
    /// the log any more.
    version: LogVersion,
    generation: SegmentGeneration,
    batches: BatchMove,
}

/// Schedules the checks of the oldest segment. A sooner check does not replace a later one: the
/// sooner one may lack the same thing that the later one waits for.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    /// Check after the present commit.
    check_now: bool,
    /// Check as soon as this commit is durable.
    check_after: Option<CommitNumber>,
    /// Check at this time: there may be no commit to wait for.
    check_at: Option<Instant>,
    moving: Option<Moving>,
    /// The number of the newest read.
    newest_read: u64,
    read_bytes_max: usize,
}

impl Cleaner {
    pub(super) fn new(read_bytes_max: usize) -> Self {
        Self { read_bytes_max, ..Self::default() }
    }

    pub(super) const fn check_now(&mut self) {
        self.check_now = true;
    }

    pub(super) fn check_after(&mut self, commit: CommitNumber) {
        self.check_after = self.check_after.max(Some(commit));
    }

    pub(super) const fn due_at(&self) -> Option<Instant> {
        self.check_at
    }

    pub(super) fn take_due_at(&mut self, now: Instant) -> bool {
        self.check_at.take_if(|at| *at <= now).is_some()
    }

    /// Whether a check is due when all commits up to `committed` are durable.
    pub(super) fn take_due(&mut self, committed: CommitNumber) -> bool {
        let after = self.check_after.take_if(|commit| *commit <= committed).is_some();
        std::mem::take(&mut self.check_now) || after
    }

    /// Schedules a check for the time when everything staged so far is durable.
    pub(super) fn check_after_staged(&mut self, now: Instant, is_staging_empty: bool, commits: &Commits) {
        match commits.last_needed(is_staging_empty) {
            Some(commit) => self.check_after(commit),
            None => {
                self.check_at = Some(now.plus(PAUSE));
                self.check_after(commits.begun());
            }
        }
    }

    /// The partition was closed: the batches being read for it are dropped.
    pub(super) fn on_closed(&mut self, key: PartitionKey) {
        self.moving.take_if(|moving| moving.key == key);
    }

    /// Starts or continues the move out of the oldest segment, if the table says that it pays and
    /// no other move is under way. Returns the changes that are staged at once.
    pub(super) fn check<H: Host>(
        &mut self,
        now: Instant,
        commits: &Commits,
        partitions: &Partitions,
        staging: &mut Staging<H::Memory>,
        actions: &mut Actions<H>,
    ) -> Vec<PlacementChange> {
        let mut moves = Vec::new();
        if self.moving.is_some() || staging.poisoned().is_some() {
            return moves;
        }
        let Some(plan) = staging.table().relocation() else { return moves };
        let staged = stage_checkpoints(&plan, partitions, staging)
            .and_then(|()| stage_damaged(&plan, partitions, staging, &mut moves));
        self.check_after_staged(now, staging.is_empty(), commits);
        if staged.is_ok()
            && let Some(batches) = plan.batches.first()
        {
            self.ask_for(now, plan.generation, *batches, partitions, staging, actions);
        }
        // Otherwise it continues in the next commit, or when a slot is prepared.
        moves
    }

    fn ask_for<H: Host>(
        &mut self,
        now: Instant,
        generation: SegmentGeneration,
        batches: BatchMove,
        partitions: &Partitions,
        staging: &mut Staging<H::Memory>,
        actions: &mut Actions<H>,
    ) {
        let BatchMove { partition: id, from, until } = batches;
        let Some(partition) = partitions.find(id) else { return };
        let (key, version) = (partition.key, partition.version);
        let max_bytes = MOVE_BYTES.min(self.read_bytes_max);
        let read = ColdRead { id, from, until, max_bytes, at_least_one: true };
        match location::plan_move(&read, staging.table()) {
            Ok(planned) => {
                self.newest_read += 1;
                self.moving = Some(Moving { number: self.newest_read, key, version, generation, batches });
                actions.push(Action::ReadToMove { number: self.newest_read, read, plan: Box::new(planned) });
            }
            Err(error) => self.delay(now, id, error.to_string(), actions),
        }
    }

    fn delay<H: Host>(&mut self, now: Instant, id: TopicIdPartition, reason: String, actions: &mut Actions<H>) {
        actions.note(Fact::MoveDelayed { id, reason });
        self.check_at = Some(now.plus(PAUSE));
    }

    /// A requested read has ended. Returns the staged changes.
    pub(super) fn on_read<H: Host>(
        &mut self,
        now: Instant,
        Read { number, batches }: Read,
        commits: &Commits,
        partitions: &Partitions,
        staging: &mut Staging<H::Memory>,
        actions: &mut Actions<H>,
    ) -> Vec<PlacementChange> {
        let mut moves = Vec::new();
        // An unknown number means that the partition was closed in the meantime: the batches are
        // dropped.
        let Some(moving) = self.moving.take_if(|moving| moving.number == number) else { return moves };
        let id = moving.batches.partition;
        let Some(partition) = partitions.at(moving.key).filter(|partition| partition.version == moving.version) else {
            actions.note(Fact::StaleChange { id });
            self.check_after_staged(now, staging.is_empty(), commits);
            return moves;
        };
        match batches {
            Ok(batches) => {
                let stage = |batch: &Bytes| stage_move(partition, batch, partitions, staging, &mut moves).then_some(());
                let _ = batches.iter().try_for_each(stage);
                // The remaining batches follow once these are durable.
                self.check_after_staged(now, staging.is_empty(), commits);
            }
            Err(MoveError::Later { reason }) => self.delay(now, id, reason, actions),
            Err(MoveError::Damaged { until, reason }) => {
                moves.extend(mark_damaged(&moving, until, partition, partitions, staging).map(|(range, change)| {
                    actions.note(Fact::RangeDamaged { id, first: range.first, end: range.end, reason });
                    change
                }));
                // Without room for the mark, the batches are read again.
                self.check_after_staged(now, staging.is_empty(), commits);
            }
        }
        moves
    }

    /// The partition whose batches are being read for a move.
    pub(super) fn moving(&self) -> Option<PartitionKey> {
        self.moving.map(|moving| moving.key)
    }

    /// Whether the oldest segment will be checked again without another event: after a commit, at a
    /// time, or at the end of a read.
    pub(super) const fn is_check_due(&self) -> bool {
        self.check_now || self.check_after.is_some() || self.check_at.is_some() || self.moving.is_some()
    }

    /// Panics if a check waits for a commit after `last_commit`, the newest one that will begin by
    /// itself.
    pub(super) fn check_invariants(&self, last_commit: CommitNumber) {
        assert!(
            self.check_after.is_none_or(|commit| commit <= last_commit),
            "a check waits for a commit that is begun or has frames"
        );
        // A read of an earlier move is dropped with its partition, so that its number is unknown.
        assert!(self.moving.is_none_or(|moving| moving.number == self.newest_read), "one move is read at a time");
    }
}

/// A checkpoint that takes several commits stays in the plan until it is staged.
fn stage_checkpoints<M: ReaderMemory>(
    plan: &RelocationPlan,
    partitions: &Partitions,
    staging: &mut Staging<M>,
) -> Result<(), NoRoom> {
    for partition in plan.checkpoints.iter().filter_map(|id| partitions.find(*id)) {
        staging.checkpoint(partition, partitions)?;
    }
    Ok(())
}

/// Batches that failed to be read before are not read again: their mark moves.
fn stage_damaged<M: ReaderMemory>(
    plan: &RelocationPlan,
    partitions: &Partitions,
    staging: &mut Staging<M>,
    moves: &mut Vec<PlacementChange>,
) -> Result<(), NoRoom> {
    for (id, range) in &plan.damaged {
        let Some(partition) = partitions.find(*id) else { continue };
        let room = staging.room(DamagedRange::PAYLOAD_LENGTH, Purpose::Cleaning, partitions)?;
        moves.push(PlacementChange::of(partition, Placement::Move(room.put_damaged(*id, range))));
    }
    Ok(())
}

/// Unreadable batches must not pin their segment: a mark moves in their place, and the log
/// continues.
fn mark_damaged<M: ReaderMemory>(
    moving: &Moving,
    until: Offset,
    partition: &Partition,
    partitions: &Partitions,
    staging: &mut Staging<M>,
) -> Option<(DamagedRange, PlacementChange)> {
    let Moving { generation, batches: BatchMove { partition: id, from, until: end }, .. } = *moving;
    // `None` if the log was trimmed past it in the meantime.
    let range = staging.table().damaged_range(id, generation, from, until.min(end))?;
    let room = staging.room(DamagedRange::PAYLOAD_LENGTH, Purpose::Cleaning, partitions).ok()?;
    Some((range, PlacementChange::of(partition, Placement::Move(room.put_damaged(id, &range)))))
}

/// Returns whether the next batch may follow.
fn stage_move<M: ReaderMemory>(
    partition: &Partition,
    batch: &Bytes,
    partitions: &Partitions,
    staging: &mut Staging<M>,
    moves: &mut Vec<PlacementChange>,
) -> bool {
    let Ok(header) = BatchHeader::parse(batch) else { return false };
    if header.next_offset() <= partition.log.decided_log_start() {
        // Trimmed in the meantime.
        return true;
    }
    let Ok(room) = staging.room(batch.len(), Purpose::Cleaning, partitions) else { return false };
    let to = room.put_relocated(partition.id, batch, &header);
    moves.push(PlacementChange::of(partition, Placement::Move(to)));
    true
}
