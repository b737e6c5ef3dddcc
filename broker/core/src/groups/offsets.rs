//! The committed offsets of one group: the stored offsets, the pending commits and removals, and
//! expiry.
//!
//! The group decides whether a member may commit (`classic`). The machine of all groups writes the
//! records (`machine`).

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_model::{LeaderEpoch, Offset, Timestamp, TopicId, TopicName, TopicPartition};

use super::request::OffsetSelection;
use super::transactions::offsets::TransactionalOffsets;
use crate::coordinator::AppendId;

/// One committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The client's value, which is not checked: a negative value is stored and fetched as it is.
    pub offset: Offset,
    pub leader_epoch: Option<LeaderEpoch>,
    pub metadata: String,
    pub committed_at: Timestamp,
    /// Set only by commits that came with a retention time of their own.
    pub expires_at: Option<Timestamp>,
    /// `TopicId::ZERO` if the record does not name it.
    pub topic_id: TopicId,
}

/// The start of the retention time of a group's offsets (KIP-211).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum RetentionStart {
    /// The time at which the group lost its last member.
    EmptySince(Timestamp),
    /// Each offset's own commit.
    Commit,
}

/// The offsets of one group.
#[derive(Clone, Debug, Default)]
pub(crate) struct GroupOffsets {
    committed: BTreeMap<TopicPartition, StoredOffset>,
    /// The number of pending commits, by partition.
    in_flight: BTreeMap<TopicPartition, usize>,
    /// The number of pending tombstones, by partition.
    removals: BTreeMap<TopicPartition, usize>,
    /// The offsets of open transactions.
    pub(super) transactional: TransactionalOffsets,
}

/// The record of a committed offset in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Written {
    /// The append that wrote it; none if it was loaded.
    pub(crate) append: Option<AppendId>,
    /// Its place. A rewrite keeps the order of commits, and so does not change it here.
    pub(crate) position: Offset,
}

/// A committed offset that the log holds.
#[derive(Clone, Debug)]
struct StoredOffset {
    offset: CommittedOffset,
    written: Written,
}

impl GroupOffsets {
    pub(crate) fn is_empty(&self) -> bool {
        self.committed.is_empty() && self.in_flight.is_empty() && self.transactional.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.committed.len()
    }

    /// Every offset, with the append that wrote it; none if it was loaded.
    pub(crate) fn stored(&self) -> impl Iterator<Item = (&TopicPartition, &CommittedOffset, Option<AppendId>)> {
        self.committed.iter().map(|(partition, stored)| (partition, &stored.offset, stored.written.append))
    }

    /// Whether a commit or a removal of this partition's offset is pending.
    pub(crate) fn is_pending(&self, partition: &TopicPartition) -> bool {
        self.in_flight.contains_key(partition) || self.removals.contains_key(partition)
    }

    /// Counts a commit that is appended. It is not shown yet.
    pub(crate) fn begin_commit(&mut self, partition: &TopicPartition) {
        *self.in_flight.entry(partition.clone()).or_default() += 1;
    }

    /// Ends a commit. `stored` has the offset and the append that wrote it, unless the append
    /// failed.
    pub(crate) fn end_commit(&mut self, partition: TopicPartition, stored: Option<(CommittedOffset, Written)>) {
        count_down(&mut self.in_flight, &partition);
        if let Some((offset, written)) = stored {
            self.store(partition, offset, written);
        }
    }

    /// Shows an offset whose record is in the log.
    pub(crate) fn store(&mut self, partition: TopicPartition, offset: CommittedOffset, written: Written) {
        self.committed.insert(partition, StoredOffset { offset, written });
    }

    /// The place in the log of the committed offset, if there is one.
    pub(crate) fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        self.committed.get(partition).map(|stored| stored.written.position)
    }

    /// The number of pending commits, by partition.
    pub(crate) fn pending_commits(&self) -> impl Iterator<Item = (&TopicPartition, usize)> {
        self.in_flight.iter().map(|(partition, count)| (partition, *count))
    }

    /// The number of pending tombstones, by partition.
    pub(crate) fn pending_removals(&self) -> impl Iterator<Item = (&TopicPartition, usize)> {
        self.removals.iter().map(|(partition, count)| (partition, *count))
    }

    /// Counts a tombstone that is appended.
    pub(crate) fn begin_removal(&mut self, partition: &TopicPartition) {
        *self.removals.entry(partition.clone()).or_default() += 1;
    }

    /// Ends a removal. If the tombstone is stored, the caller also calls [`Self::remove`].
    pub(crate) fn end_removal(&mut self, partition: &TopicPartition) {
        count_down(&mut self.removals, partition);
    }

    /// Forgets the offsets of a partition, also those of open transactions.
    pub(crate) fn remove(&mut self, partition: &TopicPartition) {
        self.committed.remove(partition);
        self.transactional.remove(partition);
    }

    /// Whether an offset of this partition is stored or pending.
    pub(crate) fn is_known(&self, partition: &TopicPartition) -> bool {
        self.committed.contains_key(partition)
            || self.in_flight.contains_key(partition)
            || self.transactional.contains(partition)
    }

    /// Every partition for which a tombstone is needed to forget the group.
    pub(crate) fn known_partitions(&self) -> Vec<TopicPartition> {
        let known = self.committed.keys().chain(self.in_flight.keys()).chain(self.transactional.partitions());
        let mut partitions: Vec<_> = known.cloned().collect();
        partitions.sort();
        partitions.dedup();
        partitions
    }

    /// Every partition of one topic for which a tombstone is needed to forget the topic. A
    /// partition with a pending tombstone needs another one only if a commit is pending, too, since
    /// the commit may come later in the log.
    pub(crate) fn removable_partitions_of(&self, topic: &TopicName) -> Vec<TopicPartition> {
        let is_removed =
            |partition: &_| self.removals.contains_key(partition) && !self.in_flight.contains_key(partition);
        let mut partitions = self.known_partitions();
        partitions.retain(|partition| partition.topic == *topic && !is_removed(partition));
        partitions
    }

    /// The committed offsets of the selection: `None` for a partition without one.
    pub(crate) fn fetch(&self, selection: &OffsetSelection) -> Vec<(TopicPartition, Option<CommittedOffset>)> {
        let offset = |stored: &StoredOffset| stored.offset.clone();
        match selection {
            OffsetSelection::All => {
                self.committed.iter().map(|(key, stored)| (key.clone(), Some(offset(stored)))).collect()
            }
            OffsetSelection::Given(partitions) => {
                partitions.iter().map(|key| (key.clone(), self.committed.get(key).map(offset))).collect()
            }
        }
    }

    /// The partitions whose retention time is over. A partition with a pending commit is in use,
    /// and one with a pending tombstone needs no second one.
    pub(crate) fn expired(&self, now: Timestamp, start: RetentionStart, retention: Duration) -> Vec<TopicPartition> {
        let is_over = |offset: &CommittedOffset| match (offset.expires_at, start) {
            (Some(expires_at), _) => now >= expires_at,
            (None, RetentionStart::EmptySince(since)) => now.is_past(since, retention),
            (None, RetentionStart::Commit) => now.is_past(offset.committed_at, retention),
        };
        self.committed
            .iter()
            .filter(|(partition, stored)| {
                is_over(&stored.offset) && !self.is_pending(partition) && !self.transactional.contains(partition)
            })
            .map(|(partition, _)| partition.clone())
            .collect()
    }
}

fn count_down(counts: &mut BTreeMap<TopicPartition, usize>, partition: &TopicPartition) {
    let count = counts.get_mut(partition).expect("everything that ended was begun");
    *count -= 1;
    if *count == 0 {
        counts.remove(partition);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use rustmq_model::PartitionId;

    use super::*;

    const LOADED: Written = Written { append: None, position: Offset::ZERO };

    fn partition(number: i32) -> TopicPartition {
        TopicPartition { topic: TopicName::new("t").unwrap(), partition: PartitionId(number) }
    }

    fn committed(offset: i64, committed_at: i64, expires_at: Option<i64>) -> CommittedOffset {
        CommittedOffset {
            offset: Offset(offset),
            leader_epoch: None,
            metadata: String::new(),
            committed_at: Timestamp(committed_at),
            expires_at: expires_at.map(Timestamp),
            topic_id: TopicId::ZERO,
        }
    }

    #[test]
    fn a_commit_is_shown_when_it_is_stored_and_not_before() {
        let mut offsets = GroupOffsets::default();
        offsets.begin_commit(&partition(0));
        offsets.begin_commit(&partition(0));
        assert_eq!(offsets.fetch(&OffsetSelection::Given(vec![partition(0)])), vec![(partition(0), None)]);
        assert!(!offsets.is_empty() && offsets.is_known(&partition(0)));
        offsets.end_commit(partition(0), Some((committed(7, 0, None), LOADED)));
        offsets.end_commit(partition(0), None);
        assert_eq!(offsets.fetch(&OffsetSelection::All), vec![(partition(0), Some(committed(7, 0, None)))]);
    }

    #[test]
    fn retention_counts_from_the_empty_group_or_from_the_commit() {
        let mut offsets = GroupOffsets::default();
        offsets.store(partition(0), committed(1, 100, None), LOADED);
        offsets.store(partition(1), committed(1, 900, None), LOADED);
        offsets.store(partition(2), committed(1, 100, Some(5000)), LOADED);
        offsets.store(partition(3), committed(1, 100, None), LOADED);
        offsets.begin_commit(&partition(3));
        let expired = |now, start| offsets.expired(Timestamp(now), start, Duration::from_millis(1000));
        assert_eq!(expired(1099, RetentionStart::Commit), vec![]);
        assert_eq!(expired(1100, RetentionStart::Commit), vec![partition(0)]);
        assert_eq!(expired(1900, RetentionStart::EmptySince(Timestamp(1000))), vec![]);
        assert_eq!(expired(2000, RetentionStart::EmptySince(Timestamp(1000))), vec![partition(0), partition(1)]);
        assert_eq!(expired(5000, RetentionStart::Commit), vec![partition(0), partition(1), partition(2)]);
    }
}
