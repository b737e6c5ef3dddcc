//! Which brokers a new partition is given to. Even over brokers, and over racks where they are
//! named.
//!
//! Moving what exists is the balancer's business, not done here.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use rustmq_model::{BrokerId, TopicId};

use crate::Broker;

/// Deals brokers out to partitions, round and round. Neighbours in the ring are of different racks
/// as far as racks go, so that the replicas of a partition, which are neighbours, spread over
/// racks.
pub(crate) struct Ring {
    brokers: Vec<BrokerId>,
    /// Where the topic begins: topics begin at different places, or the first broker would lead
    /// every small topic.
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
