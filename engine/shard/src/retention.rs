//! What a shard does by the clock: retention, and forgetting producers. The rules are the cores'; the clock is read here.

use std::time::{SystemTime, UNIX_EPOCH};

use rustmq_engine_core::wal::Control;
use rustmq_engine_core::wal::retention::{RetentionLimits, log_start_after};
use rustmq_engine_core::wal::segments::Purpose;
use rustmq_model::{Timestamp, TopicIdPartition};

use crate::answer::Answer;
use crate::shard::Shard;

/// Milliseconds since 1970.
pub(crate) fn now() -> Timestamp {
    since_1970(SystemTime::now())
}

pub(crate) fn since_1970(time: SystemTime) -> Timestamp {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
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
}
