//! [`PartitionLog`]: the state of one partition's log, and the changes that syncs, trims and new
//! leaderships make in it. Its methods lie in five files, one for each thing that happens to a log:
//! appends are in [`super::append`], cuts in [`super::cutting`], recovery in [`super::replay`], and
//! checkpoints in [`super::checkpoint`]. They change the same fields together, so that a type for
//! each would only hand the others around.
//!
//! Its [`Frontiers`] say how far the log has come. The log end and the producers run ahead of the
//! disk; so do a trim and a leadership until their frames are synced. Readers see only records
//! below the high watermark.

use std::time::Duration;

use rustmq_model::{LeaderEpoch, Offset, ProducerId, Timestamp};

use super::aborted_index::AbortedIndex;
use super::epochs::{EpochHistory, EpochStart};
use super::frontiers::{Frontiers, WatermarkRule};
use super::limits::LogLimits;
use super::producers::Producers;
use super::time_index::TimeIndex;
use super::transactions::Transactions;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leader epoch {given} is below the current epoch {current}")]
pub struct RejectedEpoch {
    pub given: LeaderEpoch,
    pub current: LeaderEpoch,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("offset {requested} is above the high watermark {high_watermark}")]
pub struct RejectedTrim {
    pub requested: Offset,
    pub high_watermark: Offset,
}

/// One partition's log, without its bytes. The same calls in the same order give the same state,
/// and so do [`Self::restore`] and the replay of the frames written since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLog {
    pub(super) limits: LogLimits,
    pub(super) frontiers: Frontiers,
    pub(super) watermark: WatermarkRule,
    /// A cut is being made, and is not durable yet.
    pub(super) is_being_cut: bool,
    /// The log start of the newest trim. It runs ahead of the frontier until that trim is synced.
    pub(super) decided_start: Offset,
    /// The epoch in which this broker was told to lead or to follow. It only rises. It is not on
    /// disk: after a restart it is the latest epoch of the history.
    pub(super) leader_epoch: LeaderEpoch,
    /// The epochs that leaders began in this log. None is later than `leader_epoch`.
    pub(super) epochs: EpochHistory,
    pub(super) producers: Producers,
    pub(super) transactions: Transactions,
    pub(super) times: TimeIndex,
}

impl PartitionLog {
    /// An empty log that starts at `log_start`, as an open frame describes it. It is led in
    /// `epoch`; [`LeaderEpoch::NONE`] if no leadership has begun.
    #[must_use]
    pub fn open(limits: LogLimits, epoch: LeaderEpoch, log_start: Offset) -> Self {
        let mut epochs = EpochHistory::default();
        epochs.begin(epoch, log_start);
        Self {
            limits,
            frontiers: Frontiers::at(log_start),
            watermark: WatermarkRule::Sole,
            is_being_cut: false,
            decided_start: log_start,
            leader_epoch: epoch,
            epochs,
            producers: Producers::default(),
            transactions: Transactions::default(),
            times: TimeIndex::default(),
        }
    }

    #[must_use]
    pub const fn limits(&self) -> LogLimits {
        self.limits
    }

    #[must_use]
    pub const fn frontiers(&self) -> &Frontiers {
        &self.frontiers
    }

    /// One past the last record appended, synced or not.
    #[must_use]
    pub const fn end(&self) -> Offset {
        self.frontiers.log_end
    }

    /// The log start as decided. It runs ahead of [`Self::frontiers`] until the trim's frame is
    /// synced.
    #[must_use]
    pub const fn decided_log_start(&self) -> Offset {
        self.decided_start
    }

    /// The epoch in which this broker leads or follows.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// The leader epochs, oldest first. Empty after a reset, or a cut back to the log's beginning.
    #[must_use]
    pub fn epochs(&self) -> &[EpochStart] {
        self.epochs.starts()
    }

    /// The idempotent producers that the log remembers (`DescribeProducers`).
    #[must_use]
    pub const fn producers(&self) -> &Producers {
        &self.producers
    }

    /// The aborted transactions that no segment's index has, in the order of their ends: a build
    /// that kept them in checkpoints wrote their markers.
    #[must_use]
    pub const fn unindexed_aborted(&self) -> &AbortedIndex {
        &self.transactions.unindexed
    }

    /// The time index over all batches, including those that are not durable yet.
    #[must_use]
    pub const fn times(&self) -> &TimeIndex {
        &self.times
    }

    /// Everything below `end` is synced here. Returns whether that moves a frontier.
    pub fn on_durable(&mut self, end: Offset) -> bool {
        // A truncation may have cut records while they were being synced.
        let end = end.min(self.end());
        let has_moved = end > self.frontiers.durable_end;
        if has_moved {
            self.frontiers.durable_end = end;
            self.advance_high_watermark();
        }
        has_moved
    }

    #[must_use]
    pub const fn watermark_rule(&self) -> WatermarkRule {
        self.watermark
    }

    /// Sets the rule of the high watermark. Returns whether that moves it.
    pub fn follow_watermark(&mut self, rule: WatermarkRule) -> bool {
        self.watermark = rule;
        self.advance_high_watermark()
    }

    pub(super) fn advance_high_watermark(&mut self) -> bool {
        !self.is_being_cut && self.raise_high_watermark(self.watermark.high_watermark(&self.frontiers))
    }

    /// The high watermark never falls: committed records stay committed.
    pub(super) fn raise_high_watermark(&mut self, to: Offset) -> bool {
        let has_moved = to > self.frontiers.high_watermark;
        if has_moved {
            self.frontiers.high_watermark = to;
            self.transactions.on_high_watermark(to);
            self.update_last_stable();
        }
        has_moved
    }

    /// Recomputes the last stable offset. Needed after each change of the transactions, the log
    /// start or the high watermark.
    pub(super) fn update_last_stable(&mut self) {
        self.frontiers.last_stable = self.last_stable();
    }

    fn last_stable(&self) -> Offset {
        let high_watermark = self.frontiers.high_watermark;
        self.transactions.first_unstable().unwrap_or(high_watermark).max(self.frontiers.log_start).min(high_watermark)
    }

    /// Raises the log start (DeleteRecords, retention). Returns the start for the trim frame, or
    /// `None` if the log starts there already. Readers see it after [`Self::on_trim_durable`].
    ///
    /// # Errors
    /// [`RejectedTrim`] if `requested` is above the high watermark.
    pub fn trim(&mut self, requested: Offset) -> Result<Option<Offset>, RejectedTrim> {
        let high_watermark = self.frontiers.high_watermark;
        if requested > high_watermark {
            return Err(RejectedTrim { requested, high_watermark });
        }
        if requested <= self.decided_start {
            return Ok(None);
        }
        self.apply_trim(requested);
        Ok(Some(requested))
    }

    /// The trim frame for `log_start` is synced. Returns whether that moves a frontier.
    pub fn on_trim_durable(&mut self, log_start: Offset) -> bool {
        let log_start = log_start.min(self.decided_start);
        let has_moved = log_start > self.frontiers.log_start;
        if has_moved {
            self.raise_log_start(log_start);
        }
        has_moved
    }

    /// Trimmed records no longer hold back the last stable offset, even if their transaction is
    /// open. Unindexed aborted transactions are forgotten only here: until the trim is durable,
    /// readers may begin below it.
    pub(super) fn raise_log_start(&mut self, to: Offset) {
        self.frontiers.raise_log_start(to);
        self.transactions.trim(to);
        self.update_last_stable();
    }

    pub(super) fn apply_trim(&mut self, log_start: Offset) {
        self.decided_start = log_start;
        self.epochs.trim(log_start);
        self.times.trim(log_start);
    }

    /// Checks a new leadership of this broker. Returns the epoch's start, for the epoch-start frame
    /// and for [`Self::lead`]; `None` if the epoch has begun already.
    ///
    /// # Errors
    /// [`RejectedEpoch`] if `epoch` is below the current one.
    pub fn prepare_lead(&self, epoch: LeaderEpoch) -> Result<Option<EpochStart>, RejectedEpoch> {
        self.check_epoch(epoch)?;
        let has_begun = self.epochs.latest() == Some(epoch);
        Ok((!has_begun).then(|| EpochStart { epoch, start: self.end() }))
    }

    /// Begins the leadership that [`Self::prepare_lead`] just returned.
    pub fn lead(&mut self, begun: EpochStart) {
        assert_eq!(begun.start, self.end(), "a leadership begins where the log ends");
        self.enter_epoch(begun);
    }

    /// Another broker leads in `epoch`, and this one follows. The epoch enters the history only
    /// with a batch of that leader: an earlier entry would claim a start that the leader never
    /// made.
    ///
    /// # Errors
    /// [`RejectedEpoch`] if `epoch` is below the current one.
    pub fn follow(&mut self, epoch: LeaderEpoch) -> Result<(), RejectedEpoch> {
        self.check_epoch(epoch)?;
        self.leader_epoch = epoch;
        Ok(())
    }

    fn check_epoch(&self, given: LeaderEpoch) -> Result<(), RejectedEpoch> {
        let current = self.leader_epoch;
        if given < current { Err(RejectedEpoch { given, current }) } else { Ok(()) }
    }

    pub(super) fn enter_epoch(&mut self, EpochStart { epoch, start }: EpochStart) {
        self.epochs.begin(epoch, start);
        self.leader_epoch = self.leader_epoch.max(epoch);
    }

    /// The producers to forget by the leader's clock, at most `count_max`. Changes nothing: the
    /// caller writes an expiry frame, then calls [`Self::forget_producers`].
    #[must_use]
    pub fn expire_producers(&self, now: Timestamp, expiry: Duration, count_max: usize) -> Vec<ProducerId> {
        self.producers.expired(now, expiry, count_max)
    }

    /// Forgets producers. The log ended at `decided_at` when that was decided: a producer that has
    /// written at or above it stays.
    pub fn forget_producers(&mut self, decided_at: Offset, ids: &[ProducerId]) {
        for id in ids {
            if let Some(first) = self.producers.forget(*id, decided_at) {
                self.transactions.abandon(first);
            }
        }
        self.update_last_stable();
    }

    /// Panics if the log contradicts itself, which no sequence of calls can cause.
    pub fn check_invariants(&self) {
        if let Err(broken) = self.soundness() {
            panic!("{broken}: {self:?}");
        }
    }

    /// The relations between the parts of the state: invariants of a live log, checks of a
    /// checkpoint from disk.
    pub(super) fn soundness(&self) -> Result<(), &'static str> {
        let open = |(id, producer): (ProducerId, &super::producers::Producer)| {
            producer.open_transaction.is_none_or(|first| self.transactions.open.get(&first) == Some(&id))
        };
        let open_count = self.producers.iter().filter(|(_, producer)| producer.open_transaction.is_some()).count();
        let ends = self.transactions.ended.iter().map(|ended| ended.last_offset);
        let aborts = self.transactions.unindexed.iter().map(|aborted| aborted.last_offset);
        let written = self.producers.iter().map(|(_, producer)| producer.last_offset);
        let mut known = ends.chain(aborts).chain(written);
        self.frontiers.soundness()?;
        let (start, end) = (self.decided_start, self.end());
        let rules = [
            (self.frontiers.log_start <= start, "the visible log start is above the decided one"),
            (start <= self.frontiers.high_watermark, "the decided log start is above the high watermark"),
            (
                self.frontiers.last_stable == self.last_stable(),
                "the last stable offset does not follow from the transactions",
            ),
            (self.epochs.is_ordered(), "the leader epochs are out of order"),
            (self.epochs().last().is_none_or(|last| last.start <= end), "an epoch starts above the end"),
            (self.epochs.latest() <= Some(self.leader_epoch), "the history has an epoch above the current one"),
            (self.producers.iter().all(open), "a producer's open transaction is not in the list"),
            (self.transactions.open.len() == open_count, "an open transaction has no producer"),
            (self.transactions.is_ordered(), "the transactions are out of order"),
            (known.all(|last| last < end), "a remembered batch or marker is above the end"),
            (self.times.is_ordered(), "the time index is out of order"),
            (self.times.entries.last().is_none_or(|last| last.offset < end), "the time index reaches above the end"),
            (self.transactions.open.keys().all(|first| *first < end), "a transaction begins above the end"),
            (
                self.producers.iter().all(|(_, producer)| producer.batches.is_ordered()),
                "a producer's batches are out of order",
            ),
            (
                self.producers.iter().all(|(_, producer)| producer.last_offset >= producer.batches.last_offset()),
                "a producer's last offset is below its last batch",
            ),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, broken)| Err(broken))
    }
}
