//! TxnOffsetCommit and the markers of transactions.

use rustmq_model::{Offset, ProducerId, ProducerKey, TopicPartition, TransactionEnd, TransactionMarker};

use super::append::Effect;
use super::{GroupTimer, Groups};
use crate::coordinator::{AppendId, Now, Outbox, ReplayedMarker, ReplyToken};
use crate::groups::error::GroupError;
use crate::groups::identity::GroupId;
use crate::groups::offsets::{CommittedOffset, Written};
use crate::groups::request::{OffsetCommitRequest, ReplyOutcome, TransactionalCommitRequest};
use crate::groups::transactions::guard::CommitGuard;
use crate::groups::transactions::offsets::{PendingOffset, memory_of};

impl Groups {
    /// The guard of a commit. It is taken before the transaction coordinator is asked whether the
    /// producer's transaction has the group, and voided by a marker that comes before the commit.
    #[must_use]
    pub fn commit_guard(&self, producer: ProducerId) -> CommitGuard {
        self.transactions.markers.guard(producer)
    }

    /// TxnOffsetCommit. Answered when the offsets are stored; they are pending until the marker.
    pub(super) fn commit_transactional_offsets(
        &mut self,
        now: Now,
        token: ReplyToken,
        request: TransactionalCommitRequest,
        outbox: &mut Outbox<Self>,
    ) {
        let TransactionalCommitRequest { producer, guard, commit } = request;
        let id = commit.group.clone();
        match self.validate_transactional_commit(now, (producer, guard), &commit) {
            Ok(()) => self.commit(now, token, commit, Some(producer), outbox),
            Err(error) => outbox.reply(token, ReplyOutcome::OffsetCommit(Err(error))),
        }
        self.settle(now, &id, outbox);
        self.drop_if_blank(&id);
    }

    fn validate_transactional_commit(
        &mut self,
        now: Now,
        (producer, guard): (ProducerKey, CommitGuard),
        commit: &OffsetCommitRequest,
    ) -> Result<(), GroupError> {
        self.transactions.check_commit(producer, guard)?;
        let bytes: usize = commit.offsets.iter().map(|offset| memory_of(&offset.partition, &offset.metadata)).sum();
        if self.transactions.bytes().saturating_add(bytes) > self.config.pending_offset_bytes_max {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if !self.groups.contains_key(&commit.group) {
            if commit.generation >= 0 {
                return Err(GroupError::GroupIdNotFound);
            }
            self.make_group(now, &commit.group)?;
        }
        let entry = self.groups.get(&commit.group).expect("the group was just found or made");
        entry.group.validate_transactional_commit(commit)
    }

    /// The offsets of a transaction are stored.
    pub(super) fn add_pending(
        &mut self,
        producer: ProducerKey,
        group: &GroupId,
        partition: TopicPartition,
        offset: CommittedOffset,
        written: Written,
    ) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        let bytes = memory_of(&partition, &offset.metadata);
        let overtakes = entry.offsets.position(&partition);
        let Written { append: stored_by, position } = written;
        let pending = PendingOffset { offset, position, stored_by, bytes };
        let replaced = entry.offsets.transactional.insert(producer.id, partition, pending);
        self.transactions.add(producer, group, position, bytes, replaced.as_ref(), overtakes);
    }

    /// Writes a marker. Answered when it is durable; a repeated one changes nothing.
    pub(super) fn write_marker(&mut self, token: ReplyToken, marker: TransactionMarker, outbox: &mut Outbox<Self>) {
        match self.transactions.check_marker(&marker) {
            Ok(()) => {
                self.transactions.markers.on_marker(&marker);
                outbox.append_marker(marker, Effect::TransactionEnd { marker, token });
            }
            Err(error) => outbox.reply(token, ReplyOutcome::Marker(Err(error))),
        }
    }

    pub(super) fn on_marker_written(
        &mut self,
        token: ReplyToken,
        marker: &TransactionMarker,
        outbox: &mut Outbox<Self>,
    ) {
        // The log has compared the epochs, also with appends that were pending when the marker was
        // requested. A marker that it held already may meet the next transaction.
        if self.transactions.check_marker(marker).is_ok() {
            for group in self.end_transaction(marker.producer, marker.end) {
                outbox.set_timer(
                    GroupTimer::Group(group.clone()),
                    self.groups.get(&group).and_then(|it| it.group.poll_timeout()),
                );
            }
        }
        outbox.reply(token, ReplyOutcome::Marker(Ok(())));
    }

    pub(super) fn replay_end(&mut self, marker: ReplayedMarker) {
        self.end_transaction(marker.producer, marker.end);
    }

    /// Makes the pending offsets of a producer visible, or drops them. If a partition has two
    /// commits, the one whose record comes later in the log wins, wherever the marker is. Returns
    /// the groups that are left without anything.
    fn end_transaction(&mut self, producer: ProducerKey, end: TransactionEnd) -> Vec<GroupId> {
        let Some(ended) = self.transactions.end(producer) else { return Vec::new() };
        let mut dropped = Vec::new();
        for group in ended.groups {
            let Some(entry) = self.groups.get_mut(&group) else { continue };
            for (partition, pending) in entry.offsets.transactional.take(producer.id) {
                let PendingOffset { offset, position, stored_by, bytes: _ } = pending;
                let is_overtaken = entry.offsets.position(&partition).is_some_and(|committed| committed > position);
                if end == TransactionEnd::Commit && !is_overtaken {
                    // Another open transaction may have been begun after this record.
                    for other in entry.offsets.transactional.producers_of(&partition) {
                        self.transactions.keep_from(other, position);
                    }
                    entry.offsets.store(partition, offset, Written { append: stored_by, position });
                }
            }
            self.drop_if_blank(&group);
            if !self.groups.contains_key(&group) {
                dropped.push(group);
            }
        }
        dropped
    }

    /// The partitions of a group whose committed offset an open transaction may still change
    /// (KIP-447).
    #[must_use]
    pub fn is_unstable(&self, group: &GroupId, partition: &TopicPartition) -> bool {
        self.groups.get(group).is_some_and(|entry| entry.offsets.transactional.is_unstable(partition))
    }

    /// Each pending offset belongs to an open transaction that names its group: otherwise no marker
    /// would ever end it.
    pub(super) fn check_transactions(&self) {
        self.transactions.check_invariants();
        for (id, entry) in &self.groups {
            let named: std::collections::BTreeSet<_> = self.transactions.of_group(id).collect();
            let pending = entry.offsets.transactional.producers();
            assert!(pending.is_subset(&named), "a pending offset belongs to an open transaction");
        }
    }
}

/// The place of the first record of an append that has just taken effect.
pub(super) fn first_position(log_end: Offset, count: usize) -> Offset {
    Offset(log_end.0 - i64::try_from(count).unwrap_or(i64::MAX))
}

/// The place of each record of an append that has just taken effect.
pub(super) fn written(append: AppendId, log_end: Offset, count: usize) -> impl Iterator<Item = Written> {
    let first = first_position(log_end, count);
    (0_i64..).map(move |index| Written { append: Some(append), position: first.plus(index) })
}
