//! The controller's decisions about one partition, and a leader's proposals to it. No other input
//! from another node is trusted without a check: the controller has one state, and its changes come
//! in order.

use rustmq_model::{BrokerId, LeaderEpoch, Offset};

/// The broker epoch: the number of a broker's registration, which the controller raises with each
/// registration in the cluster (KIP-380). It tells the processes of one broker apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BrokerEpoch(pub u64);

/// A broker as it registered: by its id and its broker epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    pub broker: BrokerId,
    pub broker_epoch: BrokerEpoch,
}

/// Numbers the controller's decisions about a partition. Rises by one with each change of any kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct PartitionEpoch(pub u32);

/// Where a log starts. Neither offset moves back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Starts {
    /// Records below it are deleted: by retention or DeleteRecords.
    pub log_start: Offset,
    /// Records below it are in the object tier, or deleted.
    pub tier_end: Offset,
}

impl Starts {
    /// The first offset that a replica's own log must hold.
    #[must_use]
    pub fn local(&self) -> Offset {
        self.log_start.max(self.tier_end)
    }
}

/// The partition in the controller's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    /// The broker that leads in this epoch. With a later broker epoch it does not: followers may
    /// have records that it lost in a crash.
    pub leader: Option<Member>,
    /// A replica is removed only with a new leader epoch. A removed replica has dropped its log; if
    /// it came back within the epoch, its earlier acknowledgements would count again.
    pub replicas: Vec<BrokerId>,
    /// The in-sync replicas (ISR). The leader is one of them.
    pub in_sync: Vec<BrokerId>,
    /// `min.insync.replicas`. Counts as at most the number of replicas.
    pub in_sync_min: usize,
    pub starts: Starts,
}

/// A change of the ISR by one replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InSyncChange {
    /// Names the broker epoch that caught up: in a later one the broker may have another disk.
    Join(Member),
    /// Raises the partition epoch even if the broker was no member, and so cancels a [`Self::Join`]
    /// that may still be in flight.
    Leave(BrokerId),
}

/// A leader's request to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Refused unless the partition epoch of the proposal is the current one.
    InSync(InSyncChange),
    /// Never moves back.
    LogStart(Offset),
    /// The range is in the object tier. Refused unless it begins where the replicas' logs do, at
    /// [`Starts::local`].
    TierEnd { from: Offset, to: Offset },
}

/// Refused unless the leader epoch is the current one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Proposal {
    pub leader_epoch: LeaderEpoch,
    pub partition_epoch: PartitionEpoch,
    pub change: Change,
}

/// Why the controller refused a proposal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProposalRefusal {
    /// The leader epoch is over.
    FencedLeaderEpoch,
    /// The partition has changed since. The new assignment is on its way.
    StalePartitionEpoch,
    /// The joining broker is fenced, or has registered again.
    Ineligible,
}
