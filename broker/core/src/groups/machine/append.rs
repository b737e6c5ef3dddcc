//! The appends of groups: the change that each one makes when it is committed, and the request that
//! it answers.

use bytes::Bytes;
use rustmq_model::{ProducerKey, TopicPartition, TransactionMarker};

use super::transaction::written;
use super::{GroupEntry, Groups, StoredRecord};
use crate::coordinator::{AppendId, CoordinatorRecord, Now, Outbox, ReplyToken};
use crate::groups::classic::StorePurpose;
use crate::groups::error::GroupError;
use crate::groups::group::Group;
use crate::groups::identity::GroupId;
use crate::groups::offsets::CommittedOffset;
use crate::groups::request::{PartitionOutcomes, ReplyOutcome};

const GROUP_OUTLIVES_APPENDS: &str = "a group outlives the appends before its tombstone";

/// The change that an append makes when it is committed.
#[derive(Debug)]
pub enum Effect {
    ClassicGroup {
        group: GroupId,
        value: Bytes,
        purpose: StorePurpose,
    },
    /// The records of a consumer group, which keeps the change itself.
    ConsumerGroup {
        group: GroupId,
    },
    OffsetCommit {
        group: GroupId,
        token: ReplyToken,
        /// The producer of a transactional commit, whose offsets are pending when they are stored.
        producer: Option<ProducerKey>,
        offsets: Vec<(TopicPartition, CommittedOffset)>,
        outcomes: PartitionOutcomes,
    },
    /// The offsets that are pending for the marker's producer are shown, or dropped.
    TransactionEnd {
        marker: TransactionMarker,
        token: ReplyToken,
    },
    OffsetRemoval {
        group: GroupId,
        partitions: Vec<TopicPartition>,
        reply: Option<(ReplyToken, PartitionOutcomes)>,
    },
    GroupRemoval {
        group: GroupId,
        token: Option<ReplyToken>,
    },
}

impl Effect {
    /// The group that the append is counted for. A marker concerns many groups.
    pub(super) fn group(&self) -> Option<&GroupId> {
        match self {
            Self::ClassicGroup { group, .. }
            | Self::ConsumerGroup { group }
            | Self::OffsetCommit { group, .. }
            | Self::OffsetRemoval { group, .. }
            | Self::GroupRemoval { group, .. } => Some(group),
            Self::TransactionEnd { .. } => None,
        }
    }

    /// Whether the append writes or removes the record of the group itself.
    pub(super) fn is_of_group_record(&self) -> bool {
        matches!(self, Self::ClassicGroup { .. } | Self::ConsumerGroup { .. } | Self::GroupRemoval { .. })
    }

    /// Whether the append holds the token of a request. Tokens of joins and syncs are with the
    /// members; that of a leave, whose member is gone, is with the append.
    pub(super) const fn answers_a_request(&self) -> bool {
        match self {
            Self::ClassicGroup { purpose, .. } => matches!(purpose, StorePurpose::Empty { reply: Some(_) }),
            // The group has the tokens of its heartbeats.
            Self::ConsumerGroup { .. } => false,
            Self::OffsetCommit { .. } | Self::TransactionEnd { .. } => true,
            Self::OffsetRemoval { reply, .. } => reply.is_some(),
            Self::GroupRemoval { token, .. } => token.is_some(),
        }
    }
}

impl Groups {
    pub(super) fn append(&mut self, records: Vec<CoordinatorRecord>, effect: Effect, outbox: &mut Outbox<Self>) {
        if let Some(group) = effect.group() {
            let entry = self.entry_of_append(group);
            entry.appends_pending += 1;
            entry.group_records_pending += usize::from(effect.is_of_group_record());
        }
        match effect {
            Effect::OffsetCommit { producer: Some(producer), .. } => {
                outbox.append_transactional(producer, records, effect);
            }
            _ => {
                outbox.append(records, effect);
            }
        }
    }

    /// Counts the end of an append. Returns its group, if it has one.
    pub(super) fn end_append(&mut self, effect: &Effect) -> Option<GroupId> {
        let group = effect.group()?;
        let entry = self.entry_of_append(group);
        entry.appends_pending -= 1;
        entry.group_records_pending -= usize::from(effect.is_of_group_record());
        Some(group.clone())
    }

    fn entry_of_append(&mut self, group: &GroupId) -> &mut GroupEntry {
        self.groups.get_mut(group).expect(GROUP_OUTLIVES_APPENDS)
    }

    pub(super) fn apply(&mut self, now: Now, append: AppendId, effect: Effect, outbox: &mut Outbox<Self>) {
        match effect {
            Effect::ClassicGroup { group, value, purpose } => {
                let entry = self.entry_of_append(&group);
                entry.stored = Some(StoredRecord { value, stored_by: Some(append) });
                if let Group::Classic(group) = &mut entry.group {
                    group.on_record_committed(now, purpose);
                }
            }
            Effect::ConsumerGroup { group } => {
                let entry = self.entry_of_append(&group);
                // The append began with the tombstone of a classic group, if there was one.
                entry.stored = None;
                if let Group::Consumer(group) = &mut entry.group {
                    group.on_committed(now, append);
                }
            }
            Effect::OffsetCommit { group, token, producer, offsets, outcomes } => {
                let places = written(append, outbox.log_end(), offsets.len());
                for ((partition, offset), written) in offsets.into_iter().zip(places) {
                    let entry = self.entry_of_append(&group);
                    let Some(producer) = producer else {
                        entry.offsets.end_commit(partition, Some((offset, written)));
                        continue;
                    };
                    entry.offsets.transactional.finish(&partition);
                    entry.offsets.end_commit(partition.clone(), None);
                    self.add_pending(producer, &group, partition, offset, written);
                }
                outbox.reply(token, ReplyOutcome::OffsetCommit(Ok(outcomes)));
            }
            Effect::TransactionEnd { marker, token } => self.on_marker_written(token, &marker, outbox),
            Effect::OffsetRemoval { group, partitions, reply } => {
                let entry = self.entry_of_append(&group);
                for partition in &partitions {
                    entry.offsets.end_removal(partition);
                    entry.offsets.remove(partition);
                }
                if let Some((token, outcomes)) = reply {
                    outbox.reply(token, ReplyOutcome::OffsetDelete(Ok(outcomes)));
                }
            }
            Effect::GroupRemoval { group, token } => {
                self.forget_group(&group, now.wall);
                if let Some(token) = token {
                    // Offsets remain if an earlier tombstone was not stored.
                    let is_whole = !self.groups.contains_key(&group);
                    let outcome = if is_whole { Ok(()) } else { Err(GroupError::CoordinatorNotAvailable) };
                    outbox.reply(token, ReplyOutcome::DeleteGroup(outcome));
                }
            }
        }
    }

    pub(super) fn undo(&mut self, now: Now, effect: Effect, error: GroupError, outbox: &mut Outbox<Self>) {
        match effect {
            Effect::ClassicGroup { group, purpose, .. } => {
                if let Group::Classic(group) = &mut self.entry_of_append(&group).group {
                    group.on_record_failed(now, purpose, error);
                }
            }
            Effect::ConsumerGroup { group } => {
                if let Group::Consumer(group) = &mut self.entry_of_append(&group).group {
                    group.on_failed(now, &error);
                }
            }
            Effect::TransactionEnd { token, .. } => outbox.reply(token, ReplyOutcome::Marker(Err(error))),
            Effect::OffsetCommit { group, token, producer, offsets, .. } => {
                let entry = self.entry_of_append(&group);
                for (partition, _) in offsets {
                    if producer.is_some() {
                        entry.offsets.transactional.finish(&partition);
                    }
                    entry.offsets.end_commit(partition, None);
                }
                outbox.reply(token, ReplyOutcome::OffsetCommit(Err(error)));
            }
            Effect::OffsetRemoval { group, partitions, reply } => {
                let entry = self.entry_of_append(&group);
                for partition in &partitions {
                    entry.offsets.end_removal(partition);
                }
                if let Some((token, _)) = reply {
                    outbox.reply(token, ReplyOutcome::OffsetDelete(Err(error)));
                }
            }
            Effect::GroupRemoval { group, token } => {
                self.entry_of_append(&group).group.undo_deletion(now);
                if let Some(token) = token {
                    outbox.reply(token, ReplyOutcome::DeleteGroup(Err(error)));
                }
            }
        }
    }
}
