//! Sets of partitions, by topic id. Both kinds keep their partitions in order, and have no topic
//! without partitions.

use std::collections::BTreeMap;

use rustmq_model::{PartitionId, TopicId};

/// The partitions of a member's target, or those that a member states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Assignment(BTreeMap<TopicId, Vec<PartitionId>>);

impl Assignment {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The number of partitions.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.values().map(Vec::len).sum()
    }

    #[must_use]
    pub fn contains(&self, topic: TopicId, partition: PartitionId) -> bool {
        self.0.get(&topic).is_some_and(|partitions| partitions.binary_search(&partition).is_ok())
    }

    /// Adds the partitions of one topic, in any order.
    pub fn insert(&mut self, topic: TopicId, mut partitions: Vec<PartitionId>) {
        if partitions.is_empty() {
            return;
        }
        let known = self.0.entry(topic).or_default();
        if known.is_empty() {
            std::mem::swap(known, &mut partitions);
        } else {
            known.append(&mut partitions);
        }
        known.sort_unstable();
        known.dedup();
    }

    /// The topics with their partitions, in order.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (TopicId, &[PartitionId])> {
        self.0.iter().map(|(topic, partitions)| (*topic, partitions.as_slice()))
    }

    /// Each partition, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, PartitionId)> {
        self.0.iter().flat_map(|(topic, partitions)| partitions.iter().map(|partition| (*topic, *partition)))
    }
}

impl FromIterator<(TopicId, PartitionId)> for Assignment {
    fn from_iter<I: IntoIterator<Item = (TopicId, PartitionId)>>(partitions: I) -> Self {
        let mut by_topic: BTreeMap<TopicId, Vec<PartitionId>> = BTreeMap::new();
        for (topic, partition) in partitions {
            by_topic.entry(topic).or_default().push(partition);
        }
        for partitions in by_topic.values_mut() {
            partitions.sort_unstable();
            partitions.dedup();
        }
        Self(by_topic)
    }
}

/// The partitions of a member, each with the member epoch in which the member got it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OwnedPartitions(BTreeMap<TopicId, BTreeMap<PartitionId, i32>>);

impl OwnedPartitions {
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn insert(&mut self, topic: TopicId, partition: PartitionId, epoch: i32) {
        self.0.entry(topic).or_default().insert(partition, epoch);
    }

    /// The member epoch in which the member got the partition.
    #[must_use]
    pub fn epoch(&self, topic: TopicId, partition: PartitionId) -> Option<i32> {
        self.0.get(&topic)?.get(&partition).copied()
    }

    /// The topics with their partitions and epochs, in order.
    pub fn topics(&self) -> impl ExactSizeIterator<Item = (TopicId, &BTreeMap<PartitionId, i32>)> {
        self.0.iter().map(|(topic, partitions)| (*topic, partitions))
    }

    /// Each partition with its epoch, in order.
    pub fn iter(&self) -> impl Iterator<Item = (TopicId, PartitionId, i32)> {
        self.0
            .iter()
            .flat_map(|(topic, partitions)| partitions.iter().map(|(partition, epoch)| (*topic, *partition, *epoch)))
    }

    /// The partitions without their epochs.
    #[must_use]
    pub fn assignment(&self) -> Assignment {
        let of_topic = |partitions: &BTreeMap<PartitionId, i32>| partitions.keys().copied().collect();
        Assignment(self.0.iter().map(|(topic, partitions)| (*topic, of_topic(partitions))).collect())
    }
}

impl FromIterator<(TopicId, PartitionId, i32)> for OwnedPartitions {
    fn from_iter<I: IntoIterator<Item = (TopicId, PartitionId, i32)>>(partitions: I) -> Self {
        let mut owned = Self::default();
        for (topic, partition, epoch) in partitions {
            owned.insert(topic, partition, epoch);
        }
        owned
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_assignment_is_in_order_and_has_each_partition_once() {
        let partitions = |ids: &[i32]| ids.iter().copied().map(PartitionId).collect::<Vec<_>>();
        let mut assignment = Assignment::default();
        assignment.insert(TopicId(2), partitions(&[3, 1]));
        assignment.insert(TopicId(2), partitions(&[2, 3]));
        assignment.insert(TopicId(1), vec![]);
        assert_eq!(assignment.topics().collect::<Vec<_>>(), [(TopicId(2), partitions(&[1, 2, 3]).as_slice())]);
        assert!(assignment.contains(TopicId(2), PartitionId(2)) && !assignment.contains(TopicId(1), PartitionId(1)));
        let collected: Assignment = [3, 1, 2, 3].map(|id| (TopicId(2), PartitionId(id))).into_iter().collect();
        assert_eq!((collected.len(), &collected), (3, &assignment));
    }
}
