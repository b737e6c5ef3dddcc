//! The offsets of one group that open transactions have committed.

use std::collections::{BTreeMap, BTreeSet};

use rustmq_model::{Offset, ProducerId, TopicName, TopicPartition};

use crate::coordinator::AppendId;
use crate::groups::offsets::CommittedOffset;

/// An upper bound on the memory of a pending offset without its texts.
const OVERHEAD: usize = 256;

/// The memory of a pending offset of this partition, in bytes.
pub(in crate::groups) fn memory_of(partition: &TopicPartition, metadata: &str) -> usize {
    OVERHEAD + partition.topic.as_str().len() + metadata.len()
}

/// One pending offset.
#[derive(Clone, Debug)]
pub(in crate::groups) struct PendingOffset {
    pub(in crate::groups) offset: CommittedOffset,
    /// The place of its record in the log, by which it competes with other commits.
    pub(in crate::groups) position: Offset,
    /// The append that wrote it; none if it was loaded.
    pub(in crate::groups) stored_by: Option<AppendId>,
    pub(in crate::groups) bytes: usize,
}

/// The pending offsets of one group.
#[derive(Clone, Debug, Default)]
pub(in crate::groups) struct TransactionalOffsets {
    pending: BTreeMap<TopicPartition, BTreeMap<ProducerId, PendingOffset>>,
    /// The number of appends of pending offsets without a result, by partition.
    in_flight: BTreeMap<TopicPartition, usize>,
}

impl TransactionalOffsets {
    pub(in crate::groups) fn is_empty(&self) -> bool {
        self.pending.is_empty()
    }

    /// The partitions with a pending offset.
    pub(in crate::groups) fn partitions(&self) -> impl Iterator<Item = &TopicPartition> {
        self.pending.keys()
    }

    pub(in crate::groups) fn contains(&self, partition: &TopicPartition) -> bool {
        self.pending.contains_key(partition)
    }

    /// Whether the committed offset of this partition may still change by an open transaction: a
    /// pending offset that is not stored yet counts, since its transaction may be committed as soon
    /// as it is.
    pub(in crate::groups) fn is_unstable(&self, partition: &TopicPartition) -> bool {
        self.pending.contains_key(partition) || self.in_flight.contains_key(partition)
    }

    pub(in crate::groups) fn begin(&mut self, partition: &TopicPartition) {
        *self.in_flight.entry(partition.clone()).or_default() += 1;
    }

    pub(in crate::groups) fn finish(&mut self, partition: &TopicPartition) {
        if let Some(count) = self.in_flight.get_mut(partition) {
            *count -= 1;
            if *count == 0 {
                self.in_flight.remove(partition);
            }
        }
    }

    /// Adds a pending offset. Returns the earlier one of the same producer.
    pub(in crate::groups) fn insert(
        &mut self,
        producer: ProducerId,
        partition: TopicPartition,
        pending: PendingOffset,
    ) -> Option<PendingOffset> {
        self.pending.entry(partition).or_default().insert(producer, pending)
    }

    /// Drops the pending offsets of a partition: a tombstone has removed them (as in Kafka).
    pub(in crate::groups) fn remove(&mut self, partition: &TopicPartition) {
        self.pending.remove(partition);
    }

    /// Takes out all pending offsets of a producer.
    pub(in crate::groups) fn take(&mut self, producer: ProducerId) -> Vec<(TopicPartition, PendingOffset)> {
        let mut taken = Vec::new();
        self.pending.retain(|partition, pending| {
            taken.extend(pending.remove(&producer).map(|pending| (partition.clone(), pending)));
            !pending.is_empty()
        });
        taken
    }

    /// The producers with a pending offset for this partition.
    pub(in crate::groups) fn producers_of(&self, partition: &TopicPartition) -> impl Iterator<Item = ProducerId> {
        self.pending.get(partition).into_iter().flat_map(|of| of.keys().copied())
    }

    /// The topics with pending offsets.
    pub(in crate::groups) fn topics(&self) -> impl Iterator<Item = (&TopicName, &CommittedOffset)> {
        let pending = self.pending.iter();
        pending.flat_map(|(partition, of)| of.values().map(|pending| (&partition.topic, &pending.offset)))
    }

    /// The producers with pending offsets.
    pub(in crate::groups) fn producers(&self) -> BTreeSet<ProducerId> {
        self.pending.values().flat_map(|of| of.keys().copied()).collect()
    }
}
