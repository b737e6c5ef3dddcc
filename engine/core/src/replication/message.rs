//! The messages between the replicas of a partition. They may be lost, late, duplicated and
//! reordered: each names its leader epoch and its handshake, and is void in any other.
//!
//! ```text
//!  follower                                leader
//!     | -- Hello: epoch history, newest page --> |
//!     | <-- Answer: an older page is needed ---- |
//!     | -- Hello: the next page ---------------> |  finds where the logs diverge
//!     | <-- Answer: cut, or reset -------------- |
//!   cuts its log, and syncs that                 |
//!     | -- Ack: durable end -------------------> |  the handshake is complete
//!     | <-- Push: batches, high watermark ------ |
//!   appends, syncs                               |
//!     | -- Ack: durable end -------------------> |  may move the high watermark
//!     | <-- Void: say hello again -------------- |  at any time
//! ```

use rustmq_model::{LeaderEpoch, Offset};

use super::assignment::BrokerEpoch;
use crate::log::EpochStart;

/// Numbers the handshakes of one follower. A later one voids all messages of earlier ones,
/// including those of earlier processes of the follower.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Handshake {
    /// The follower's broker epoch.
    pub broker_epoch: BrokerEpoch,
    pub count: u64,
}

/// The leader epoch and the handshake that a message belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conversation {
    pub epoch: LeaderEpoch,
    pub handshake: Handshake,
}

/// A part of a follower's epoch history, at most [`super::limits::HISTORY_PAGE_MAX`] entries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryPage {
    /// Oldest first.
    pub starts: Vec<EpochStart>,
    /// Where the newest epoch of this page ends in the follower's log.
    pub end: Offset,
    /// The number of entries that are newer than those of this page.
    pub newer: usize,
    pub has_older: bool,
}

/// A follower in a new epoch or handshake asks where its log diverges from the leader's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub conversation: Conversation,
    pub local_start: Offset,
    pub end: Offset,
    pub high_watermark: Offset,
    pub history: HistoryPage,
    /// A cut of this log failed, and would fail again, because the log's state at the cut cannot be
    /// rebuilt.
    pub cannot_be_cut: bool,
}

/// The leader's instruction about the follower's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// No epoch of the page is the leader's: it needs the page with this many newer entries.
    OlderPage { newer: usize },
    /// The logs agree up to `to`, and the follower cuts the rest.
    Cut { to: Offset },
    /// The logs have no common prefix that could be kept: the follower starts anew at the leader's
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

/// Precedes whole batches that follow each other in the leader's log; without batches it is a
/// heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Push {
    pub conversation: Conversation,
    /// Where the batches begin. In a heartbeat: the end of the pushed batches.
    pub first: Offset,
    /// One past the last.
    pub end: Offset,
    /// The epoch of the record before `first` in the leader's log, if the leader still knows it.
    pub previous_epoch: Option<LeaderEpoch>,
    pub high_watermark: Offset,
}

/// An acknowledgement, which is cumulative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    pub conversation: Conversation,
    /// The follower has synced everything below, and it is the leader's log.
    pub durable_end: Offset,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    Hello(Hello),
    Answer(Answer),
    Push(Push),
    Ack(Ack),
    /// The handshake is void: the follower begins the next one.
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
