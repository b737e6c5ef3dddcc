//! Requests about committed offsets, and their expiry.

use std::collections::BTreeSet;

use rustmq_model::{ProducerKey, Timestamp, TopicId, TopicName, TopicPartition};

use super::Groups;
use super::append::Effect;
use crate::coordinator::{CoordinatorRecord, Now, Outbox, ReplyToken};
use crate::groups::error::GroupError;
use crate::groups::identity::GroupId;
use crate::groups::offsets::CommittedOffset;
use crate::groups::records::{encode_offset_commit_key, encode_offset_commit_value};
use crate::groups::request::{
    OffsetCommitRequest, OffsetDeleteRequest, OffsetSelection, PartitionOutcomes, ReplyOutcome,
};

/// Tombstones in one append, so that a large group does not make a batch over the log's limit.
const TOMBSTONES_MAX: usize = 1000;

impl Groups {
    /// OffsetCommit. Answered when the offsets are stored, with an outcome for each partition.
    pub(super) fn commit_offsets(
        &mut self,
        now: Now,
        token: ReplyToken,
        request: OffsetCommitRequest,
        outbox: &mut Outbox<Self>,
    ) {
        let id = request.group.clone();
        if let Err(error) = self.validate_commit(now, &request) {
            outbox.reply(token, ReplyOutcome::OffsetCommit(Err(error)));
        } else {
            self.commit(now, token, request, None, outbox);
        }
        self.settle(now, &id, outbox);
        self.drop_if_blank(&id);
    }

    fn validate_commit(&mut self, now: Now, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        if !self.groups.contains_key(&request.group) {
            if request.generation >= 0 {
                return Err(GroupError::GroupIdNotFound);
            }
            // The consumer only stores its offsets here, without group membership.
            self.make_group(now, &request.group)?;
        }
        let entry = self.groups.get_mut(&request.group).expect("the group was just found or made");
        entry.group.validate_commit(now, request)
    }

    /// Appends the offsets of a commit that was validated; with a producer, those of its
    /// transaction.
    pub(super) fn commit(
        &mut self,
        now: Now,
        token: ReplyToken,
        request: OffsetCommitRequest,
        producer: Option<ProducerKey>,
        outbox: &mut Outbox<Self>,
    ) {
        let length_max = self.config.offset_metadata_length_max;
        let expires_at = request.retention.map(|retention| {
            Timestamp(now.wall.0.saturating_add(i64::try_from(retention.as_millis()).unwrap_or(i64::MAX)))
        });
        let mut records = Vec::with_capacity(request.offsets.len());
        let mut outcomes = PartitionOutcomes::with_capacity(request.offsets.len());
        let mut offsets = Vec::with_capacity(request.offsets.len());
        for commit in request.offsets {
            let length = commit.metadata.encode_utf16().count();
            if length > length_max {
                outcomes.push((commit.partition, Err(GroupError::OffsetMetadataTooLarge { length, length_max })));
                continue;
            }
            let offset = CommittedOffset {
                offset: commit.offset,
                leader_epoch: commit.leader_epoch,
                metadata: commit.metadata,
                committed_at: now.wall,
                expires_at,
                topic_id: commit.topic_id,
            };
            let key = encode_offset_commit_key(request.group.as_str(), &commit.partition);
            match (key, encode_offset_commit_value(&offset)) {
                (Ok(key), Ok(value)) => {
                    records.push(CoordinatorRecord { key, value: Some(value) });
                    outcomes.push((commit.partition.clone(), Ok(())));
                    offsets.push((commit.partition, offset));
                }
                _ => outcomes.push((commit.partition, Err(GroupError::OffsetMetadataTooLarge { length, length_max }))),
            }
        }
        if records.is_empty() {
            outbox.reply(token, ReplyOutcome::OffsetCommit(Ok(outcomes)));
            return;
        }
        let entry = self.groups.get_mut(&request.group).expect("the group was validated");
        for (partition, _) in &offsets {
            entry.offsets.begin_commit(partition);
            if producer.is_some() {
                entry.offsets.transactional.begin(partition);
            }
        }
        let effect = Effect::OffsetCommit { group: request.group, token, producer, offsets, outcomes };
        self.append(records, effect, outbox);
    }

    /// OffsetFetch: the stored offsets; `None` for a partition without one. A group that does not
    /// exist has committed nothing.
    ///
    /// # Errors
    /// [`GroupError::InvalidGroupId`] if the id is too long for a record.
    pub fn fetch_offsets(
        &self,
        group: &GroupId,
        selection: &OffsetSelection,
    ) -> Result<Vec<(TopicPartition, Option<CommittedOffset>)>, GroupError> {
        group.check_length()?;
        match (self.groups.get(group), selection) {
            (Some(entry), _) => Ok(entry.offsets.fetch(selection)),
            (None, OffsetSelection::All) => Ok(Vec::new()),
            (None, OffsetSelection::Given(partitions)) => {
                Ok(partitions.iter().map(|key| (key.clone(), None)).collect())
            }
        }
    }

    /// OffsetDelete. Partitions of topics that the group reads are refused one by one.
    pub(super) fn delete_offsets(
        &mut self,
        token: ReplyToken,
        request: OffsetDeleteRequest,
        outbox: &mut Outbox<Self>,
    ) {
        let id = request.group;
        let known = self.groups.get(&id).ok_or(GroupError::GroupIdNotFound);
        if let Err(error) = known.and_then(|entry| entry.group.validate_offset_delete()) {
            outbox.reply(token, ReplyOutcome::OffsetDelete(Err(error)));
            return;
        }
        let entry = &self.groups[&id];
        let mut outcomes = PartitionOutcomes::with_capacity(request.partitions.len());
        let mut removed = Vec::new();
        for partition in request.partitions {
            if entry.group.is_subscribed_to(partition.topic.as_str()) {
                outcomes.push((partition, Err(GroupError::GroupSubscribedToTopic)));
                continue;
            }
            if entry.offsets.is_known(&partition) {
                removed.push(partition.clone());
            }
            outcomes.push((partition, Ok(())));
        }
        if removed.is_empty() {
            outbox.reply(token, ReplyOutcome::OffsetDelete(Ok(outcomes)));
        } else {
            self.append_tombstones(&id, &removed, Some((token, outcomes)), outbox);
        }
    }

    /// Removes the offsets of a deleted topic from every group.
    pub(super) fn forget_topic(&mut self, topic: &TopicName, outbox: &mut Outbox<Self>) {
        // The tombstones of a group that is being deleted are pending already.
        let affected: Vec<_> = self
            .groups
            .iter()
            .filter(|(_, entry)| !entry.group.state().is_dead())
            .map(|(id, entry)| (id.clone(), entry.offsets.removable_partitions_of(topic)))
            .filter(|(_, partitions)| !partitions.is_empty())
            .collect();
        for (id, partitions) in affected {
            self.append_tombstones(&id, &partitions, None, outbox);
        }
    }

    /// Every topic with a stored offset, and the topic id of the commit; zero if the commit had
    /// none.
    #[must_use]
    pub fn committed_topics(&self) -> BTreeSet<(TopicName, TopicId)> {
        let offsets = self.groups.values().map(|entry| &entry.offsets);
        let topics = offsets.flat_map(|offsets| {
            let stored = offsets.stored().map(|(partition, offset, _)| (&partition.topic, offset));
            stored.chain(offsets.transactional.topics())
        });
        topics.map(|(topic, offset)| (topic.clone(), offset.topic_id)).collect()
    }

    /// Removes the offsets of topics that no longer exist, by name and id.
    pub(super) fn forget_missing(&mut self, gone: &BTreeSet<(TopicName, TopicId)>, outbox: &mut Outbox<Self>) {
        let is_gone = |partition: &TopicPartition, offset: &CommittedOffset| {
            gone.contains(&(partition.topic.clone(), offset.topic_id))
        };
        let affected: Vec<(GroupId, Vec<TopicPartition>)> = self
            .groups
            .iter()
            .filter(|(_, entry)| !entry.group.state().is_dead())
            .map(|(id, entry)| {
                // A pending commit was made for a topic that exists: a tombstone after it would
                // remove that offset too.
                let offsets = entry.offsets.stored().filter(|(partition, offset, _)| {
                    is_gone(partition, offset) && !entry.offsets.is_pending(partition)
                });
                (id.clone(), offsets.map(|(partition, _, _)| partition.clone()).collect())
            })
            .filter(|(_, partitions): &(_, Vec<_>)| !partitions.is_empty())
            .collect();
        for (id, partitions) in affected {
            self.append_tombstones(&id, &partitions, None, outbox);
        }
    }

    /// Removes offsets that are over their retention time, and groups that are left without members
    /// and offsets (KIP-211).
    pub(super) fn expire_offsets(&mut self, now: Now, outbox: &mut Outbox<Self>) {
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for id in ids {
            let entry = &self.groups[&id];
            let Some(start) = entry.group.retention_start() else { continue };
            let mut expired = entry.offsets.expired(now.wall, start, self.config.offsets_retention);
            expired.retain(|partition| !entry.group.is_subscribed_to(partition.topic.as_str()));
            let is_nothing_left = expired.len() == entry.offsets.known_partitions().len();
            let is_group_over = is_nothing_left && entry.group.is_unused() && entry.appends_pending == 0;
            if !expired.is_empty() {
                self.append_tombstones(&id, &expired, None, outbox);
            }
            if is_group_over {
                self.append_group_tombstone(now, &id, None, outbox);
            }
        }
    }

    /// Writes tombstones for offsets of a group. The last append answers the request.
    pub(super) fn append_tombstones(
        &mut self,
        id: &GroupId,
        partitions: &[TopicPartition],
        mut reply: Option<(ReplyToken, PartitionOutcomes)>,
        outbox: &mut Outbox<Self>,
    ) {
        let entry = self.groups.get_mut(id).expect("the caller has found the group");
        for partition in partitions {
            entry.offsets.begin_removal(partition);
        }
        let mut chunks = partitions.chunks(TOMBSTONES_MAX).peekable();
        while let Some(chunk) = chunks.next() {
            let records = chunk
                .iter()
                .filter_map(|partition| encode_offset_commit_key(id.as_str(), partition).ok())
                .map(|key| CoordinatorRecord { key, value: None })
                .collect();
            let reply = if chunks.peek().is_none() { reply.take() } else { None };
            let effect = Effect::OffsetRemoval { group: id.clone(), partitions: chunk.to_vec(), reply };
            self.append(records, effect, outbox);
        }
    }
}
