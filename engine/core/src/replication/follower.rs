//! The follower role of a replica.
//!
//! ```text
//!                 Answer: cut            the cut is durable
//!  Handshaking ---------------> Truncating --------------> Following
//!    ^     |                                                ^  |
//!    |     '------------------> Resetting ------------------'  |
//!    |            Answer: reset          the log is new        |
//!    '--- Void, silence, or a failed cut; a new handshake -----'
//! ```
//! Accepts no batch and no high watermark before it follows, and never anything of another epoch,
//! leader or handshake.

use std::ops::Range;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{BrokerId, Instant, LeaderEpoch, Offset};

use super::actions::{ChangeFailure, Ignored};
use super::limits::ReplicationLimits;
use super::log_view::LogView;
use super::message::{Ack, Answer, Conversation, Handshake, Hello, HistoryPage, Message, Push, Verdict};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FollowerState {
    /// The next hello is sent at `hello_at`, with the history page that skips the `newer` newest
    /// entries.
    Handshaking {
        newer: usize,
        hello_at: Instant,
    },
    Truncating,
    Resetting,
    Following,
}

#[derive(Debug)]
pub(super) struct Follower {
    pub leader: BrokerId,
    pub conversation: Conversation,
    pub state: FollowerState,
    limits: ReplicationLimits,
    heard_at: Instant,
    /// The durable end in the last acknowledgement.
    acked_end: Option<Offset>,
    /// The leader's high watermark. It counts only while this replica follows, and only up to the
    /// durable end of its own log.
    leader_high_watermark: Offset,
    /// A cut failed permanently in this epoch, and the log is still the same one.
    cannot_be_cut: bool,
}

/// The step that follows from an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    SayHello,
    Truncate { to: Offset },
    Reset { start: Offset },
    Follow,
}

impl Follower {
    pub(super) fn new(
        now: Instant,
        leader: BrokerId,
        epoch: LeaderEpoch,
        handshake: Handshake,
        limits: ReplicationLimits,
    ) -> Self {
        let conversation = Conversation { epoch, handshake };
        let state = FollowerState::Handshaking { newer: 0, hello_at: now };
        Self {
            leader,
            conversation,
            state,
            limits,
            heard_at: now,
            acked_end: None,
            leader_high_watermark: Offset::ZERO,
            cannot_be_cut: false,
        }
    }

    /// Everything that was exchanged so far is void.
    pub(super) fn begin_handshake(&mut self, now: Instant, handshake: Handshake) {
        let cannot_be_cut = self.cannot_be_cut;
        *self = Self::new(now, self.leader, self.conversation.epoch, handshake, self.limits);
        self.cannot_be_cut = cannot_be_cut;
    }

    /// The log is unchanged. The leader may ask for the same cut again, so the next hello is sent
    /// after a pause.
    pub(super) fn on_cut_failed(&mut self, now: Instant, handshake: Handshake, failure: ChangeFailure) {
        self.begin_handshake(now, handshake);
        self.state = FollowerState::Handshaking { newer: 0, hello_at: now.plus(self.limits.retry_interval) };
        self.cannot_be_cut |= failure == ChangeFailure::Permanent;
    }

    /// The log is a prefix of the leader's now.
    pub(super) fn follow(&mut self, now: Instant) {
        (self.state, self.heard_at, self.cannot_be_cut) = (FollowerState::Following, now, false);
    }

    /// The hello, if one is due.
    pub(super) fn hello(&mut self, now: Instant, log: &LogView<'_>, high_watermark: Offset) -> Option<Message> {
        let FollowerState::Handshaking { newer, hello_at } = &mut self.state else { return None };
        if *hello_at > now {
            return None;
        }
        *hello_at = now.plus(self.limits.retry_interval);
        let history = HistoryPage::of(log, *newer, self.limits.history_page())?;
        let Self { conversation, cannot_be_cut, .. } = *self;
        let (local_start, end) = (log.local_start, log.end);
        Some(Message::Hello(Hello { conversation, local_start, end, high_watermark, history, cannot_be_cut }))
    }

    /// `reset_max` is the highest offset to which a reset may move the log's start. It is `None`
    /// while this replica is in the ISR.
    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        log: &LogView<'_>,
        answer: &Answer,
        high_watermark: Offset,
        reset_max: Option<Offset>,
    ) -> Result<Step, Ignored> {
        let sent = match self.state {
            FollowerState::Handshaking { newer, .. } => newer,
            // The leader repeats its answer, because the acknowledgement has not reached it.
            FollowerState::Following if !matches!(answer.verdict, Verdict::OlderPage { .. }) => {
                self.heard_at = now;
                return Ok(Step::Follow);
            }
            _ => return Err(Ignored::WrongState),
        };
        let step = match answer.verdict {
            Verdict::OlderPage { newer } if self.older_page(log, sent) == Some(newer) => {
                self.state = FollowerState::Handshaking { newer, hello_at: now };
                return Ok(Step::SayHello);
            }
            // The answer to an earlier page.
            Verdict::OlderPage { .. } => return Err(Ignored::WrongState),
            // Whoever sends it, no message makes a member of the ISR drop its log, since the member
            // may be elected, and no message cuts a log below its high watermark.
            Verdict::Reset { .. } if reset_max.is_none() => return Err(Ignored::InSync),
            Verdict::Cut { to } if to < log.local_start.max(high_watermark) || to > log.end => {
                return Err(Ignored::Malformed);
            }
            Verdict::Reset { start } if start.0 < 0 || start.0 == i64::MAX => return Err(Ignored::Malformed),
            // Later leaders would ignore every hello of a log that starts beyond their own ends. An
            // honest leader may know of a newer start than this replica, so it repeats its answer.
            Verdict::Reset { start } if Some(start) > reset_max => return Err(Ignored::WrongState),
            Verdict::Cut { to } if to == log.end && !log.has_epoch_from(to) => {
                self.follow(now);
                Step::Follow
            }
            Verdict::Cut { to } => {
                self.state = FollowerState::Truncating;
                Step::Truncate { to }
            }
            Verdict::Reset { start } => {
                self.state = FollowerState::Resetting;
                Step::Reset { start }
            }
        };
        self.leader_high_watermark = answer.high_watermark;
        Ok(step)
    }

    /// How many newest entries the page after the one that was sent skips.
    fn older_page(&self, log: &LogView<'_>, sent: usize) -> Option<usize> {
        HistoryPage::older(log, sent, self.limits.history_page())
    }

    /// Returns which of the batches to append: those that the log does not have yet.
    pub(super) fn handle_push(
        &mut self,
        now: Instant,
        log: &LogView<'_>,
        push: &Push,
        batches: &[BatchHeader],
    ) -> Result<Range<usize>, Ignored> {
        if self.state != FollowerState::Following {
            return Err(Ignored::WrongState);
        }
        self.heard_at = now;
        self.leader_high_watermark = self.leader_high_watermark.max(push.high_watermark);
        if batches.is_empty() {
            return if push.first == push.end { Ok(0..0) } else { Err(Ignored::Malformed) };
        }
        self.check_batches(push, batches)?;
        if push.first > log.end {
            return Err(Ignored::Gap);
        }
        let is_known = log.epoch_before(push.first).zip(push.previous_epoch);
        if is_known.is_some_and(|(ours, leaders)| ours != leaders) {
            return Err(Ignored::PreviousDiffers);
        }
        let (present, new) = batches.split_at(batches.partition_point(|batch| batch.next_offset() <= log.end));
        // An offset and an epoch identify a batch and all batches before it.
        let known = present.last().and_then(|last| log.epoch_before(last.next_offset()).zip(Some(last.leader_epoch)));
        if known.is_some_and(|(ours, leaders)| ours != leaders) {
            return Err(Ignored::PreviousDiffers);
        }
        match new.first() {
            // The log ends within a batch of the leader's, so it is not a prefix of that log.
            Some(next) if next.base_offset != log.end => Err(Ignored::PreviousDiffers),
            // The log would count the batch to a later epoch than its own, and a later cut would
            // remove it with that epoch.
            Some(next) if log.epochs.last().is_some_and(|last| next.leader_epoch < last.epoch) => {
                Err(Ignored::PreviousDiffers)
            }
            _ => Ok(present.len()..batches.len()),
        }
    }

    /// Checks that the batches follow each other from the first offset to the end, in epochs that
    /// neither fall nor exceed the current one.
    fn check_batches(&self, push: &Push, batches: &[BatchHeader]) -> Result<(), Ignored> {
        let (mut next, mut epoch) = (push.first, push.previous_epoch.unwrap_or(LeaderEpoch(0)).max(LeaderEpoch(0)));
        for batch in batches {
            let last = batch.base_offset.0.checked_add(i64::from(batch.last_offset_delta));
            let has_records = batch.last_offset_delta >= 0 && last.is_some_and(|last| last < i64::MAX);
            if batch.base_offset != next || !has_records || batch.leader_epoch < epoch {
                return Err(Ignored::Malformed);
            }
            (next, epoch) = (batch.next_offset(), batch.leader_epoch);
        }
        if next == push.end && epoch <= self.conversation.epoch { Ok(()) } else { Err(Ignored::Malformed) }
    }

    /// The highest value that the high watermark may have here.
    pub(super) fn watermark(&self, durable_end: Offset) -> Option<Offset> {
        let is_following = self.state == FollowerState::Following;
        is_following.then(|| self.leader_high_watermark.min(durable_end))
    }

    /// Acknowledges the durable end, even if it has not moved: the last message may have been lost.
    pub(super) fn ack(&mut self, durable_end: Offset) -> Option<Message> {
        if self.state != FollowerState::Following {
            return None;
        }
        self.acked_end = Some(durable_end);
        Some(Message::Ack(Ack { conversation: self.conversation, durable_end }))
    }

    /// Acknowledges the durable end if it has moved since the last acknowledgement.
    pub(super) fn ack_if_moved(&mut self, durable_end: Offset) -> Option<Message> {
        if self.acked_end < Some(durable_end) { self.ack(durable_end) } else { None }
    }

    /// Whether the leader has been silent for too long: it may have ended this handshake, or lost
    /// its state of it.
    pub(super) fn is_leader_silent(&self, now: Instant) -> bool {
        self.state == FollowerState::Following && now.since(self.heard_at) >= self.limits.silence_max
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        match self.state {
            FollowerState::Handshaking { hello_at, .. } => Some(hello_at),
            FollowerState::Following => Some(self.heard_at.plus(self.limits.silence_max)),
            FollowerState::Truncating | FollowerState::Resetting => None,
        }
    }
}
