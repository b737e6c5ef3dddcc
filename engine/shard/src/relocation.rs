//! Moves what keeps the oldest segment from being freed: live batches and checkpoints are written anew at the log's end. What to move is the
//! segment table's decision.

use std::time::Instant;

use bytes::Bytes;
use rustmq_engine_api::request::ColdRead;
use rustmq_engine_core::wal::Generation;
use rustmq_engine_core::wal::segments::Purpose;
use rustmq_model::TopicIdPartition;
use rustmq_model::batch::BatchHeader;

use crate::reads::Destination;
use crate::shard::Shard;

/// Bytes of batches that one step of a move reads.
const MOVE_BYTES: usize = 4 << 20;

/// When the oldest segment is looked at again. A look that is due sooner does not take the place of a later one: what the later one waits
/// for may be what the sooner one stumbles over.
#[derive(Debug, Default)]
pub(crate) struct Looks {
    now: bool,
    /// Once this commit is durable.
    after: Option<u64>,
}

impl Looks {
    /// When the present commit is dealt with.
    pub(crate) const fn now(&mut self) {
        self.now = true;
    }

    pub(crate) fn after(&mut self, commit: u64) {
        self.after = self.after.max(Some(commit));
    }

    /// Whether one is due, all commits up to `committed` being durable.
    pub(crate) fn take_due(&mut self, committed: u64) -> bool {
        let after = self.after.take_if(|commit| *commit <= committed).is_some();
        std::mem::take(&mut self.now) || after
    }
}

impl Shard {
    /// Begins, or goes on, to move what the oldest segment still holds, if the table says that it pays.
    pub(crate) fn relocate(&mut self) {
        if self.moving.is_some() || self.poisoned.is_some() {
            return;
        }
        let Some(plan) = self.wal.table.relocation() else {
            if self.wal.table.is_moving() {
                self.relocate_after_laid();
            }
            return;
        };
        for id in &plan.checkpoints {
            let Some(partition) = self.partitions.get(id) else { continue };
            let checkpoint = partition.checkpoint();
            if checkpoint.len() > self.wal.table.shape().payload_max() as usize {
                tracing::error!(partition = %id, bytes = checkpoint.len(), "a checkpoint does not fit a segment");
                return;
            }
            if self.room(checkpoint.len(), Purpose::Cleaning).is_err() {
                // Gone on with in the next commit, or when a slot is prepared.
                self.relocate_after_laid();
                return;
            }
            self.wal.put_checkpoint(*id, &checkpoint);
        }
        self.relocate_after_laid();
        let Some(first) = plan.batches.first() else { return };
        let (id, from, until) = (first.partition, first.from, first.until);
        let read = ColdRead { id, from, until, max_bytes: MOVE_BYTES, at_least_one: true };
        if self.submit_read(read, Instant::now(), Destination::Move).is_ok() {
            self.moving = Some((id, plan.generation));
        }
    }

    pub(crate) fn on_move_read(
        &mut self,
        id: TopicIdPartition,
        generation: Generation,
        batches: Result<Vec<Bytes>, String>,
    ) {
        // The partition was deleted meanwhile: what was read is dead.
        if self.moving.take_if(|moving| *moving == (id, generation)).is_none() {
            return;
        }
        match batches {
            Err(reason) => {
                tracing::error!(partition = %id, generation = generation.0, reason, "a segment cannot be moved");
            }
            Ok(batches) => {
                let _ = batches.iter().try_for_each(|batch| self.move_batch(id, batch).then_some(()));
                // The rest follows once these are durable.
                self.relocate_after_laid();
            }
        }
    }

    /// Whether the next one may follow.
    fn move_batch(&mut self, id: TopicIdPartition, batch: &Bytes) -> bool {
        if self.poisoned.is_some() || !self.partitions.contains_key(&id) {
            return false;
        }
        let Ok(header) = BatchHeader::parse(batch) else { return false };
        if self.room(batch.len(), Purpose::Cleaning).is_err() {
            return false;
        }
        self.wal.put_relocated(id, batch, &header);
        true
    }
}
