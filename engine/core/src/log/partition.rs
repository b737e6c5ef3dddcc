//! [`PartitionLog`]: the state of one partition's log, and what syncs, trims and new leaderships change in it. Appends are
//! in [`super::append`], cuts in [`super::cutting`], recovery in [`super::replay`].
//!
//! How far the log has come is said by its [`Frontiers`], and what holds between them there. The end and the producers run ahead of the disk, and so do
//! a trim and a leadership until their frames are synced; readers see no more than what lies below the high watermark.

use std::ops::Range;
use std::time::Duration;

use rustmq_model::{LeaderEpoch, Offset, ProducerId, Timestamp};

use super::aborted_index::AbortedTransaction;
use super::epochs::{EpochEnd, EpochHistory, EpochStart, end_offset_for};
use super::frontiers::{Frontiers, WatermarkRule};
use super::limits::LogLimits;
use super::producers::Producers;
use super::time_index::TimeIndex;
use super::transactions::Transactions;

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("leader epoch {given} is below {current}, in which the partition is served")]
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

/// One partition's log, without its bytes. The same calls in the same order give the same state, and so do [`Self::restore`] and the
/// replay of what was written since.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionLog {
    pub(super) limits: LogLimits,
    pub(super) frontiers: Frontiers,
    pub(super) watermark: WatermarkRule,
    /// The log is about to be cut, or was, and that is not durable.
    pub(super) is_being_cut: bool,
    /// Where the log is to start once the newest trim is synced: ahead of the frontier until then.
    pub(super) decided_start: Offset,
    /// The epoch in which this broker was told to serve the partition, as its leader or as a follower. It only rises, and is on no disk: a restart
    /// begins with what the history says.
    pub(super) leader_epoch: LeaderEpoch,
    /// What leaders began, and whose batches these are. It never knows a later epoch than `leader_epoch`.
    pub(super) epochs: EpochHistory,
    pub(super) producers: Producers,
    pub(super) transactions: Transactions,
    pub(super) times: TimeIndex,
}

impl PartitionLog {
    /// An empty log that starts at `log_start`: what an open frame says. It is led in `epoch`; with [`LeaderEpoch::NONE`] nobody has begun to.
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

    /// The log start as decided: ahead of what [`Self::frontiers`] show until its frame is synced.
    #[must_use]
    pub const fn decided_log_start(&self) -> Offset {
        self.decided_start
    }

    /// The epoch in which this broker serves the partition.
    #[must_use]
    pub const fn leader_epoch(&self) -> LeaderEpoch {
        self.leader_epoch
    }

    /// Leadership history, oldest first. It may be empty: of a log that was reset, or cut back to its beginning.
    #[must_use]
    pub fn epochs(&self) -> &[EpochStart] {
        self.epochs.starts()
    }

    /// Where `epoch` ended in what is durable (KIP-101); `None` for an epoch that the history does not reach.
    #[must_use]
    pub fn end_offset_for(&self, epoch: LeaderEpoch) -> Option<EpochEnd> {
        end_offset_for(self.epochs(), epoch, self.frontiers.durable_end)
    }

    /// The idempotent producers that are remembered (`DescribeProducers`).
    #[must_use]
    pub const fn producers(&self) -> &Producers {
        &self.producers
    }

    /// Aborted transactions with records in `from..until`, for a read_committed fetch of that range.
    pub fn aborted_between(&self, from: Offset, until: Offset) -> impl Iterator<Item = &AbortedTransaction> {
        self.transactions.aborted.overlapping(from..until)
    }

    /// Aborted transactions whose markers stand at these offsets.
    #[must_use]
    pub fn aborted_in(&self, offsets: Range<Offset>) -> &[AbortedTransaction] {
        self.transactions.aborted.ended_in(offsets)
    }

    /// From where batches must be searched for a timestamp, those included that are not durable.
    #[must_use]
    pub const fn times(&self) -> &TimeIndex {
        &self.times
    }

    /// Everything below `end` is synced here. Answers whether that moves a frontier.
    pub fn on_durable(&mut self, end: Offset) -> bool {
        // A truncation may have taken what was being synced.
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

    /// What the high watermark follows from here on. Answers whether that moves it.
    pub fn follow_watermark(&mut self, rule: WatermarkRule) -> bool {
        self.watermark = rule;
        self.advance_high_watermark()
    }

    pub(super) fn advance_high_watermark(&mut self) -> bool {
        !self.is_being_cut && self.raise_high_watermark(self.watermark.high_watermark(&self.frontiers))
    }

    /// It never falls: what was committed stays so.
    pub(super) fn raise_high_watermark(&mut self, to: Offset) -> bool {
        let has_moved = to > self.frontiers.high_watermark;
        if has_moved {
            self.frontiers.high_watermark = to;
            self.transactions.on_high_watermark(to);
            self.settle_last_stable();
        }
        has_moved
    }

    /// The last stable offset follows from the transactions and from what limits it: after a change of either.
    pub(super) fn settle_last_stable(&mut self) {
        self.frontiers.last_stable = self.last_stable();
    }

    fn last_stable(&self) -> Offset {
        let high_watermark = self.frontiers.high_watermark;
        self.transactions.first_unstable().unwrap_or(high_watermark).max(self.frontiers.log_start).min(high_watermark)
    }

    /// Moves the log start up (DeleteRecords, retention). Answers the start to write a trim frame with, or `None` if it is there
    /// already; readers see it after [`Self::on_trim_durable`].
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

    /// The trim frame for `log_start` is synced. Answers whether that moves a frontier.
    pub fn on_trim_durable(&mut self, log_start: Offset) -> bool {
        let log_start = log_start.min(self.decided_start);
        let has_moved = log_start > self.frontiers.log_start;
        if has_moved {
            self.raise_log_start(log_start);
        }
        has_moved
    }

    /// What is trimmed is nobody's any more, though its transaction may be open.
    pub(super) fn raise_log_start(&mut self, to: Offset) {
        self.frontiers.raise_log_start(to);
        self.settle_last_stable();
    }

    pub(super) fn apply_trim(&mut self, log_start: Offset) {
        self.decided_start = log_start;
        self.epochs.trim(log_start);
        self.transactions.trim(log_start);
        self.times.trim(log_start);
    }

    /// Judges a leadership of this broker. Answers the start to write an epoch-start frame with, and to tell [`Self::lead`]; `None` if it has begun already.
    pub fn prepare_lead(&self, epoch: LeaderEpoch) -> Result<Option<EpochStart>, RejectedEpoch> {
        self.check_epoch(epoch)?;
        let has_begun = self.epochs.latest() == Some(epoch);
        Ok((!has_begun).then(|| EpochStart { epoch, start: self.end() }))
    }

    /// A leadership of this broker begins, as [`Self::prepare_lead`] decided just before.
    pub fn lead(&mut self, begun: EpochStart) {
        assert_eq!(begun.start, self.end(), "a leadership begins where the log ends");
        self.enter_epoch(begun);
    }

    /// Another broker leads in `epoch`, and this one follows. The history learns of it from that one's batches alone: an entry for what
    /// was only heard of would claim an epoch's start that its leader never made.
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

    /// The producers to forget, by the leader's clock, at most `count_max`. Changes nothing: an expiry frame is written, then [`Self::forget_producers`] called.
    #[must_use]
    pub fn expire_producers(&self, now: Timestamp, expiry: Duration, count_max: usize) -> Vec<ProducerId> {
        self.producers.expired(now, expiry, count_max)
    }

    /// The log ended at `decided_at` when that was decided: who has written from there on is not forgotten.
    pub fn forget_producers(&mut self, decided_at: Offset, ids: &[ProducerId]) {
        for id in ids {
            if let Some(first) = self.producers.forget(*id, decided_at) {
                self.transactions.abandon(first);
            }
        }
        self.settle_last_stable();
    }

    /// Panics if the log contradicts itself, which no sequence of calls can bring about.
    pub fn check_invariants(&self) {
        if let Err(broken) = self.soundness() {
            panic!("{broken}: {self:?}");
        }
    }

    /// What holds between the parts; for our own state an invariant, for a checkpoint from disk a check.
    pub(super) fn soundness(&self) -> Result<(), &'static str> {
        let open = |(id, producer): (ProducerId, &super::producers::Producer)| {
            producer.open_transaction.is_none_or(|first| self.transactions.open.get(&first) == Some(&id))
        };
        let open_count = self.producers.iter().filter(|(_, producer)| producer.open_transaction.is_some()).count();
        let ends = self.transactions.ended.iter().map(|ended| ended.last_offset);
        let aborts = self.transactions.aborted.iter().map(|aborted| aborted.last_offset);
        let written = self.producers.iter().map(|(_, producer)| producer.last_offset);
        let mut known = ends.chain(aborts).chain(written);
        self.frontiers.soundness()?;
        let (start, end) = (self.decided_start, self.end());
        let rules = [
            (self.frontiers.log_start <= start, "the visible log start is above the decided one"),
            (start <= self.frontiers.high_watermark, "the log is to start above the high watermark"),
            (
                self.frontiers.last_stable == self.last_stable(),
                "the last stable offset is not that of the transactions",
            ),
            (self.epochs.rises(), "the leader epochs are out of order"),
            (self.epochs().last().is_none_or(|last| last.start <= end), "an epoch starts above the end"),
            (self.epochs.latest() <= Some(self.leader_epoch), "the history knows an epoch that nobody was told of"),
            (self.producers.iter().all(open), "a producer's open transaction is not in the list"),
            (self.transactions.open.len() == open_count, "an open transaction has no producer"),
            (self.transactions.is_ordered(), "the transactions are out of order"),
            (known.all(|last| last < end), "a batch or marker is remembered from above the end"),
            (self.times.rises(), "the time index is out of order"),
            (self.times.entries.last().is_none_or(|last| last.offset < end), "the time index passes the end"),
            (self.transactions.open.keys().all(|first| *first < end), "a transaction begins above the end"),
            (
                self.producers.iter().all(|(_, producer)| producer.batches.rise()),
                "a producer's batches are out of order",
            ),
            (
                self.producers.iter().all(|(_, producer)| producer.last_offset >= producer.batches.last_offset()),
                "a producer has a batch beyond what it wrote last",
            ),
        ];
        rules.iter().find(|(holds, _)| !holds).map_or(Ok(()), |(_, broken)| Err(broken))
    }
}
