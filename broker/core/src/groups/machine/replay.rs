//! Replays records of the log into groups and offsets.

use std::sync::Arc;

use bytes::Bytes;
use rustmq_model::{ProducerKey, Timestamp, TopicName, TopicPartition};

use super::{GroupEntry, Groups, StoredRecord};
use crate::coordinator::ReplayedRecord;
use crate::groups::classic::ClassicGroup;
use crate::groups::consumer::image::Change;
use crate::groups::group::Group;
use crate::groups::identity::GroupId;
use crate::groups::offsets::{CommittedOffset, Written};
use crate::groups::records::{
    RecordError, RecordKey, decode_group_metadata_value, decode_key, decode_offset_commit_value,
};

impl Groups {
    pub(super) fn replay_record(&mut self, record: ReplayedRecord<'_>) -> Result<(), RecordError> {
        match (decode_key(record.key)?, record.value) {
            (RecordKey::OffsetCommit { group, topic, partition }, Some(value)) => {
                let offset = decode_offset_commit_value(value)?;
                let topic = self.loaded_topic(topic)?;
                let written = Written { append: None, position: record.offset };
                self.replay_offset(group, TopicPartition { topic, partition }, offset, written, record.producer);
            }
            (RecordKey::OffsetCommit { group, topic, partition }, None) => {
                let topic = self.loaded_topic(topic)?;
                self.replay_offset_tombstone(group, &TopicPartition { topic, partition });
            }
            (RecordKey::GroupMetadata { group }, Some(value)) => {
                // Copied: the kept bytes would otherwise keep the whole block that was read in
                // memory.
                let value = Bytes::copy_from_slice(value);
                let metadata = decode_group_metadata_value(&value)?;
                let id = GroupId::new(group);
                let group = Group::Classic(ClassicGroup::from_metadata(id.clone(), Arc::clone(&self.config), metadata));
                let stored = Some(StoredRecord { value, stored_by: None });
                match self.groups.get_mut(&id) {
                    Some(entry) => (entry.group, entry.stored) = (group, stored),
                    None => {
                        self.groups.insert(id, GroupEntry { stored, ..GroupEntry::new(group) });
                    }
                }
            }
            (RecordKey::GroupMetadata { group }, None) => match self.groups.get_mut(group) {
                // The group has changed its protocol since.
                Some(GroupEntry { group: Group::Consumer(_), stored, .. }) => *stored = None,
                _ => self.forget_group(&GroupId::new(group), Timestamp::NONE),
            },
            (RecordKey::ConsumerGroup { kind, group, member }, value) => {
                self.replay_consumer(group, Change::decode(kind, member, value)?);
            }
            (RecordKey::Other { .. }, _) => {}
        }
        Ok(())
    }

    /// Offsets may come before the record of their group, or without such a record.
    fn replay_offset(
        &mut self,
        group: &str,
        partition: TopicPartition,
        offset: CommittedOffset,
        written: Written,
        producer: Option<ProducerKey>,
    ) {
        let id = GroupId::new(group);
        let entry = self.groups.entry(id.clone()).or_insert_with(|| {
            GroupEntry::new(Group::Classic(ClassicGroup::new(id.clone(), Arc::clone(&self.config), Timestamp::NONE)))
        });
        match producer {
            Some(producer) => self.add_pending(producer, &id, partition, offset, written),
            None => entry.offsets.store(partition, offset, written),
        }
    }

    fn replay_offset_tombstone(&mut self, group: &str, partition: &TopicPartition) {
        let Some(entry) = self.groups.get_mut(group) else { return };
        entry.offsets.remove(partition);
        // The members of a consumer group have records of their own.
        let is_classic = matches!(entry.group, Group::Classic(_));
        if is_classic && entry.stored.is_none() && entry.offsets.is_empty() {
            self.groups.remove(group);
        }
    }

    fn loaded_topic(&mut self, name: &str) -> Result<TopicName, RecordError> {
        if let Some(known) = self.loaded_topics.get(name) {
            return Ok(known.clone());
        }
        let topic = TopicName::new(name).map_err(|_| RecordError::InvalidTopic)?;
        self.loaded_topics.insert(topic.clone());
        Ok(topic)
    }
}
