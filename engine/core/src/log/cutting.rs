//! How a log loses its end, or all its records. While a cut is made, the log takes no appends, and
//! its high watermark stands still, so that no record which will be cut becomes committed. The
//! state at the cut is read back, and not remembered (`shard/log_rebuild.rs`): the last five
//! batches of each producer do not determine it.
//!
//! ```text
//! begin_cut --(the WAL holds the cut)--> continue_cut or reset --(the cut is durable)--> end_cut
//!      '------------------- the cut is given up: the log stays as it was -----------------^
//! ```

use rustmq_model::{LeaderEpoch, Offset, Timestamp};

use super::partition::PartitionLog;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {requested} is below the high watermark {high_watermark}")]
pub struct RejectedTruncation {
    pub requested: Offset,
    pub high_watermark: Offset,
}

impl PartitionLog {
    /// Checks a truncation to `to`. Returns whether there is anything to cut: batches, or an epoch
    /// that began without one. Records below the high watermark are committed: a log that differs
    /// there is reset, and not cut.
    ///
    /// # Errors
    /// [`RejectedTruncation`] if `to` is below the high watermark.
    pub fn prepare_truncation(&self, to: Offset) -> Result<bool, RejectedTruncation> {
        let high_watermark = self.frontiers.high_watermark;
        if to < high_watermark {
            return Err(RejectedTruncation { requested: to, high_watermark });
        }
        let has_epoch = self.epochs.starts().last().is_some_and(|last| last.start >= to);
        Ok(to < self.end() || has_epoch)
    }

    /// A cut begins: the log takes no appends, and its high watermark stands still.
    pub fn begin_cut(&mut self) {
        self.is_being_cut = true;
    }

    #[must_use]
    pub const fn is_being_cut(&self) -> bool {
        self.is_being_cut
    }

    /// The cut is durable, or it was given up. Returns whether that moves a frontier.
    pub fn end_cut(&mut self) -> bool {
        self.is_being_cut = false;
        self.advance_high_watermark()
    }

    /// Makes this rebuilt state the continuation of `log`, which is cut back to the end of this
    /// state. The caller repeats this if `log` is trimmed before the cut. `now` is the broker's
    /// time.
    pub fn continue_cut(&mut self, log: &Self, now: Timestamp) {
        let (end, high_watermark) = (self.end(), log.frontiers.high_watermark);
        assert!(
            (high_watermark..=log.end()).contains(&end),
            "the rebuilt state ends within the log, and holds all committed records"
        );
        self.producers.finish_replay(now);
        (self.leader_epoch, self.is_being_cut) = (log.leader_epoch, log.is_being_cut);
        self.watermark = log.watermark.after_cut(high_watermark);
        self.frontiers = log.frontiers;
        self.frontiers.cut(end);
        self.apply_trim(log.decided_start);
        self.epochs.truncate(end);
        self.transactions.on_high_watermark(high_watermark);
        self.update_last_stable();
    }

    /// Drops all records: the log starts empty at `at`, without a leadership. The leader epoch that
    /// this broker was told stays.
    pub fn reset(&mut self, at: Offset) {
        assert!((0..i64::MAX).contains(&at.0), "the caller has checked the new log start");
        let Self { leader_epoch, is_being_cut, .. } = *self;
        let watermark = self.watermark.after_cut(at);
        *self = Self { leader_epoch, watermark, is_being_cut, ..Self::open(self.limits, LeaderEpoch::NONE, at) };
    }
}
