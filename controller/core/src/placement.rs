//! Chooses the brokers of new partitions: evenly over brokers, and over racks if brokers have them.
//!
//! It does not move existing partitions.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustmq_model::{BrokerId, TopicId};

use crate::Broker;

/// A ring of brokers from which partitions take their replicas in turn. Neighbours in the ring are
/// in different racks as far as possible. The replicas of a partition are neighbours, so that they
/// spread over racks.
pub(crate) struct Ring {
    brokers: Vec<BrokerId>,
    /// The place in the ring where the topic begins. It differs from topic to topic: otherwise the
    /// first broker would lead every small topic.
    start: usize,
}

impl Ring {
    pub(crate) fn new<'a>(brokers: impl Iterator<Item = &'a Arc<Broker>>, topic: TopicId) -> Self {
        let mut racks: BTreeMap<Option<&str>, VecDeque<BrokerId>> = BTreeMap::new();
        for broker in brokers {
            racks.entry(broker.registration.rack.as_deref()).or_default().push_back(broker.id);
        }
        let mut ring = Vec::new();
        while !racks.is_empty() {
            ring.extend(racks.values_mut().filter_map(VecDeque::pop_front));
            racks.retain(|_, left| !left.is_empty());
        }
        let start = topic.0.checked_rem(ring.len() as u128).unwrap_or(0);
        Self { start: usize::try_from(start).expect("a remainder of a usize fits one"), brokers: ring }
    }

    /// The replicas of a partition, the leader first. `replication_factor` is at most the number of
    /// brokers.
    pub(crate) fn replicas(&self, partition: usize, replication_factor: usize) -> Vec<BrokerId> {
        let count = self.brokers.len();
        assert!(replication_factor <= count, "a broker holds at most one replica of a partition");
        (0..replication_factor).map(|index| self.brokers[(self.start + partition + index) % count]).collect()
    }
}
