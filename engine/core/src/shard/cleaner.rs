//! Moves what keeps the oldest segment from being freed: live batches and checkpoints are written anew at the log's end. What to move is the
//! segment table's decision; when to look is made here.

use std::time::Duration;

use bytes::Bytes;
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Instant, Offset, TopicIdPartition};

use super::actions::{Action, Actions, Fact};
use super::commits::{CommitNumber, Commits};
use super::gathering::NoRoom;
use super::host::{Host, ReaderMemory};
use super::location::plan_read;
use super::partitions::{PartitionKey, Partitions};
use super::request::ColdRead;
use super::staging::Staging;
use crate::wal::segments::{BatchMove, Purpose, RelocationPlan};
use crate::wal::{DamagedRange, Generation};

/// Bytes of batches that one step of a move reads.
const MOVE_BYTES: usize = 4 << 20;
/// How long a move waits that could not go on, for want of memory for example.
const PAUSE: Duration = Duration::from_secs(1);

/// Why a move cannot go on with a range of offsets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MoveError {
    /// For a reason that may pass: it is asked for again.
    Later { reason: String },
    /// The batches from the first offset asked for on, up to `until`, cannot be read back.
    Damaged { until: Offset, reason: String },
}

/// The end of a read that a move asked for.
#[derive(Debug)]
pub(super) struct Read {
    pub number: u64,
    pub batches: Result<Vec<Bytes>, MoveError>,
}

/// Batches on their way back from a segment.
#[derive(Clone, Copy, Debug)]
struct Moving {
    number: u64,
    key: PartitionKey,
    generation: Generation,
    batches: BatchMove,
}

/// When the oldest segment is looked at again. A look that is due sooner does not take the place of a later one: what the later one waits
/// for may be what the sooner one stumbles over.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    /// When the present commit is dealt with.
    look_now: bool,
    /// Once this commit is durable.
    look_after: Option<CommitNumber>,
    /// By the clock: there may be no commit that it could wait for.
    look_at: Option<Instant>,
    moving: Option<Moving>,
    /// The number of the newest read.
    newest_read: u64,
    read_bytes_max: usize,
}

impl Cleaner {
    pub(super) fn new(read_bytes_max: usize) -> Self {
        Self { read_bytes_max, ..Self::default() }
    }

    pub(super) const fn look_now(&mut self) {
        self.look_now = true;
    }

    pub(super) fn look_after(&mut self, commit: CommitNumber) {
        self.look_after = self.look_after.max(Some(commit));
    }

    pub(super) const fn due_at(&self) -> Option<Instant> {
        self.look_at
    }

    pub(super) fn take_due_at(&mut self, now: Instant) -> bool {
        self.look_at.take_if(|at| *at <= now).is_some()
    }

    /// Whether a look is due, all commits up to `committed` being durable.
    pub(super) fn take_due(&mut self, committed: CommitNumber) -> bool {
        let after = self.look_after.take_if(|commit| *commit <= committed).is_some();
        std::mem::take(&mut self.look_now) || after
    }

    /// Looks at the oldest segment when everything that was staged so far is durable.
    pub(super) fn look_after_staged(&mut self, now: Instant, is_staging_empty: bool, commits: &Commits) {
        match commits.last_needed(is_staging_empty) {
            Some(commit) => self.look_after(commit),
            None => {
                self.look_at = Some(now.plus(PAUSE));
                self.look_after(commits.begun());
            }
        }
    }

    /// The partition was closed: what is read of it is dead.
    pub(super) fn on_closed(&mut self, key: PartitionKey) {
        self.moving.take_if(|moving| moving.key == key);
    }

    /// Begins, or goes on, to move what the oldest segment still holds, if the table says that it pays.
    pub(super) fn look<H: Host>(
        &mut self,
        now: Instant,
        commits: &Commits,
        partitions: &Partitions,
        staging: &mut Staging<H::Memory>,
        actions: &mut Actions<H>,
    ) {
        if self.moving.is_some() || staging.poisoned().is_some() {
            return;
        }
        let Some(plan) = staging.table().relocation() else {
            if staging.table().is_moving() {
                self.look_after_staged(now, staging.is_empty(), commits);
            }
            return;
        };
        let staged = stage_checkpoints(&plan, partitions, staging, actions)
            .and_then(|()| stage_damaged(&plan, partitions, staging));
        self.look_after_staged(now, staging.is_empty(), commits);
        if staged.is_err() {
            // Gone on with in the next commit, or when a slot is prepared.
            return;
        }
        let Some(batches) = plan.batches.first().copied() else { return };
        let BatchMove { partition: id, from, until } = batches;
        let Some(key) = partitions.key(id) else { return };
        let max_bytes = MOVE_BYTES.min(self.read_bytes_max);
        let read = ColdRead { id, from, until, max_bytes, at_least_one: true };
        match plan_read(&read, staging.table_mut()) {
            Ok(planned) => {
                self.newest_read += 1;
                self.moving = Some(Moving { number: self.newest_read, key, generation: plan.generation, batches });
                actions.push(Action::ReadToMove { number: self.newest_read, read, plan: Box::new(planned) });
            }
            Err(error) => self.delay(now, id, error.to_string(), actions),
        }
    }

    fn delay<H: Host>(&mut self, now: Instant, id: TopicIdPartition, reason: String, actions: &mut Actions<H>) {
        actions.note(Fact::MoveDelayed { id, reason });
        self.look_at = Some(now.plus(PAUSE));
    }

    /// What was asked for was read, or was not.
    pub(super) fn on_read<H: Host>(
        &mut self,
        now: Instant,
        Read { number, batches }: Read,
        commits: &Commits,
        partitions: &Partitions,
        staging: &mut Staging<H::Memory>,
        actions: &mut Actions<H>,
    ) {
        // The partition was closed meanwhile if it is not this one: what was read is dead.
        let Some(asked) = self.moving.take_if(|moving| moving.number == number) else { return };
        match batches {
            Ok(batches) => {
                let moves = |batch: &Bytes| stage_move(asked.key, batch, partitions, staging).then_some(());
                let _ = batches.iter().try_for_each(moves);
                // The rest follows once these are durable.
                self.look_after_staged(now, staging.is_empty(), commits);
            }
            Err(MoveError::Later { reason }) => self.delay(now, asked.batches.partition, reason, actions),
            Err(MoveError::Damaged { until, reason }) => {
                mark_damaged(&asked, until, reason, partitions, staging, actions);
                // Without room for it, the batches are asked for again.
                self.look_after_staged(now, staging.is_empty(), commits);
            }
        }
    }
}

fn stage_checkpoints<H: Host>(
    plan: &RelocationPlan,
    partitions: &Partitions,
    staging: &mut Staging<H::Memory>,
    actions: &mut Actions<H>,
) -> Result<(), NoRoom> {
    for id in &plan.checkpoints {
        let Some(partition) = partitions.find(*id) else { continue };
        let checkpoint = partition.checkpoint();
        if checkpoint.len() > staging.table().shape().payload_max() as usize {
            actions.note(Fact::CheckpointTooLarge { id: *id, bytes: checkpoint.len() });
            continue;
        }
        staging.room(checkpoint.len(), Purpose::Cleaning, partitions)?.put_checkpoint(*id, &checkpoint);
    }
    Ok(())
}

/// What could not be read back before is not read again: what stands for it moves.
fn stage_damaged<M: ReaderMemory>(
    plan: &RelocationPlan,
    partitions: &Partitions,
    staging: &mut Staging<M>,
) -> Result<(), NoRoom> {
    for (id, range) in &plan.damaged {
        let place = staging.room(DamagedRange::PAYLOAD_LENGTH, Purpose::Cleaning, partitions)?;
        place.put_damaged(*id, range);
    }
    Ok(())
}

/// What cannot be read must keep its segment as little as what can: a mark moves in its place, and the log goes on.
fn mark_damaged<H: Host>(
    asked: &Moving,
    until: Offset,
    reason: String,
    partitions: &Partitions,
    staging: &mut Staging<H::Memory>,
    actions: &mut Actions<H>,
) {
    let Moving { generation, batches: BatchMove { partition: id, from, until: end }, .. } = *asked;
    // None if the log was trimmed over it meanwhile, or cut off and written again.
    let Some(range) = staging.table().damaged_range(id, generation, from, until.min(end)) else { return };
    let Ok(place) = staging.room(DamagedRange::PAYLOAD_LENGTH, Purpose::Cleaning, partitions) else { return };
    place.put_damaged(id, &range);
    actions.note(Fact::RangeDamaged { id, first: range.first, end: range.end, reason });
}

/// Whether the next one may follow.
fn stage_move<M: ReaderMemory>(
    key: PartitionKey,
    batch: &Bytes,
    partitions: &Partitions,
    staging: &mut Staging<M>,
) -> bool {
    let Some(partition) = partitions.at(key) else { return false };
    let Ok(header) = BatchHeader::parse(batch) else { return false };
    if header.next_offset() <= partition.log.decided_log_start() {
        // Trimmed meanwhile.
        return true;
    }
    let Ok(place) = staging.room(batch.len(), Purpose::Cleaning, partitions) else { return false };
    place.put_relocated(partition.id, batch, &header);
    true
}
