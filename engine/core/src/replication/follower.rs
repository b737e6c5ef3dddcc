//! The follower role of a replica.
//!
//! ```text
//!                 Answer: cut            the cut is durable
//!  Handshaking ---------------> Truncating --------------> Following
//!    ^     |                                                ^  |
//!    |     '------------------> Resetting ------------------'  |
//!    |            Answer: reset          the log is new        |
//!    '------------- Void, or silence; a new handshake ---------'
//! ```
//! Accepts no batch and no high watermark before it follows, and never anything of another epoch,
//! leader or handshake.

use std::ops::Range;

use rustmq_model::batch::BatchHeader;
use rustmq_model::{BrokerId, Instant, LeaderEpoch, Offset};

use super::actions::Ignored;
use super::divergence::Resets;
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
        let (acked_end, leader_high_watermark) = (None, Offset::ZERO);
        Self { leader, conversation, state, limits, heard_at: now, acked_end, leader_high_watermark }
    }

    /// Everything that was exchanged so far is void.
    pub(super) fn begin_handshake(&mut self, now: Instant, handshake: Handshake) {
        *self = Self::new(now, self.leader, self.conversation.epoch, handshake, self.limits);
    }

    /// The log is a prefix of the leader's now.
    pub(super) fn follow(&mut self, now: Instant) {
        (self.state, self.heard_at) = (FollowerState::Following, now);
    }

    /// The hello, if one is due.
    pub(super) fn hello(&mut self, now: Instant, log: &LogView<'_>, high_watermark: Offset) -> Option<Message> {
        let FollowerState::Handshaking { newer, hello_at } = &mut self.state else { return None };
        if *hello_at > now {
            return None;
        }
        *hello_at = now.plus(self.limits.retry_interval);
        let history = HistoryPage::of(log, *newer, self.limits.history_page_max)?;
        let (local_start, end) = (log.local_start, log.end);
        Some(Message::Hello(Hello { conversation: self.conversation, local_start, end, high_watermark, history }))
    }

    pub(super) fn handle_answer(
        &mut self,
        now: Instant,
        log: &LogView<'_>,
        answer: &Answer,
        high_watermark: Offset,
        resets: Resets,
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
            // No message makes a replica drop committed records, whoever sends it: neither records
            // below its high watermark, nor any record while it is in the ISR, from which it may be
            // elected.
            Verdict::Reset { .. } if resets == Resets::Withheld => return Err(Ignored::InSync),
            Verdict::Cut { to } if to < log.local_start.max(high_watermark) || to > log.end => {
                return Err(Ignored::Malformed);
            }
            Verdict::Reset { start } if start.0 < 0 || start.0 == i64::MAX => return Err(Ignored::Malformed),
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
        HistoryPage::older(log, sent, self.limits.history_page_max)
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
