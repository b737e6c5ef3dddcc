//! Descriptions, lists and counts of groups, their deletion, and their live records.

use std::collections::BTreeMap;

use super::append::Effect;
use super::{Groups, StoredRecord};
use crate::coordinator::{CoordinatorRecord, LiveRecords, Now, Outbox, ReplyToken, RewritePoint};
use crate::groups::error::GroupError;
use crate::groups::group::Group;
use crate::groups::identity::GroupId;
use crate::groups::records::{encode_group_metadata_key, encode_offset_commit_key, encode_offset_commit_value};
use crate::groups::request::{GroupDescription, GroupListing, ReplyOutcome};
use crate::groups::state::{ClassicState, GroupState};

impl Groups {
    /// DescribeGroups, for one group. A group that does not exist is `Dead`.
    ///
    /// # Errors
    /// [`GroupError::InvalidGroupId`] if the id is too long for a record.
    pub fn describe(&self, group: &GroupId) -> Result<GroupDescription, GroupError> {
        group.check_length()?;
        Ok(self.groups.get(group).map_or_else(|| GroupDescription::dead(group), |entry| entry.group.description()))
    }

    /// ListGroups: all groups. The caller applies filters.
    #[must_use]
    pub fn list(&self) -> Vec<GroupListing> {
        self.groups.values().map(|entry| entry.group.listing()).collect()
    }

    /// The ids of all groups.
    #[must_use]
    pub fn group_ids(&self) -> Vec<GroupId> {
        self.groups.keys().cloned().collect()
    }

    /// DeleteGroups, for one group: writes tombstones of its offsets and then of the group itself.
    /// Answered when all are stored.
    pub(super) fn delete_group(&mut self, now: Now, token: ReplyToken, group: &GroupId, outbox: &mut Outbox<Self>) {
        let checked = self.groups.get(group).ok_or(GroupError::GroupIdNotFound);
        let checked = checked.and_then(|entry| match (entry.group.state(), &entry.group) {
            (GroupState::Classic(ClassicState::Empty), _) => Ok(entry.offsets.known_partitions()),
            (_, Group::Consumer(group)) if group.is_unused() => Ok(entry.offsets.known_partitions()),
            (state, _) if state.is_dead() => Err(GroupError::GroupIdNotFound),
            _ => Err(GroupError::NonEmptyGroup),
        });
        match checked {
            Ok(partitions) => {
                self.append_tombstones(group, &partitions, None, outbox);
                self.append_group_tombstone(now, group, Some(token), outbox);
            }
            Err(error) => outbox.reply(token, ReplyOutcome::DeleteGroup(Err(error))),
        }
    }

    /// Writes the tombstone of a group without members. The tombstones of its offsets come before
    /// it.
    pub(super) fn append_group_tombstone(
        &mut self,
        now: Now,
        id: &GroupId,
        token: Option<ReplyToken>,
        outbox: &mut Outbox<Self>,
    ) {
        let entry = self.groups.get_mut(id).expect("the caller has found the group");
        let records = entry.group.begin_deletion(now).expect("the caller has seen that the group is empty");
        self.append(records, Effect::GroupRemoval { group: id.clone(), token }, outbox);
        self.settle(now, id, outbox);
    }

    pub(super) fn live_records_of(&self, group: &GroupId, point: RewritePoint) -> LiveRecords {
        let Some(entry) = self.groups.get(group) else { return LiveRecords::Nothing };
        let mut records = Vec::new();
        if let Some(StoredRecord { value, stored_by }) = &entry.stored
            && !point.keeps(*stored_by)
            && let Ok(key) = encode_group_metadata_key(group.as_str())
        {
            if entry.group_records_pending > 0 {
                return LiveRecords::Pending;
            }
            records.push(CoordinatorRecord { key, value: Some(value.clone()) });
        }
        if let Group::Consumer(group) = &entry.group {
            match group.live_records(point) {
                Some(of_group) => records.extend(of_group),
                None => return LiveRecords::Pending,
            }
        }
        for (partition, offset, stored_by) in entry.offsets.stored() {
            if point.keeps(stored_by) {
                continue;
            }
            if entry.offsets.is_pending(partition) {
                return LiveRecords::Pending;
            }
            // The end of an open transaction may replace it, by their order in the log: it stays
            // where it is, and so does the transaction.
            if entry.offsets.transactional.contains(partition) {
                continue;
            }
            // Encoding cannot fail: both were encoded before, when they were written.
            if let (Ok(key), Ok(value)) =
                (encode_offset_commit_key(group.as_str(), partition), encode_offset_commit_value(offset))
            {
                records.push(CoordinatorRecord { key, value: Some(value) });
            }
        }
        if records.is_empty() { LiveRecords::Nothing } else { LiveRecords::Records(records) }
    }

    /// The number of groups in each state.
    #[must_use]
    pub fn group_counts(&self) -> BTreeMap<GroupState, usize> {
        let mut counts: BTreeMap<_, _> = GroupState::all().map(|state| (state, 0)).collect();
        for entry in self.groups.values() {
            *counts.entry(entry.group.state()).or_default() += 1;
        }
        counts
    }

    /// The number of stored offsets.
    #[must_use]
    pub fn offset_count(&self) -> usize {
        self.groups.values().map(|entry| entry.offsets.len()).sum()
    }

    /// The number of members of all groups.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.groups.values().map(|entry| entry.group.member_count()).sum()
    }
}
