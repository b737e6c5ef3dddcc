//! The named events of a run, counted, so that a simulation in which nothing happens does not pass.

use std::collections::BTreeMap;

use rustmq_engine_core::replication::{Ignored, Message};

/// Each of them is to come up in one run of twenty at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    Crash,
    FramesLost,
    DiskReplaced,
    LinkCut,
    Fenced,
    Election,
    LeaderReturned,
    LeaderMoved,
    Offline,
    FencedLeader,
    LeaseExpired,
    InSyncShrink,
    InSyncExpand,
    JoinRefused,
    TooFewInSync,
    TooFewAfterAppend,
    Truncation,
    Reset,
    ResetResumed,
    OlderPage,
    HandshakeVoid,
    StaleAck,
    LateHello,
    LateAck,
    LateAnswer,
    LatePush,
    Gap,
    NotAvailable,
    Trim,
    TierMoved,
    TierRead,
    Duplicate,
    Commit,
    Abort,
    AbortedFiltered,
}

impl Named {
    pub const ALL: [Self; 35] = [
        Self::Crash,
        Self::FramesLost,
        Self::DiskReplaced,
        Self::LinkCut,
        Self::Fenced,
        Self::Election,
        Self::LeaderReturned,
        Self::LeaderMoved,
        Self::Offline,
        Self::FencedLeader,
        Self::LeaseExpired,
        Self::InSyncShrink,
        Self::InSyncExpand,
        Self::JoinRefused,
        Self::TooFewInSync,
        Self::TooFewAfterAppend,
        Self::Truncation,
        Self::Reset,
        Self::ResetResumed,
        Self::OlderPage,
        Self::HandshakeVoid,
        Self::StaleAck,
        Self::LateHello,
        Self::LateAck,
        Self::LateAnswer,
        Self::LatePush,
        Self::Gap,
        Self::NotAvailable,
        Self::Trim,
        Self::TierMoved,
        Self::TierRead,
        Self::Duplicate,
        Self::Commit,
        Self::Abort,
        Self::AbortedFiltered,
    ];

    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::FramesLost => "crash that loses unsynced frames",
            Self::DiskReplaced => "disk replaced",
            Self::LinkCut => "link cut",
            Self::Fenced => "broker fenced",
            Self::Election => "another leader elected",
            Self::LeaderReturned => "returned leader elected again",
            Self::LeaderMoved => "leadership moved by the controller",
            Self::Offline => "no live replica in sync, nobody elected",
            Self::FencedLeader => "proposal of a fenced leader",
            Self::LeaseExpired => "append refused by a leader without a lease",
            Self::InSyncShrink => "ISR shrink",
            Self::InSyncExpand => "ISR expand",
            Self::JoinRefused => "join refused",
            Self::TooFewInSync => "append refused, too few in sync",
            Self::TooFewAfterAppend => "too few in sync after the append",
            Self::Truncation => "truncation",
            Self::Reset => "reset",
            Self::ResetResumed => "crash in a reset",
            Self::OlderPage => "older page of a history",
            Self::HandshakeVoid => "handshake ended by the leader",
            Self::StaleAck => "ack of an older epoch dropped",
            Self::LateHello => "late hello dropped",
            Self::LateAck => "late ack dropped",
            Self::LateAnswer => "late answer dropped",
            Self::LatePush => "late push dropped",
            Self::Gap => "push after a gap dropped",
            Self::NotAvailable => "latest offset not available",
            Self::Trim => "trim",
            Self::TierMoved => "tier end moved",
            Self::TierRead => "read from the tier",
            Self::Duplicate => "duplicate",
            Self::Commit => "transaction committed",
            Self::Abort => "transaction aborted",
            Self::AbortedFiltered => "aborted batch filtered",
        }
    }

    /// The event that stands for an ignored message.
    pub fn of_ignored(message: &Message, ignored: Ignored) -> Option<Self> {
        match (message, ignored) {
            (Message::Ack(_), Ignored::StaleEpoch) => Some(Self::StaleAck),
            (Message::Hello(_), Ignored::StaleHandshake) => Some(Self::LateHello),
            (Message::Ack(_), Ignored::StaleHandshake | Ignored::BelowAcknowledged) => Some(Self::LateAck),
            (Message::Answer(_), Ignored::StaleHandshake | Ignored::WrongState) => Some(Self::LateAnswer),
            (Message::Push(_), Ignored::StaleHandshake) => Some(Self::LatePush),
            (Message::Push(_), Ignored::Gap) => Some(Self::Gap),
            _ => None,
        }
    }
}

/// How often each came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events(BTreeMap<Named, u64>);

impl Events {
    pub fn note(&mut self, named: Named) {
        *self.0.entry(named).or_default() += 1;
    }

    pub fn iter(&self) -> impl Iterator<Item = (Named, u64)> {
        self.0.iter().map(|(named, count)| (*named, *count))
    }
}
