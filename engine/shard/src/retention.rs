//! What a shard does by the wall clock: retention, and forgetting producers. The rules are the cores'.

use std::time::Duration;

use rustmq_engine_core::shard::Now;
use rustmq_engine_core::wal::Control;
use rustmq_engine_core::wal::retention::{RetentionLimits, log_start_after};
use rustmq_engine_core::wal::segments::Purpose;
use rustmq_model::TopicIdPartition;

use crate::answer::Answer;
use crate::shard::Shard;

/// Partitions that are looked at in one go: producers wait meanwhile.
const PARTITIONS_AT_ONCE: usize = 128;
/// Between one go and the next, for what came meanwhile.
const PAUSE: Duration = Duration::from_millis(1);

impl Shard {
    /// Looks at the next few partitions. Answers when to look on: after the whole interval, once all of them have had their turn.
    pub(crate) fn enforce_retention(&mut self, now: Now) -> Duration {
        if self.poisoned.is_some() {
            return self.tuning.retention_interval;
        }
        if self.retention_due.is_empty() {
            self.retention_due = self.partitions.keys().copied().collect();
        }
        let rest = self.retention_due.len().saturating_sub(PARTITIONS_AT_ONCE);
        for id in self.retention_due.split_off(rest) {
            self.expire_records(id, now);
            self.expire_producers(id, now);
        }
        if !self.retention_due.is_empty() {
            return PAUSE;
        }
        self.relocate(now);
        self.tuning.retention_interval
    }

    fn expire_records(&mut self, id: TopicIdPartition, now: Now) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let limits = RetentionLimits { time: partition.config.retention_time, bytes: partition.config.retention_bytes };
        let table = &self.wal.table;
        let Some(log_start) = log_start_after(table.parts(id), table.bytes(id), limits, now.wall) else { return };
        let log_start = log_start.min(partition.log.positions().high_watermark);
        if log_start <= partition.log.decided_log_start() {
            return;
        }
        match self.lay_trim(id, log_start, now) {
            Ok(log_start) => self.answer_when_durable(Answer::Trim { id, log_start, reply: None }),
            // Looked at again at the next interval.
            Err(error) => tracing::warn!(partition = %id, %error, "retention waits"),
        }
    }

    fn expire_producers(&mut self, id: TopicIdPartition, now: Now) {
        let Some(partition) = self.partitions.get(&id) else { return };
        let producers = partition.log.expire_producers(now.wall, partition.config.producer_expiry);
        if producers.is_empty() {
            return;
        }
        let control = Control::Expiry { producers };
        if self.room(control.payload_length(), Purpose::Append, now).is_err() {
            return;
        }
        self.wal.put_control(id, &control);
        if let (Control::Expiry { producers }, Some(partition)) = (&control, self.partitions.get_mut(&id)) {
            partition.log.forget_producers(producers);
        }
    }
}
