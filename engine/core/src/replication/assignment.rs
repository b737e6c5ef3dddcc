//! The controller's decisions about one partition, and a leader's proposals to it. Of all that
//! other nodes say, only this is taken without a doubt: the controller's state is one, and its
//! changes are in order.

use rustmq_model::{BrokerId, LeaderEpoch, Offset};

/// One run of a broker: the number that the controller gave it at its registration. Rises with each
/// registration in the cluster.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run(pub u64);

/// A broker in one of its runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    pub broker: BrokerId,
    pub run: Run,
}

/// Numbers the controller's decisions about a partition. Rises by one with each change, of whatever
/// kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionEpoch(pub u32);

/// Where a log starts. Neither moves back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    /// Records below it are gone: retention and DeleteRecords.
    pub log_start: Offset,
    /// Records below it are in the object tier, or gone.
    pub tier_end: Offset,
}

impl Starts {
    /// The first offset that a replica's own log needs to hold.
    #[must_use]
    pub fn local(&self) -> Offset {
        self.log_start.max(self.tier_end)
    }
}

/// The partition as the controller has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    /// The run that leads in this epoch, and no later one of the same broker: what that one lost
    /// with a crash may be with its followers.
    pub leader: Option<Member>,
    /// None of them goes within a leader epoch. A replica that went has dropped its log, and what it
    /// said before that would count again once it came back.
    pub replicas: Vec<BrokerId>,
    /// The in-sync replicas (ISR). The leader is one of them.
    pub in_sync: Vec<BrokerId>,
    /// `min.insync.replicas`. What counts is no more than there are replicas.
    pub in_sync_min: usize,
    pub starts: Starts,
}

/// A change of the ISR, of one replica at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InSyncChange {
    /// Names the run in which it caught up: another run may have another disk.
    Join(Member),
    /// Takes effect on the partition epoch even if it was no member, so that it takes back a
    /// [`Self::Join`] that may still be on its way.
    Leave(BrokerId),
}

/// A leader's request to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Refused unless the partition epoch is the named one.
    InSync(InSyncChange),
    /// Never moves back.
    LogStart(Offset),
    /// The range between is in the object tier. Refused unless it begins where replicas' logs do,
    /// at [`Starts::local`].
    TierEnd { from: Offset, to: Offset },
}

/// Refused unless the leader epoch is the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    pub change: Change,
}

/// Why the controller did not do it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The leader epoch is over.
    FencedLeaderEpoch,
    /// The partition has changed since: the assignment that says so is on its way.
    StalePartitionEpoch,
    /// The joiner is fenced, or registered anew.
    Ineligible,
}
