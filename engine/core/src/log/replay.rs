//! How a restart rebuilds a log: from an open frame or a checkpoint, and the frames that followed.
//! The frames were decided when they were written, so no rule is checked again; only a frame that
//! cannot follow is an error.

use rustmq_model::batch::BatchHeader;
use rustmq_model::{LeaderEpoch, Offset, ProducerId, Timestamp};

use super::end_marker::{EndMarker, MarkerTrace};
use super::epochs::EpochStart;
use super::frontiers::Replicas;
use super::partition::PartitionLog;

/// Whether offsets may be missing between batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gaps {
    /// Each batch begins where the previous one ended.
    Refused,
    /// A repair has cut damage out of the WAL: a batch may begin higher.
    Repaired,
}

/// Why a frame of the WAL cannot follow the frames before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    #[error("a batch begins at {found}, the log ends at {end}")]
    Misplaced { found: Offset, end: Offset },
    #[error("a batch at {base} has no records")]
    Empty { base: Offset },
    #[error("a trim to {requested} is above the log's end {end}")]
    TrimAboveEnd { requested: Offset, end: Offset },
    #[error("a truncation to {end} is not followed by the state that it left")]
    TruncationAlone { end: Offset },
    #[error("leader epoch {epoch} begins at {start}, the log ends at {end}")]
    MisplacedEpoch { epoch: LeaderEpoch, start: Offset, end: Offset },
}

/// The marker of a replayed control batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReplayedMarker {
    pub marker: EndMarker,
    /// Decided when the marker was appended. It does not depend on the limits of today.
    pub trace: MarkerTrace,
}

impl PartitionLog {
    /// Replays an appended batch, with its marker if it is a control batch that ends a transaction.
    /// Replayed batches are durable; the high watermark follows with [`Self::finish_replay`].
    ///
    /// # Errors
    /// [`ReplayError`] if the batch does not follow the log end, or has no valid offsets.
    pub fn replay_batch(
        &mut self,
        header: &BatchHeader,
        marker: Option<ReplayedMarker>,
        gaps: Gaps,
    ) -> Result<(), ReplayError> {
        let (found, end) = (header.base_offset, self.end());
        if found < end || (found > end && gaps == Gaps::Refused) {
            return Err(ReplayError::Misplaced { found, end });
        }
        let last = found.0.checked_add(i64::from(header.last_offset_delta));
        if header.last_offset_delta < 0 || last.is_none_or(|last| last == i64::MAX) {
            return Err(ReplayError::Empty { base: found });
        }
        let remembered = marker.filter(|marker| marker.trace != MarkerTrace::Unremembered);
        let aborted = self.apply_batch(header, remembered.map(|marker| marker.marker), Timestamp::NONE);
        if marker.is_some_and(|marker| marker.trace == MarkerTrace::Plain) {
            // An older build wrote the marker, and no segment's index has the transaction.
            self.transactions.unindexed.extend(aborted);
        }
        self.frontiers.durable_end = self.end();
        Ok(())
    }

    /// Replays a trim.
    ///
    /// # Errors
    /// [`ReplayError::TrimAboveEnd`] if `log_start` is above the log end, unless `gaps` allows it.
    pub fn replay_trim(&mut self, log_start: Offset, gaps: Gaps) -> Result<(), ReplayError> {
        if log_start > self.end() {
            if gaps == Gaps::Refused {
                return Err(ReplayError::TrimAboveEnd { requested: log_start, end: self.end() });
            }
            self.frontiers.move_end(log_start);
        }
        if log_start > self.decided_start {
            // No trim was ever accepted above the high watermark.
            self.raise_high_watermark(log_start);
            self.apply_trim(log_start);
            self.raise_log_start(log_start);
        }
        Ok(())
    }

    /// Replays the start of a leadership.
    ///
    /// # Errors
    /// [`ReplayError::MisplacedEpoch`] if the epoch does not begin at the log end.
    pub fn replay_epoch_start(&mut self, begun: EpochStart, gaps: Gaps) -> Result<(), ReplayError> {
        let EpochStart { epoch, start } = begun;
        let misplaced = start < self.end() || (start > self.end() && gaps == Gaps::Refused);
        if misplaced {
            return Err(ReplayError::MisplacedEpoch { epoch, start, end: self.end() });
        }
        self.frontiers.move_end(start);
        self.enter_epoch(begun);
        Ok(())
    }

    pub fn replay_expiry(&mut self, decided_at: Offset, ids: &[ProducerId]) {
        self.forget_producers(decided_at, ids);
    }

    /// All frames are replayed, and the WAL's end is synced. `now` is the broker's time.
    pub fn finish_replay(&mut self, replicas: Replicas, now: Timestamp) {
        self.producers.finish_replay(now);
        self.frontiers.durable_end = self.end();
        self.follow_watermark(replicas.first_rule(self.frontiers.high_watermark));
    }
}
