//! The state of one consumer group as the log has it: a fold of its records.
//!
//! A [`Change`] is one record. Applying it gives the change that takes it back, so that decisions
//! whose append fails leave no trace.

use std::collections::BTreeMap;
use std::sync::Arc;

use rustmq_model::{PartitionId, TopicId};

use super::member::{CurrentAssignment, MemberSubscription};
use super::partitions::Assignment;
use super::records::{self, ConsumerRecordKind, GroupEpoch, TargetEpoch};
use crate::coordinator::{AppendId, CoordinatorRecord};
use crate::groups::identity::{InstanceId, MemberId};
use crate::groups::records::RecordError;

/// A value with the append that wrote its record; none if it was loaded.
#[derive(Clone, Debug)]
struct Slot<T> {
    value: Option<T>,
    stored_by: Option<AppendId>,
}

impl<T> Default for Slot<T> {
    fn default() -> Self {
        Self { value: None, stored_by: None }
    }
}

impl<T> Slot<T> {
    fn replace(&mut self, value: Option<T>, stored_by: Option<AppendId>) -> (Option<T>, Option<AppendId>) {
        let before = std::mem::replace(self, Self { value, stored_by });
        (before.value, before.stored_by)
    }
}

/// One member. Each part has a record of its own.
#[derive(Clone, Debug, Default)]
pub struct MemberImage {
    subscription: Slot<Arc<MemberSubscription>>,
    target: Slot<Arc<Assignment>>,
    current: Slot<Arc<CurrentAssignment>>,
}

impl MemberImage {
    #[must_use]
    pub fn subscription(&self) -> Option<&Arc<MemberSubscription>> {
        self.subscription.value.as_ref()
    }

    #[must_use]
    pub fn target(&self) -> Option<&Arc<Assignment>> {
        self.target.value.as_ref()
    }

    #[must_use]
    pub fn current(&self) -> Option<&Arc<CurrentAssignment>> {
        self.current.value.as_ref()
    }

    /// Whether the member uses the classic protocol.
    #[must_use]
    pub fn is_classic(&self) -> bool {
        self.subscription().is_some_and(|subscription| subscription.classic.is_some())
    }

    fn is_blank(&self) -> bool {
        self.subscription.value.is_none() && self.target.value.is_none() && self.current.value.is_none()
    }
}

/// The new value of one record; none is a tombstone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    Group(Option<GroupEpoch>),
    TargetEpoch(Option<TargetEpoch>),
    Member(MemberId, Option<Arc<MemberSubscription>>),
    Target(MemberId, Option<Arc<Assignment>>),
    Current(MemberId, Option<Arc<CurrentAssignment>>),
}

impl Change {
    const fn kind(&self) -> ConsumerRecordKind {
        match self {
            Self::Group(_) => ConsumerRecordKind::Group,
            Self::TargetEpoch(_) => ConsumerRecordKind::TargetEpoch,
            Self::Member(..) => ConsumerRecordKind::Member,
            Self::Target(..) => ConsumerRecordKind::Target,
            Self::Current(..) => ConsumerRecordKind::Current,
        }
    }

    fn member(&self) -> &str {
        match self {
            Self::Group(_) | Self::TargetEpoch(_) => "",
            Self::Member(member, _) | Self::Target(member, _) | Self::Current(member, _) => member.as_str(),
        }
    }

    /// Whether the change removes its record.
    #[must_use]
    pub const fn is_tombstone(&self) -> bool {
        match self {
            Self::Group(value) => value.is_none(),
            Self::TargetEpoch(value) => value.is_none(),
            Self::Member(_, value) => value.is_none(),
            Self::Target(_, value) => value.is_none(),
            Self::Current(_, value) => value.is_none(),
        }
    }

    /// The kind and the member of the record, which name it within its group.
    #[must_use]
    pub fn name(&self) -> (ConsumerRecordKind, &str) {
        (self.kind(), self.member())
    }

    /// The record of the change.
    ///
    /// # Errors
    /// [`RecordError::TooLong`] if the id of the group or of the member is too long for a key.
    pub fn record(&self, group: &str) -> Result<CoordinatorRecord, RecordError> {
        let key = records::encode_key(self.kind(), group, self.member())?;
        let value = match self {
            Self::Group(value) => value.map(records::encode_group),
            Self::TargetEpoch(value) => value.map(records::encode_target_epoch),
            Self::Member(_, value) => value.as_deref().map(records::encode_member),
            Self::Target(_, value) => value.as_deref().map(records::encode_target),
            Self::Current(_, value) => value.as_deref().map(records::encode_current),
        };
        Ok(CoordinatorRecord { key, value })
    }

    /// The change that a record of the log makes.
    ///
    /// # Errors
    /// [`RecordError`] if the value does not follow its schema.
    pub fn decode(kind: ConsumerRecordKind, member: &str, value: Option<&[u8]>) -> Result<Self, RecordError> {
        let member = MemberId::new(member);
        Ok(match kind {
            ConsumerRecordKind::Group => Self::Group(value.map(records::decode_group).transpose()?),
            ConsumerRecordKind::TargetEpoch => Self::TargetEpoch(value.map(records::decode_target_epoch).transpose()?),
            ConsumerRecordKind::Member => {
                Self::Member(member, value.map(records::decode_member).transpose()?.map(Arc::new))
            }
            ConsumerRecordKind::Target => {
                Self::Target(member, value.map(records::decode_target).transpose()?.map(Arc::new))
            }
            ConsumerRecordKind::Current => {
                Self::Current(member, value.map(records::decode_current).transpose()?.map(Arc::new))
            }
        })
    }
}

/// A change that takes another one back, and the append that had written the value before.
#[derive(Clone, Debug)]
pub struct Undo {
    pub change: Change,
    pub stored_by: Option<AppendId>,
}

impl Undo {
    /// Whether the record that was replaced is live until the replacing append is committed.
    #[must_use]
    pub const fn replaces_record(&self) -> bool {
        !self.change.is_tombstone()
    }
}

/// A consumer group, as its records describe it.
#[derive(Clone, Debug, Default)]
pub struct GroupImage {
    group: Slot<GroupEpoch>,
    target: Slot<TargetEpoch>,
    members: BTreeMap<MemberId, MemberImage>,
    /// The members with an instance id.
    instances: BTreeMap<InstanceId, MemberId>,
    /// The member that has each partition, or must revoke it.
    owners: BTreeMap<(TopicId, PartitionId), MemberId>,
}

impl GroupImage {
    #[must_use]
    pub fn epoch(&self) -> Option<GroupEpoch> {
        self.group.value
    }

    /// The epoch of the target assignment; zero before the first one.
    #[must_use]
    pub fn target_epoch(&self) -> i32 {
        self.target.value.map_or(0, |target| target.epoch)
    }

    #[must_use]
    pub const fn members(&self) -> &BTreeMap<MemberId, MemberImage> {
        &self.members
    }

    /// A member as it was before the changes that `undo` takes back.
    #[must_use]
    pub fn member_before(&self, id: &MemberId, undo: &[Undo]) -> MemberImage {
        let mut member = self.members.get(id).cloned().unwrap_or_default();
        for Undo { change, .. } in undo.iter().rev() {
            match change {
                Change::Member(of, value) if of == id => member.subscription.value.clone_from(value),
                Change::Target(of, value) if of == id => member.target.value.clone_from(value),
                Change::Current(of, value) if of == id => member.current.value.clone_from(value),
                _ => {}
            }
        }
        member
    }

    /// The epoch of the group before the changes that `undo` takes back.
    #[must_use]
    pub fn epoch_before(&self, undo: &[Undo]) -> i32 {
        let replaced = undo.iter().find_map(|undo| match undo.change {
            Change::Group(value) => Some(value),
            _ => None,
        });
        replaced.unwrap_or(self.group.value).map_or(0, |group| group.epoch)
    }

    #[must_use]
    pub fn member_of_instance(&self, instance: &InstanceId) -> Option<&MemberId> {
        self.instances.get(instance)
    }

    /// The member that has the partition, or that has not confirmed its revocation.
    #[must_use]
    pub fn owner(&self, topic: TopicId, partition: PartitionId) -> Option<&MemberId> {
        self.owners.get(&(topic, partition))
    }

    /// Whether no record is left.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        self.group.value.is_none() && self.target.value.is_none() && self.members.is_empty()
    }

    /// Applies a change that `stored_by` writes; none for a change that was loaded, or that is not
    /// appended yet.
    pub fn apply(&mut self, change: Change, stored_by: Option<AppendId>) -> Undo {
        let (change, stored_by) = match change {
            Change::Group(value) => {
                let (value, by) = self.group.replace(value, stored_by);
                (Change::Group(value), by)
            }
            Change::TargetEpoch(value) => {
                let (value, by) = self.target.replace(value, stored_by);
                (Change::TargetEpoch(value), by)
            }
            Change::Member(id, value) => {
                let instance = value.as_ref().and_then(|subscription| subscription.instance.clone());
                let (before, by) = self.member(&id).subscription.replace(value, stored_by);
                if let Some(instance) = before.as_ref().and_then(|before| before.instance.as_ref())
                    && self.instances.get(instance) == Some(&id)
                {
                    self.instances.remove(instance);
                }
                if let Some(instance) = instance {
                    self.instances.insert(instance, id.clone());
                }
                (Change::Member(id, before), by)
            }
            Change::Target(id, value) => {
                let (before, by) = self.member(&id).target.replace(value, stored_by);
                (Change::Target(id, before), by)
            }
            Change::Current(id, value) => {
                let (before, by) = self.member(&id).current.replace(value.clone(), stored_by);
                self.move_ownership(&id, before.as_deref(), value.as_deref());
                (Change::Current(id, before), by)
            }
        };
        if let Change::Member(id, _) | Change::Target(id, _) | Change::Current(id, _) = &change
            && self.members.get(id).is_some_and(MemberImage::is_blank)
        {
            self.members.remove(id);
        }
        Undo { change, stored_by }
    }

    fn member(&mut self, id: &MemberId) -> &mut MemberImage {
        self.members.entry(id.clone()).or_default()
    }

    fn move_ownership(&mut self, id: &MemberId, before: Option<&CurrentAssignment>, after: Option<&CurrentAssignment>) {
        for (topic, partition, _) in before.into_iter().flat_map(partitions_of) {
            if self.owners.get(&(topic, partition)) == Some(id) {
                self.owners.remove(&(topic, partition));
            }
        }
        for (topic, partition, _) in after.into_iter().flat_map(partitions_of) {
            self.owners.insert((topic, partition), id.clone());
        }
    }

    /// Notes the append that has written the record of this change, if the record still has this
    /// name.
    pub fn set_stored_by(&mut self, change: &Change, append: AppendId) {
        let stored_by = match change {
            Change::Group(_) => Some(&mut self.group.stored_by),
            Change::TargetEpoch(_) => Some(&mut self.target.stored_by),
            Change::Member(id, _) => self.members.get_mut(id).map(|member| &mut member.subscription.stored_by),
            Change::Target(id, _) => self.members.get_mut(id).map(|member| &mut member.target.stored_by),
            Change::Current(id, _) => self.members.get_mut(id).map(|member| &mut member.current.stored_by),
        };
        if let Some(stored_by) = stored_by {
            *stored_by = Some(append);
        }
    }

    /// Every record, as the change that would write it, with the append that wrote it.
    pub fn stored(&self) -> impl Iterator<Item = (Change, Option<AppendId>)> {
        let group = self.group.value.map(|value| (Change::Group(Some(value)), self.group.stored_by));
        let target = self.target.value.map(|value| (Change::TargetEpoch(Some(value)), self.target.stored_by));
        let members = self.members.iter().flat_map(|(id, member)| {
            let MemberImage { subscription, target, current } = member;
            let subscription =
                subscription.value.clone().map(|it| (Change::Member(id.clone(), Some(it)), subscription.stored_by));
            let target = target.value.clone().map(|it| (Change::Target(id.clone(), Some(it)), target.stored_by));
            let current = current.value.clone().map(|it| (Change::Current(id.clone(), Some(it)), current.stored_by));
            [subscription, target, current].into_iter().flatten()
        });
        group.into_iter().chain(target).chain(members)
    }

    /// Each partition that a member has, or must revoke, has that member alone as its owner.
    ///
    /// # Panics
    /// If two members have a partition, or if an index does not agree with the members.
    pub fn check_invariants(&self) {
        let mut owners = BTreeMap::new();
        let mut instances = BTreeMap::new();
        for (id, member) in &self.members {
            for (topic, partition, _) in member.current().into_iter().flat_map(|current| partitions_of(current)) {
                let other = owners.insert((topic, partition), id.clone());
                assert_eq!(other, None, "a partition has one owner: {topic}-{partition} of {id}");
            }
            if let Some(instance) = member.subscription().and_then(|it| it.instance.clone()) {
                let other = instances.insert(instance, id.clone());
                assert_eq!(other, None, "an instance id has one member");
            }
            assert!(!member.is_blank(), "a member has a record");
        }
        assert_eq!(self.owners, owners, "every partition that a member has is owned by it, and no other");
        assert_eq!(self.instances, instances, "every static member is found by its instance id");
    }
}

fn partitions_of(current: &CurrentAssignment) -> impl Iterator<Item = (TopicId, PartitionId, i32)> {
    current.assigned.iter().chain(current.revoking.iter())
}
