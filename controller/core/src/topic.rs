//! Topics and their partitions. Records and offsets are not known here.

use rustmq_model::{BrokerId, LeaderEpoch, PartitionId, Timestamp, TopicId, TopicName};
use serde::{Deserialize, Serialize};

use crate::Configs;

/// One life of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Topic {
    pub id: TopicId,
    pub name: TopicName,
    /// Dense: the index is the partition id.
    pub partitions: Vec<Partition>,
    /// What was set explicitly; everything else follows the broker-wide configs.
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

/// Who holds a partition and who leads it.
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
    /// Raised at each change of anything in here, so that a stale proposal is recognized.
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

    /// What becomes of the partition when `broker` returns without what it had acknowledged. None
    /// if it held nothing in sync.
    ///
    /// With other in-sync replicas it leaves the ISR. As the sole one of several replicas it leaves
    /// the partition offline: an operator decides. As the only replica there is nothing to wait
    /// for: it leads on under a new epoch, by which clients notice.
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
