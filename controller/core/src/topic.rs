//! Topics and their partitions, without records and offsets.

use rustmq_model::{BrokerId, LeaderEpoch, PartitionId, Timestamp, TopicId, TopicName};
use serde::{Deserialize, Serialize};

use crate::Configs;

/// A topic, from its creation to its deletion.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    pub id: TopicId,
    pub name: TopicName,
    /// The index is the partition id.
    pub partitions: Vec<Partition>,
    /// The explicit configs. All others follow the broker-wide configs.
    pub configs: Configs,
    pub created_at: Timestamp,
}

impl Topic {
    #[must_use]
    pub fn partition(&self, id: PartitionId) -> Option<&Partition> {
        usize::try_from(id.0).ok().and_then(|index| self.partitions.get(index))
    }

    /// The number of partitions, as the wire counts them.
    #[must_use]
    pub fn partition_count(&self) -> i32 {
        i32::try_from(self.partitions.len()).expect("creation refuses more partitions than an i32 counts")
    }
}

/// The replicas and the leader of a partition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Partition {
    /// In order of preference: the first is the preferred leader. Never empty, no repeats.
    pub replicas: Vec<BrokerId>,
    /// The replicas that hold everything committed. A subset of `replicas`, empty only when the
    /// partition is offline.
    pub isr: Vec<BrokerId>,
    /// None while the partition is offline.
    pub leader: Option<BrokerId>,
    /// Raised at each change of leader or of the leader's incarnation.
    pub leader_epoch: LeaderEpoch,
    /// Raised at each change of this struct, so that a stale proposal is recognized.
    pub partition_epoch: i32,
}

impl Partition {
    /// A new partition, led by the first of its replicas.
    pub(crate) fn new(replicas: Vec<BrokerId>) -> Self {
        Self {
            leader: replicas.first().copied(),
            isr: replicas.clone(),
            replicas,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
        }
    }

    /// The partition after `broker` has returned without the records that it had acknowledged. None
    /// if it was no in-sync replica.
    ///
    /// If there are other in-sync replicas, the broker leaves the ISR. If it was the only in-sync
    /// one of several replicas, the partition goes offline, and an operator has to decide. If it is
    /// the only replica, it continues to lead in a new epoch, by which clients notice the loss.
    pub(crate) fn after_loss_on(&self, broker: BrokerId) -> Option<Self> {
        if !self.isr.contains(&broker) {
            return None;
        }
        let mut next = self.clone();
        next.partition_epoch += 1;
        if self.replicas.len() > 1 {
            next.isr.retain(|member| *member != broker);
        }
        if self.leader == Some(broker) {
            next.leader = self.replicas.iter().copied().find(|replica| next.isr.contains(replica));
            next.leader_epoch = LeaderEpoch(self.leader_epoch.0 + 1);
        }
        Some(next)
    }
}
