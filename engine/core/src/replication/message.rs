//! The messages between the replicas of a partition. They may be lost, late, doubled and out of
//! order: each says for which leader epoch and which handshake it is, and means nothing to others.
//!
//! ```text
//!  follower                                leader
//!     | -- Hello: epoch history, newest page --> |
//!     | <-- Answer: an older page is needed ---- |
//!     | -- Hello: the next page ---------------> |  finds where the logs part
//!     | <-- Answer: cut, or reset -------------- |
//!   cuts its log, and syncs that                 |
//!     | -- Ack: durable end -------------------> |  the handshake is complete
//!     | <-- Push: batches, high watermark ------ |
//!   appends, syncs                               |
//!     | -- Ack: durable end -------------------> |  may move the high watermark
//!     | <-- Void: say hello again -------------- |  at any time
//! ```

use rustmq_model::{LeaderEpoch, Offset};

use super::assignment::Run;
use crate::log::EpochStart;

/// Numbers the handshakes of one follower. A later one makes all that was said in earlier ones
/// void, in earlier runs of the follower too.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handshake {
    /// The follower's.
    pub run: Run,
    pub count: u64,
}

/// For which conversation a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    pub epoch: LeaderEpoch,
    pub handshake: Handshake,
}

/// A part of a follower's epoch history, of [`super::limits::HISTORY_PAGE_MAX`] entries at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Oldest first.
    pub starts: Vec<EpochStart>,
    /// Where the newest epoch of this page ends in the follower's log.
    pub end: Offset,
    /// Entries that are newer than those of this page.
    pub newer: usize,
    pub has_older: bool,
}

/// A follower has heard of an epoch, and asks where its log parts from the leader's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub conversation: Conversation,
    pub local_start: Offset,
    pub end: Offset,
    pub high_watermark: Offset,
    pub history: HistoryPage,
    /// A cut of this log failed, and would fail again: its state there cannot be rebuilt.
    pub cannot_be_cut: bool,
}

/// The leader's instruction about the follower's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No epoch of the page is the leader's: it needs the page that has this many newer entries.
    OlderPage { newer: usize },
    /// The logs agree up to here, and the rest goes.
    Cut { to: Offset },
    /// They have nothing in common that could be kept: the follower starts anew at the leader's
    /// local start.
    Reset { start: Offset },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    pub conversation: Conversation,
    pub verdict: Verdict,
    /// Counts for the follower only once its log is cut.
    pub high_watermark: Offset,
}

/// Goes ahead of whole batches that follow each other in the leader's log, or of none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Push {
    pub conversation: Conversation,
    /// Where the batches begin. Without batches: up to where the leader has pushed.
    pub first: Offset,
    /// One past the last.
    pub end: Offset,
    /// The epoch of the record before `first` in the leader's log, if it still knows it.
    pub previous_epoch: Option<LeaderEpoch>,
    pub high_watermark: Offset,
}

/// Cumulative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub conversation: Conversation,
    /// Everything below is synced at the follower, and is the leader's.
    pub durable_end: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Hello(Hello),
    Answer(Answer),
    Push(Push),
    Ack(Ack),
    /// The handshake is void: the follower says hello with the next number.
    Void(Conversation),
}

impl Message {
    #[must_use]
    pub const fn conversation(&self) -> Conversation {
        match self {
            Self::Hello(hello) => hello.conversation,
            Self::Answer(answer) => answer.conversation,
            Self::Push(push) => push.conversation,
            Self::Ack(ack) => ack.conversation,
            Self::Void(conversation) => *conversation,
        }
    }
}
