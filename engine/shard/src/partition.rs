//! One partition of a shard: its log, what its readers see, and its retention. Carries the log's changes over to the readers.

use std::sync::Arc;

use rustmq_engine_api::published::{PartitionState, Published, TailBatch};
use rustmq_engine_api::{LogConfig, LogOffsets};
use rustmq_engine_core::log::{CheckpointError, EpochStart};
use rustmq_engine_core::log::{Gaps, LogLimits, LogPositions, PartitionLog, ReplayError};
use rustmq_engine_core::wal::scan::{ReplayEvent, ReplayItem};
use rustmq_engine_core::wal::{Control, SegmentShape};
use rustmq_model::{LeaderEpoch, Offset, Timestamp, TopicIdPartition};

/// A new segment's head holds checkpoints in at most this part of it; partitions that are left keep their place in older ones for longer.
pub(crate) const CHECKPOINTS_PART: usize = 4;

pub(crate) struct Partition {
    pub log: PartitionLog,
    pub published: Arc<Published>,
    pub config: LogConfig,
}

/// Who leads a partition, and who led it from where on.
#[derive(Clone, Debug)]
pub(crate) struct Leadership {
    epoch: LeaderEpoch,
    history: Arc<[(LeaderEpoch, Offset)]>,
}

/// Bytes that one producer takes in a checkpoint, at most.
const PRODUCER_BYTES: usize = 192;
/// Bytes that one aborted transaction takes in a checkpoint.
const ABORTED_BYTES: usize = 32;

/// Bounds that keep a checkpoint within what a new segment's head has room for: half of that for producers, three eighths for aborted
/// transactions, and the rest for the rest.
pub(crate) fn limits(shape: SegmentShape) -> LogLimits {
    let eighth = shape.length() as usize / CHECKPOINTS_PART / 8;
    let default = LogLimits::default();
    LogLimits {
        producers_max: default.producers_max.min(4 * eighth / PRODUCER_BYTES),
        aborted_max: default.aborted_max.min(3 * eighth / ABORTED_BYTES),
    }
}

/// The frames of a partition do not follow from each other.
#[derive(Debug, thiserror::Error)]
pub enum PartitionReplayError {
    #[error("partition {id}: {error}")]
    Replay { id: TopicIdPartition, error: ReplayError },
    #[error("partition {id}: {error}")]
    Checkpoint { id: TopicIdPartition, error: CheckpointError },
    #[error("partition {id} has frames but neither an open frame nor a checkpoint before them")]
    NoBase { id: TopicIdPartition },
}

impl Partition {
    pub(crate) fn new(id: TopicIdPartition, log: PartitionLog, config: LogConfig, size_bytes: u64) -> Self {
        let offsets = offsets(log.positions());
        let mut state = PartitionState { offsets, epochs: epochs(&log), size_bytes, ..PartitionState::default() };
        state.reset_tail(log.end());
        Self { log, published: Published::new(id, state), config }
    }

    /// Rebuilds the log from what recovery found.
    pub(crate) fn replay(
        id: TopicIdPartition,
        items: &[ReplayItem],
        gaps: Gaps,
        limits: LogLimits,
        now: Timestamp,
    ) -> Result<PartitionLog, PartitionReplayError> {
        let mut log: Option<PartitionLog> = None;
        for item in items {
            let next = match (&item.event, log.take()) {
                (ReplayEvent::Checkpoint(bytes), _) => PartitionLog::restore(limits, bytes)
                    .map_err(|error| PartitionReplayError::Checkpoint { id, error })?,
                (ReplayEvent::Control(Control::Open { epoch, log_start }), _) => {
                    PartitionLog::open(limits, *epoch, *log_start)
                }
                (_, None) => return Err(PartitionReplayError::NoBase { id }),
                (event, Some(mut log)) => {
                    apply(&mut log, event, gaps).map_err(|error| PartitionReplayError::Replay { id, error })?;
                    log
                }
            };
            log = Some(next);
        }
        let mut log = log.ok_or(PartitionReplayError::NoBase { id })?;
        log.finish_replay(now);
        Ok(log)
    }

    pub(crate) fn checkpoint(&self) -> Vec<u8> {
        let mut checkpoint = Vec::with_capacity(self.log.checkpoint_length());
        self.log.encode_checkpoint(&mut checkpoint);
        checkpoint
    }

    /// The log start that is synced.
    pub(crate) fn log_start(&self) -> Offset {
        self.log.positions().log_start
    }

    pub(crate) fn leader_epoch(&self) -> LeaderEpoch {
        self.log.leader_epoch()
    }

    /// Batches became durable: they follow what is published.
    pub(crate) fn publish(&mut self, batches: Vec<TailBatch>) {
        let Some(last) = batches.last() else { return };
        self.log.on_durable(last.next);
        let offsets = offsets(self.log.positions());
        let added: usize = batches.iter().map(|batch| batch.bytes.len()).sum();
        self.published.publish(|state| {
            state.offsets = LogOffsets { leader_epoch: state.offsets.leader_epoch, ..offsets };
            state.size_bytes += added as u64;
            state.extend_tail(batches);
        });
    }

    /// A trim frame became durable.
    pub(crate) fn publish_log_start(&mut self, log_start: Offset, size_bytes: u64) {
        self.log.on_trim_durable(log_start);
        let offsets = offsets(self.log.positions());
        self.published.publish(|state| {
            state.offsets = LogOffsets { leader_epoch: state.offsets.leader_epoch, ..offsets };
            state.size_bytes = size_bytes;
            state.drop_below(offsets.log_start);
        });
    }

    /// As laid, perhaps not durable yet.
    pub(crate) fn leadership(&self) -> Leadership {
        Leadership { epoch: self.log.leader_epoch(), history: epochs(&self.log) }
    }

    /// The leadership became durable. Nothing else publishes an epoch: readers, and followers that compare their logs, go by what a restart
    /// does not take back.
    pub(crate) fn publish_leadership(&self, leadership: &Leadership) {
        self.published.publish(|state| {
            state.offsets.leader_epoch = leadership.epoch;
            state.epochs = Arc::clone(&leadership.history);
        });
    }
}

fn apply(log: &mut PartitionLog, event: &ReplayEvent, gaps: Gaps) -> Result<(), ReplayError> {
    match event {
        ReplayEvent::Batch(header, marker) => log.replay_batch(header, *marker, gaps),
        ReplayEvent::Control(Control::Trim { log_start }) => log.replay_trim(*log_start, gaps),
        ReplayEvent::Control(Control::Truncate { end }) => log.replay_truncate(*end, gaps),
        ReplayEvent::Control(Control::EpochStart { epoch, start }) => {
            log.replay_epoch_start(EpochStart { epoch: *epoch, start: *start }, gaps)
        }
        ReplayEvent::Control(Control::Expiry { producers }) => {
            log.replay_expiry(producers);
            Ok(())
        }
        // Bases are handled by the caller; a close ends a partition, which recovery does not list.
        ReplayEvent::Control(Control::Open { .. } | Control::Close) | ReplayEvent::Checkpoint(_) => Ok(()),
    }
}

const fn offsets(positions: LogPositions) -> LogOffsets {
    LogOffsets {
        log_start: positions.log_start,
        durable_end: positions.durable_end,
        high_watermark: positions.high_watermark,
        last_stable: positions.last_stable,
        leader_epoch: positions.leader_epoch,
    }
}

fn epochs(log: &PartitionLog) -> Arc<[(LeaderEpoch, Offset)]> {
    log.epochs().iter().map(|begun| (begun.epoch, begun.start)).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustmq_engine_core::log::{EndMarker, PartitionLog, TransactionEnd};
    use rustmq_engine_core::wal::SegmentShape;
    use rustmq_model::batch::{Attributes, BatchHeader};
    use rustmq_model::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, Timestamp};

    use super::{CHECKPOINTS_PART, limits};

    const TRANSACTIONAL: Attributes = Attributes(0x10);
    const MARKER: Attributes = Attributes(0x30);

    fn header(producer: i64, epoch: i64, sequence: i32, attributes: Attributes) -> BatchHeader {
        BatchHeader {
            base_offset: Offset::ZERO,
            size: 100,
            leader_epoch: LeaderEpoch(-1),
            crc: 0,
            attributes,
            last_offset_delta: 0,
            base_timestamp: Timestamp(1_000),
            max_timestamp: Timestamp(1_000),
            producer_id: ProducerId(producer),
            producer_epoch: ProducerEpoch(i16::try_from(epoch).unwrap()),
            base_sequence: Sequence(sequence),
            record_count: 1,
        }
    }

    #[test]
    fn the_checkpoint_of_a_log_at_its_limits_fits_the_head_of_a_segment() {
        let shape = SegmentShape::new(4096, 1 << 20).unwrap();
        let mut log = PartitionLog::open(limits(shape), LeaderEpoch(0), Offset::ZERO);
        let (mut without_producer, mut without_abort) = (0, 0);
        for round in 0..20_000 {
            let (producer, epoch) = (round % 1_000, round / 1_000);
            let batch = header(producer, epoch, 0, TRANSACTIONAL);
            if log.prepare_append(None, &batch).is_err() {
                without_producer += 1;
                continue;
            }
            log.commit_append(&batch, log.end(), Timestamp(1_000));
            let batch = header(producer, epoch, -1, MARKER);
            let marker = EndMarker { end: TransactionEnd::Abort, coordinator_epoch: 0 };
            match log.prepare_marker(None, &batch, marker) {
                Ok(base) => log.commit_marker(&batch, marker, base, Timestamp(1_000)),
                Err(_) => without_abort += 1,
            }
            log.on_durable(log.end());
        }
        assert!(
            without_producer > 0 && without_abort > 0,
            "{without_producer} and {without_abort}: limits are not met"
        );
        let length = log.checkpoint_length();
        assert!(length <= shape.length() as usize / CHECKPOINTS_PART, "{length} bytes");
    }
}
