//! The named events of a run, counted, so that a simulation in which nothing happens does not pass.

use std::collections::BTreeMap;

use rustmq_engine_core::replication::{Ignored, Message};

/// A named event. Each one in [`Named::ALL`] must come up in at least 5 % of the runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Named {
    Crash,
    FramesLost,
    DiskReplaced,
    LinkCut,
    Fenced,
    RegisteredAnew,
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
    ReadFailed,
    CutFailed,
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
    pub const ALL: [Self; 38] = [
        Self::Crash,
        Self::FramesLost,
        Self::DiskReplaced,
        Self::LinkCut,
        Self::Fenced,
        Self::RegisteredAnew,
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
        Self::ReadFailed,
        Self::CutFailed,
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
            Self::RegisteredAnew => "living broker registered anew",
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
            Self::ReadFailed => "read that returned nothing",
            Self::CutFailed => "cut that failed",
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

    /// The event for an ignored message.
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

/// Whether the network, or late update, explains why a message was ignored. Any other reason is a
/// fault of the sender.
pub fn is_explained(message: &Message, ignored: Ignored) -> bool {
    match ignored {
        Ignored::WrongRole
        | Ignored::StaleEpoch
        | Ignored::FutureEpoch
        | Ignored::StaleHandshake
        | Ignored::WrongState
        | Ignored::Gap
        | Ignored::BelowAcknowledged
        | Ignored::InSync => true,
        // A broker that has led a later epoch may have heard an older assignment after a start, and
        // so may the leader of that one.
        Ignored::Malformed => {
            let Message::Hello(hello) = message else { return false };
            hello.history.starts.last().is_some_and(|last| last.epoch > hello.conversation.epoch)
        }
        Ignored::WrongSender
        | Ignored::UnknownHandshake
        | Ignored::PreviousDiffers
        | Ignored::BeyondPushed
        | Ignored::StaleAssignment
        | Ignored::WrongCompletion
        | Ignored::ReplicaRemoved => false,
    }
}

/// How often each event came up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Events(BTreeMap<Named, u64>);

impl Events {
    pub fn note(&mut self, named: Named) {
        *self.0.entry(named).or_default() += 1;
    }

    pub fn count(&self, named: Named) -> u64 {
        self.0.get(&named).copied().unwrap_or_default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (Named, u64)> {
        self.0.iter().map(|(named, count)| (*named, *count))
    }
}
