//! What a shard does on its own: retention, forgetting producers, and moving what keeps the oldest segment from being freed. The rules
//! are the cores'; the clock is read here.

use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use rustmq_engine_api::request::ColdRead;
use rustmq_engine_core::wal::retention::{RetentionLimits, log_start_after};
use rustmq_engine_core::wal::segments::Purpose;
use rustmq_engine_core::wal::{Control, Generation};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{Timestamp, TopicIdPartition};

use crate::answer::Answer;
use crate::reads::Destination;
use crate::shard::Shard;

/// Bytes of batches that one step of a move reads.
const MOVE_BYTES: usize = 4 << 20;

fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

impl Shard {
    pub(crate) fn enforce_retention(&mut self) {
        if self.poisoned.is_some() {
            return;
        }
        let now = now();
        let ids: Vec<_> = self.partitions.keys().copied().collect();
        for id in ids {
            self.expire_records(id, now);
            self.expire_producers(id, now);
        }
        self.relocate();
    }

    fn expire_records(&mut self, id: TopicIdPartition, now: Timestamp) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let limits = RetentionLimits { time: partition.config.retention_time, bytes: partition.config.retention_bytes };
        let Some(log_start) = log_start_after(&self.wal.table.parts(id), limits, now) else { return };
        let log_start = log_start.min(partition.log.positions().high_watermark);
        if log_start <= partition.log.decided_log_start() {
            return;
        }
        match self.lay_trim(id, log_start) {
            Ok(log_start) => self.answer_when_durable(Answer::Trim { id, log_start, reply: None }),
            // Looked at again at the next interval.
            Err(error) => tracing::warn!(partition = %id, %error, "retention waits"),
        }
    }

    fn expire_producers(&mut self, id: TopicIdPartition, now: Timestamp) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let producers = partition.log.expire_producers(now, partition.config.producer_expiry);
        if producers.is_empty() {
            return;
        }
        let control = Control::Expiry { producers };
        if self.room(control.payload_length(), Purpose::Append).is_err() {
            return;
        }
        self.wal.put_control(id, &control);
        if let (Control::Expiry { producers }, Some(partition)) = (&control, self.partitions.get_mut(&id)) {
            partition.log.forget_producers(producers);
        }
    }

    /// Begins, or goes on, to move what the oldest segment still holds, if the table says that it pays.
    pub(crate) fn relocate(&mut self) {
        if self.moving.is_some() || self.poisoned.is_some() {
            return;
        }
        let Some(plan) = self.wal.table.relocation() else { return };
        for id in &plan.checkpoints {
            let Some(partition) = self.partitions.get(id) else { continue };
            let checkpoint = partition.checkpoint();
            if checkpoint.len() > self.wal.table.shape().payload_max() as usize {
                tracing::error!(partition = %id, bytes = checkpoint.len(), "a checkpoint does not fit a segment");
                return;
            }
            if self.room(checkpoint.len(), Purpose::Cleaning).is_err() {
                return;
            }
            self.wal.put_checkpoint(*id, &checkpoint);
        }
        self.relocate_after_gathered();
        let Some(first) = plan.batches.first() else { return };
        let (id, from, until) = (first.partition, first.from, first.until);
        let read = ColdRead { id, from, until, max_bytes: MOVE_BYTES, at_least_one: true };
        if self.submit_read(read, Destination::Move).is_ok() {
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
                self.relocate_after_gathered();
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
