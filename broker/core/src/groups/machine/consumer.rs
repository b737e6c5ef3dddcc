//! Heartbeats of consumer groups: finds or makes the group, writes its records, and replays them.

use std::sync::Arc;

use rustmq_model::{Timestamp, TopicName};

use super::append::Effect;
use super::{GroupEntry, Groups};
use crate::coordinator::{CoordinatorRecord, Now, Outbox, ReplyToken};
use crate::groups::classic::ClassicGroup;
use crate::groups::consumer::ConsumerGroup;
use crate::groups::consumer::description::ConsumerGroupDescription;
use crate::groups::consumer::heartbeat::ConsumerHeartbeat;
use crate::groups::consumer::image::Change;
use crate::groups::consumer::target::TargetInput;
use crate::groups::consumer::topics::TopicCatalogue;
use crate::groups::error::GroupError;
use crate::groups::group::Group;
use crate::groups::identity::{GroupId, MemberId};
use crate::groups::records::{decode_group_metadata_value, encode_group_metadata_key};
use crate::groups::request::ReplyOutcome;
use crate::groups::task::AssignmentTask;

/// The members in the record of a classic group that became a consumer group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoredMembers {
    /// The log is replayed: they are in the group.
    Present,
    /// They left before the group changed its protocol, although the record still names them: the
    /// one without members was lost.
    Gone,
}

impl Groups {
    pub(super) fn consumer_heartbeat(
        &mut self,
        now: Now,
        token: ReplyToken,
        request: ConsumerHeartbeat,
        outbox: &mut Outbox<Self>,
    ) {
        let checked = request.check(&self.config.consumer.assignors);
        if let Err(error) = checked.and_then(|()| self.prepare_consumer_group(&request)) {
            outbox.reply(token, ReplyOutcome::ConsumerHeartbeat(Err(error)));
            return;
        }
        let id = request.group.clone();
        if let Some(Group::Consumer(group)) = self.groups.get_mut(&id).map(|entry| &mut entry.group) {
            group.handle_heartbeat(now, token, request);
        }
        self.settle(now, &id, outbox);
        self.drop_if_blank(&id);
    }

    /// Makes the group of a member that joins. A classic group without members becomes a consumer
    /// group.
    fn prepare_consumer_group(&mut self, request: &ConsumerHeartbeat) -> Result<(), GroupError> {
        let count = self.groups.len();
        let made = || ConsumerGroup::new(request.group.clone(), Arc::clone(&self.config), self.catalogue.clone());
        match self.groups.get_mut(&request.group) {
            Some(GroupEntry { group: Group::Consumer(_), .. }) => Ok(()),
            Some(entry) if entry.group.state().is_dead() => Err(GroupError::CoordinatorNotAvailable),
            Some(entry) if request.is_join() && entry.group.is_unused() => {
                if entry.group_records_pending > 0 {
                    return Err(GroupError::CoordinatorNotAvailable);
                }
                entry.group = Group::Consumer(made());
                Ok(())
            }
            None if request.is_join() => {
                if count >= self.config.groups_max {
                    return Err(GroupError::CoordinatorNotAvailable);
                }
                let group = Group::Consumer(made());
                self.groups.insert(request.group.clone(), GroupEntry::new(group));
                Ok(())
            }
            Some(_) | None => Err(GroupError::GroupIdNotFound),
        }
    }

    /// Appends the records of a consumer group. The record of a classic group that it was before
    /// goes with the first ones.
    pub(super) fn store_consumer_group(
        &mut self,
        id: &GroupId,
        mut records: Vec<CoordinatorRecord>,
        outbox: &mut Outbox<Self>,
    ) {
        let has_classic_record = self.groups.get(id).is_some_and(|entry| entry.stored.is_some());
        if has_classic_record && let Ok(key) = encode_group_metadata_key(id.as_str()) {
            records.insert(0, CoordinatorRecord { key, value: None });
        }
        self.append(records, Effect::ConsumerGroup { group: id.clone() }, outbox);
    }

    pub(super) fn start_target(&mut self, id: &GroupId, input: TargetInput, outbox: &mut Outbox<Self>) {
        let task = outbox.start_task(AssignmentTask { group: id.clone(), input });
        if let Some(Group::Consumer(group)) = self.groups.get_mut(id).map(|entry| &mut entry.group) {
            group.on_target_started(task);
        }
    }

    /// A consumer group of which nothing is left is a classic group again: the one that its record
    /// describes, or one that only has offsets.
    pub(super) fn restore_classic_if_blank(&mut self, id: &GroupId, members: StoredMembers) {
        let Some(entry) = self.groups.get_mut(id) else { return };
        if !matches!(&entry.group, Group::Consumer(group) if group.is_blank()) {
            return;
        }
        let metadata = entry.stored.as_ref().and_then(|stored| decode_group_metadata_value(&stored.value).ok());
        let config = Arc::clone(&self.config);
        entry.group = Group::Classic(match metadata {
            Some(mut metadata) => {
                if members == StoredMembers::Gone {
                    metadata.members.clear();
                }
                ClassicGroup::from_metadata(id.clone(), config, metadata)
            }
            None => ClassicGroup::new(id.clone(), config, Timestamp::NONE),
        });
    }

    pub(super) fn replay_consumer(&mut self, id: &str, change: Change) {
        if !self.groups.contains_key(id) {
            let group = ConsumerGroup::new(GroupId::new(id), Arc::clone(&self.config), self.catalogue.clone());
            self.groups.insert(GroupId::new(id), GroupEntry::new(Group::Consumer(group)));
        }
        let Some(entry) = self.groups.get_mut(id) else { return };
        if let Group::Classic(_) = &entry.group {
            // Tombstones of a consumer group that is gone change no classic group.
            if change.is_tombstone() {
                return;
            }
            let group = ConsumerGroup::new(GroupId::new(id), Arc::clone(&self.config), self.catalogue.clone());
            entry.group = Group::Consumer(group);
        }
        if let Group::Consumer(group) = &mut entry.group {
            group.replay(change);
        }
        let id = GroupId::new(id);
        self.restore_classic_if_blank(&id, StoredMembers::Present);
        let is_gone = self.groups.get(&id).is_some_and(|entry| {
            entry.stored.is_none() && entry.offsets.is_empty() && matches!(entry.group, Group::Classic(_))
        });
        if is_gone {
            self.groups.remove(&id);
        }
    }

    /// Hands the topics on to the consumer groups.
    pub(super) fn change_topics(
        &mut self,
        now: Now,
        catalogue: TopicCatalogue,
        changed: Option<&[TopicName]>,
        outbox: &mut Outbox<Self>,
    ) {
        // Events may overtake each other.
        if catalogue.is_older_than(&self.catalogue) {
            return;
        }
        let mut affected = Vec::new();
        for (id, entry) in &mut self.groups {
            if let Group::Consumer(group) = &mut entry.group {
                group.on_topics_changed(&catalogue, changed);
                affected.push(id.clone());
            }
        }
        self.catalogue = catalogue;
        for id in affected {
            self.settle(now, &id, outbox);
        }
    }

    /// ConsumerGroupDescribe, for one group.
    ///
    /// # Errors
    /// [`GroupError::InvalidGroupId`], and [`GroupError::GroupIdNotFound`] if there is no such
    /// group or if it is a classic one.
    pub fn describe_consumer_group(&self, group: &GroupId) -> Result<ConsumerGroupDescription, GroupError> {
        group.check_length()?;
        match self.groups.get(group).map(|entry| &entry.group) {
            Some(Group::Consumer(group)) => Ok(group.description()),
            _ => Err(GroupError::GroupIdNotFound),
        }
    }

    /// Checks the member that fetches offsets. Requests before version 9 name none.
    ///
    /// # Errors
    /// [`GroupError::UnknownMemberId`], and [`GroupError::StaleMemberEpoch`] if the epoch is not
    /// the member's current one.
    pub fn validate_offset_fetch(&self, group: &GroupId, member: &MemberId, epoch: i32) -> Result<(), GroupError> {
        match self.groups.get(group).map(|entry| &entry.group) {
            Some(Group::Consumer(group)) => group.validate_fetch(member, epoch),
            _ => Ok(()),
        }
    }
}
