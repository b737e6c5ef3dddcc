//! Moves what keeps the oldest segment from being freed: live batches and checkpoints are written anew at the log's end. What to move is the
//! segment table's decision.

use std::time::Duration;

use bytes::Bytes;
use rustmq_engine_api::request::ColdRead;
use rustmq_engine_core::shard::Now;
use rustmq_engine_core::wal::segments::{BatchMove, Purpose, RelocationPlan};
use rustmq_engine_core::wal::{DamagedRange, Generation};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Instant, Offset, TopicIdPartition};

use crate::move_read::MoveError;
use crate::reads::Destination;
use crate::shard::Shard;
use crate::wal_writer::NoRoom;

/// Bytes of batches that one step of a move reads.
const MOVE_BYTES: usize = 4 << 20;
/// How long a move waits that could not go on, for want of memory for example.
pub(crate) const MOVE_PAUSE: Duration = Duration::from_secs(1);

/// When the oldest segment is looked at again. A look that is due sooner does not take the place of a later one: what the later one waits
/// for may be what the sooner one stumbles over.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    now: bool,
    /// Once this commit is durable.
    after: Option<u64>,
    /// By the clock: there may be no commit that it could wait for.
    at: Option<Instant>,
}

impl Looks {
    /// When the present commit is dealt with.
    pub(crate) const fn now(&mut self) {
        self.now = true;
    }

    pub(crate) fn after(&mut self, commit: u64) {
        self.after = self.after.max(Some(commit));
    }

    pub(crate) const fn at(&mut self, time: Instant) {
        self.at = Some(time);
    }

    pub(crate) const fn due_at(&self) -> Option<Instant> {
        self.at
    }

    pub(crate) fn take_due_at(&mut self, now: Instant) -> bool {
        self.at.take_if(|at| *at <= now).is_some()
    }

    /// Whether one is due, all commits up to `committed` being durable.
    pub(crate) fn take_due(&mut self, committed: u64) -> bool {
        let after = self.after.take_if(|commit| *commit <= committed).is_some();
        std::mem::take(&mut self.now) || after
    }
}

/// Batches on their way back from a segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Moving {
    pub generation: Generation,
    pub batches: BatchMove,
}

impl Shard {
    /// Begins, or goes on, to move what the oldest segment still holds, if the table says that it pays.
    pub(crate) fn relocate(&mut self, now: Now) {
        if self.moving.is_some() || self.poisoned.is_some() {
            return;
        }
        let Some(plan) = self.wal.table.relocation() else {
            if self.wal.table.is_moving() {
                self.relocate_after_laid(now);
            }
            return;
        };
        let laid = self.lay_checkpoints(&plan, now).and_then(|()| self.lay_damaged(&plan, now));
        self.relocate_after_laid(now);
        if laid.is_err() {
            // Gone on with in the next commit, or when a slot is prepared.
            return;
        }
        let Some(batches) = plan.batches.first().copied() else { return };
        let BatchMove { partition: id, from, until } = batches;
        let read = ColdRead { id, from, until, max_bytes: MOVE_BYTES, at_least_one: true };
        match self.submit_read(read, Destination::Move) {
            Ok(()) => self.moving = Some(Moving { generation: plan.generation, batches }),
            Err((_, error)) => self.move_later(id, &error.to_string(), now),
        }
    }

    fn lay_checkpoints(&mut self, plan: &RelocationPlan, now: Now) -> Result<(), NoRoom> {
        for id in &plan.checkpoints {
            let Some(partition) = self.partitions.get(id) else { continue };
            let checkpoint = partition.checkpoint();
            if checkpoint.len() > self.wal.table.shape().payload_max() as usize {
                tracing::error!(partition = %id, bytes = checkpoint.len(), "a checkpoint does not fit a segment");
                continue;
            }
            self.room(checkpoint.len(), Purpose::Cleaning, now)?;
            self.wal.put_checkpoint(*id, &checkpoint);
        }
        Ok(())
    }

    /// What could not be read back before is not read again: what stands for it moves.
    fn lay_damaged(&mut self, plan: &RelocationPlan, now: Now) -> Result<(), NoRoom> {
        for (id, range) in &plan.damaged {
            self.room(DamagedRange::PAYLOAD_LENGTH, Purpose::Cleaning, now)?;
            self.wal.put_damaged(*id, range);
        }
        Ok(())
    }

    pub(crate) fn on_move_read(
        &mut self,
        id: TopicIdPartition,
        generation: Generation,
        batches: Result<Vec<Bytes>, MoveError>,
        now: Now,
    ) {
        let is_asked = |moving: &mut Moving| moving.batches.partition == id && moving.generation == generation;
        // The partition was deleted meanwhile: what was read is dead.
        let Some(asked) = self.moving.take_if(is_asked) else { return };
        match batches {
            Ok(batches) => {
                let _ = batches.iter().try_for_each(|batch| self.move_batch(id, batch, now).then_some(()));
                // The rest follows once these are durable.
                self.relocate_after_laid(now);
            }
            Err(MoveError::Later { reason }) => self.move_later(id, &reason, now),
            Err(MoveError::Damaged { until, reason }) => self.mark_damaged(asked, until, &reason, now),
        }
    }

    fn move_later(&mut self, id: TopicIdPartition, reason: &str, now: Now) {
        tracing::warn!(partition = %id, reason, "a segment cannot be moved now: it is tried again");
        self.looks.at(now.at.plus(MOVE_PAUSE));
    }

    /// What cannot be read must keep its segment as little as what can: a mark moves in its place, and the log goes on.
    fn mark_damaged(&mut self, asked: Moving, until: Offset, reason: &str, now: Now) {
        let Moving { generation, batches: BatchMove { partition: id, from, until: end } } = asked;
        // None if the log was trimmed over it meanwhile, or cut off and written again.
        let range = self.wal.table.damaged_range(id, generation, from, until.min(end));
        if let Some(range) = range.filter(|_| self.poisoned.is_none())
            && self.room(DamagedRange::PAYLOAD_LENGTH, Purpose::Cleaning, now).is_ok()
        {
            self.wal.put_damaged(id, &range);
            self.around.metrics.damaged_ranges.inc();
            let (first, last) = (range.first.0, range.end.0 - 1);
            tracing::error!(partition = %id, first, last, reason, "acknowledged records are damaged: their readers are refused, the log goes on");
        }
        // Without room for it, the batches are asked for again.
        self.relocate_after_laid(now);
    }

    /// Whether the next one may follow.
    fn move_batch(&mut self, id: TopicIdPartition, batch: &Bytes, now: Now) -> bool {
        let Some(partition) = self.partitions.get(&id).filter(|_| self.poisoned.is_none()) else { return false };
        let Ok(header) = BatchHeader::parse(batch) else { return false };
        if header.next_offset() <= partition.log.decided_log_start() {
            // Trimmed meanwhile.
            return true;
        }
        if self.room(batch.len(), Purpose::Cleaning, now).is_err() {
            return false;
        }
        self.wal.put_relocated(id, batch, &header);
        true
    }
}
