//! How a log loses its end, or all that it holds. Before its bytes are cut, nothing new may come, and nothing that is to go may become committed. The state at the
//! cut is not remembered but read back ([`crate::shard`] says how): five batches a producer do not tell it.
//!
//! ```text
//! begin_cut --(the WAL says that it is cut)--> truncated, reset --(that is durable)--> end_cut
//!      '------------------- the log stays as it was ------------------------------------^
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
    /// Judges a cut back to `to`. Answers whether there is anything to cut: batches, or an epoch
    /// that began without one. A log that differs below the high watermark, which is committed, is
    /// not cut but reset.
    pub fn prepare_truncation(&self, to: Offset) -> Result<bool, RejectedTruncation> {
        let high_watermark = self.frontiers.high_watermark;
        if to < high_watermark {
            return Err(RejectedTruncation { requested: to, high_watermark });
        }
        let has_epoch = self.epochs.starts().last().is_some_and(|last| last.start >= to);
        Ok(to < self.end() || has_epoch)
    }

    /// The log is about to be cut: it takes no appends, and its high watermark stands still.
    pub fn begin_cut(&mut self) {
        self.is_being_cut = true;
    }

    #[must_use]
    pub const fn is_being_cut(&self) -> bool {
        self.is_being_cut
    }

    /// The cut is durable, or is not made. Answers whether that moves a frontier.
    pub fn end_cut(&mut self) -> bool {
        self.is_being_cut = false;
        self.advance_high_watermark()
    }

    /// This state was rebuilt, and `log` is cut back to its end: makes it go on from there. Until then it may be asked for again, since trims go on.
    /// `now` by the broker's clock.
    pub fn continue_cut(&mut self, log: &Self, now: Timestamp) {
        let (end, high_watermark) = (self.end(), log.frontiers.high_watermark);
        assert!(
            (high_watermark..=log.end()).contains(&end),
            "what is kept is a part of the log, and all that is committed"
        );
        self.producers.finish_replay(now);
        (self.leader_epoch, self.is_being_cut) = (log.leader_epoch, log.is_being_cut);
        self.watermark = log.watermark.after_cut(high_watermark);
        self.frontiers = log.frontiers;
        self.frontiers.cut(end);
        self.apply_trim(log.decided_start);
        self.epochs.truncate(end);
        self.transactions.on_high_watermark(high_watermark);
        self.settle_last_stable();
    }

    /// The log is dropped, and starts empty at `at`. No leadership has begun in what is to come; the epoch that was told stays.
    pub fn reset(&mut self, at: Offset) {
        assert!((0..i64::MAX).contains(&at.0), "whoever names the start of a log has checked it");
        let Self { leader_epoch, is_being_cut, .. } = *self;
        let watermark = self.watermark.after_cut(at);
        *self = Self { leader_epoch, watermark, is_being_cut, ..Self::open(self.limits, LeaderEpoch::NONE, at) };
    }
}
