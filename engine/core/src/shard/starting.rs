//! Builds a shard's partitions from the recovered WAL: each log is replayed from its newest base
//! on.

use rustmq_model::{Timestamp, TopicIdPartition};

use super::partitions::Partitions;
use super::request::LogConfig;
use crate::log::checkpoint::PRODUCER_LENGTH_MAX;
use crate::log::{CheckpointError, EpochStart, Gaps, LogLimits, PartitionLog, ReplayError, Replicas};
use crate::wal::scan::{ReplayEvent, ReplayItem};
use crate::wal::{Control, RecoveredWal, SegmentShape, SegmentTable};

/// The bytes that one producer is assumed to take in a checkpoint.
const PRODUCER_BYTES: usize = 200;

const _: () = assert!(PRODUCER_LENGTH_MAX <= PRODUCER_BYTES, "the producers take at most their half of a segment");

/// Limits that keep a checkpoint smaller than a segment, so that it fits into the space reserved
/// for moving the oldest segment: half of a segment for producers. The other half has room for the
/// rest, with the aborted transactions that earlier builds kept in three eighths of a segment.
#[must_use]
pub fn log_limits(shape: SegmentShape) -> LogLimits {
    let half = shape.length() as usize / 2;
    LogLimits { producers_max: LogLimits::default().producers_max.min(half / PRODUCER_BYTES) }
}

/// The frames of a partition are inconsistent.
#[derive(Debug, thiserror::Error)]
pub enum PartitionReplayError {
    #[error("partition {id}: {error}")]
    Replay { id: TopicIdPartition, error: ReplayError },
    #[error("partition {id}: {error}")]
    Checkpoint { id: TopicIdPartition, error: CheckpointError },
    #[error("partition {id} has frames but neither an open frame nor a checkpoint before them")]
    NoBase { id: TopicIdPartition },
}

/// Replays every partition, and restores its log start and its base's end in the table.
///
/// # Errors
/// If the frames of a partition are inconsistent.
pub fn replay_partitions(
    recovered: &RecoveredWal,
    gaps: Gaps,
    limits: LogLimits,
    replicas: Replicas,
    now: Timestamp,
    table: &mut SegmentTable,
) -> Result<Partitions, PartitionReplayError> {
    let mut partitions = Partitions::default();
    for (id, items) in &recovered.partitions {
        let (first, rest) = items.split_first().ok_or(PartitionReplayError::NoBase { id: *id })?;
        let base = replay_event(*id, &first.event, None, gaps, limits)?;
        table.restore_base_end(*id, base.end());
        let mut log = replay_onto(*id, Some(base), rest, gaps, limits)?;
        log.finish_replay(replicas, now);
        table.restore_log_start(*id, log.decided_log_start());
        let size_bytes = table.bytes_from(*id, log.decided_log_start());
        partitions.insert(*id, log, LogConfig::unlimited(), size_bytes);
    }
    Ok(partitions)
}

/// Replays one partition's log. A caller that continues the log calls
/// [`PartitionLog::finish_replay`].
///
/// # Errors
/// If the frames are inconsistent.
pub fn replay(
    id: TopicIdPartition,
    items: &[ReplayItem],
    gaps: Gaps,
    limits: LogLimits,
) -> Result<PartitionLog, PartitionReplayError> {
    replay_onto(id, None, items, gaps, limits)
}

fn replay_onto(
    id: TopicIdPartition,
    mut log: Option<PartitionLog>,
    items: &[ReplayItem],
    gaps: Gaps,
    limits: LogLimits,
) -> Result<PartitionLog, PartitionReplayError> {
    for item in items {
        log = Some(replay_event(id, &item.event, log, gaps, limits)?);
    }
    log.ok_or(PartitionReplayError::NoBase { id })
}

/// The log after the event; a base needs no log before it.
pub(super) fn replay_event(
    id: TopicIdPartition,
    event: &ReplayEvent,
    log: Option<PartitionLog>,
    gaps: Gaps,
    limits: LogLimits,
) -> Result<PartitionLog, PartitionReplayError> {
    match (event, log) {
        (ReplayEvent::Checkpoint(bytes), _) => {
            PartitionLog::restore(limits, bytes).map_err(|error| PartitionReplayError::Checkpoint { id, error })
        }
        (ReplayEvent::Control(Control::Open { epoch, log_start }), _) => {
            Ok(PartitionLog::open(limits, *epoch, *log_start))
        }
        (_, None) => Err(PartitionReplayError::NoBase { id }),
        (event, Some(mut log)) => {
            apply(&mut log, event, gaps).map_err(|error| PartitionReplayError::Replay { id, error })?;
            Ok(log)
        }
    }
}

fn apply(log: &mut PartitionLog, event: &ReplayEvent, gaps: Gaps) -> Result<(), ReplayError> {
    match event {
        ReplayEvent::Batch(header, marker) => log.replay_batch(header, *marker, gaps),
        ReplayEvent::Control(Control::Trim { log_start }) => log.replay_trim(*log_start, gaps),
        // The log's state after the truncation is in the same group, and recovery begins there.
        ReplayEvent::Control(Control::Truncate { end }) => Err(ReplayError::TruncationAlone { end: *end }),
        ReplayEvent::Control(Control::EpochStart { epoch, start }) => {
            log.replay_epoch_start(EpochStart { epoch: *epoch, start: *start }, gaps)
        }
        ReplayEvent::Control(Control::Expiry { decided_at, producers }) => {
            log.replay_expiry(*decided_at, producers);
            Ok(())
        }
        // The caller handles bases; a close ends a partition, which recovery does not list.
        ReplayEvent::Control(Control::Open { .. } | Control::Close) | ReplayEvent::Checkpoint(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
