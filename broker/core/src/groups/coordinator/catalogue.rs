//! Looking at groups and deleting them: describe, list, delete, counts, and the records that the
//! log has to keep.

use std::collections::BTreeMap;

use super::append::{AppendId, CoordinatorRecord, Effect};
use super::{GroupCoordinator, StoredRecord};
use crate::groups::error::GroupError;
use crate::groups::identity::{GroupId, Now, ReplyToken};
use crate::groups::records::{encode_group_metadata_key, encode_offset_commit_key, encode_offset_commit_value};
use crate::groups::request::{GroupDescription, GroupListing, ReplyOutcome};
use crate::groups::state::ClassicState;

/// The moment from which on a log is to hold everything that is live. See
/// [`GroupCoordinator::live_records`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RewritePoint(AppendId);

/// What has to be written again for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LiveRecords {
    /// These: they were stored before the point, and nothing that changes them is on its way.
    Records(Vec<CoordinatorRecord>),
    /// What is on its way decides about it: ask again when that is answered.
    InFlight,
    /// Nothing: the log holds all of it from the point on, or the group is gone.
    Nothing,
}

impl GroupCoordinator {
    /// DescribeGroups, for one group. A group that does not exist is `Dead`.
    pub fn describe(&self, group: &GroupId) -> Result<GroupDescription, GroupError> {
        self.admit_request(group)?;
        Ok(self.groups.get(group).map_or_else(
            || GroupDescription {
                group: group.clone(),
                state: ClassicState::Dead,
                protocol_type: String::new(),
                protocol: String::new(),
                members: Vec::new(),
            },
            |entry| entry.group.description(),
        ))
    }

    /// ListGroups: all of them; filters are the caller's.
    pub fn list(&self) -> Result<Vec<GroupListing>, GroupError> {
        match self.refusal() {
            Some(error) => Err(error),
            None => Ok(self.groups.values().map(|entry| entry.group.listing()).collect()),
        }
    }

    /// DeleteGroups, for one group: its offsets and then itself. Answered when that is stored.
    pub fn handle_delete_group(&mut self, now: Now, token: ReplyToken, group: &GroupId) {
        let checked = self.admit_request(group).and_then(|()| {
            let entry = self.groups.get(group).ok_or(GroupError::GroupIdNotFound)?;
            match entry.group.state() {
                ClassicState::Empty => Ok(entry.offsets.known_partitions()),
                ClassicState::Dead => Err(GroupError::GroupIdNotFound),
                _ => Err(GroupError::NonEmptyGroup),
            }
        });
        match checked {
            Ok(partitions) => {
                self.append_tombstones(group, &partitions, None);
                self.append_group_tombstone(now, group, Some(token));
            }
            Err(error) => self.reply(token, ReplyOutcome::DeleteGroup(Err(error))),
        }
    }

    /// Writes the tombstone of a group without members, whose offsets have theirs before it.
    pub(super) fn append_group_tombstone(&mut self, now: Now, id: &GroupId, token: Option<ReplyToken>) {
        let entry = self.groups.get_mut(id).expect("the caller has found the group");
        entry.group.begin_deletion(now).expect("the caller has seen that the group is empty");
        let key = encode_group_metadata_key(id.as_str()).expect("group ids over the limit are refused");
        let records = vec![CoordinatorRecord { key, value: None }];
        self.append(records, Effect::GroupRemoval { group: id.clone(), token });
        self.settle(now, id);
    }

    /// Every group that is known, for going through [`Self::live_records`].
    #[must_use]
    pub fn group_ids(&self) -> Vec<GroupId> {
        self.groups.keys().cloned().collect()
    }

    /// Now, as the point that a log is shortened to: every append made from here on lies above what
    /// it holds now.
    #[must_use]
    pub const fn rewrite_point(&self) -> RewritePoint {
        RewritePoint(self.next_append)
    }

    /// The records of a group that a log shortened to this point would lack.
    ///
    /// A driver appends them before anything that it polls later, for one group after the other;
    /// when no group that existed at the point has any left, and all were stored, what the log held
    /// at the point is no longer needed.
    ///
    /// Groups go on meanwhile. The first append after the point that is stored for a key settles
    /// that key for good, so that a group that never rests is done as well: it waits for appends
    /// made before the point, and for the first one after it of each key.
    #[must_use]
    pub fn live_records(&self, group: &GroupId, point: RewritePoint) -> LiveRecords {
        let RewritePoint(point) = point;
        let Some(entry) = self.groups.get(group) else { return LiveRecords::Nothing };
        if entry.in_flight.front().is_some_and(|append| *append < point) {
            return LiveRecords::InFlight;
        }
        let is_above = |stored_by: Option<AppendId>| stored_by.is_some_and(|append| append >= point);
        let mut records = Vec::new();
        if let Some(StoredRecord { value, stored_by }) = &entry.stored
            && !is_above(*stored_by)
            && let Ok(key) = encode_group_metadata_key(group.as_str())
        {
            if entry.records_in_flight > 0 {
                return LiveRecords::InFlight;
            }
            records.push(CoordinatorRecord { key, value: Some(value.clone()) });
        }
        for (partition, offset, stored_by) in entry.offsets.stored() {
            if is_above(stored_by) {
                continue;
            }
            // Written after what is on its way, the older offset would win when the log is loaded.
            if entry.offsets.is_in_flight(partition) {
                return LiveRecords::InFlight;
            }
            // Both were encoded once to get into the log.
            if let (Ok(key), Ok(value)) =
                (encode_offset_commit_key(group.as_str(), partition), encode_offset_commit_value(offset))
            {
                records.push(CoordinatorRecord { key, value: Some(value) });
            }
        }
        if records.is_empty() { LiveRecords::Nothing } else { LiveRecords::Records(records) }
    }

    /// How many groups are in each state.
    #[must_use]
    pub fn group_counts(&self) -> BTreeMap<ClassicState, usize> {
        let mut counts: BTreeMap<_, _> = ClassicState::ALL.into_iter().map(|state| (state, 0)).collect();
        for entry in self.groups.values() {
            *counts.entry(entry.group.state()).or_default() += 1;
        }
        counts
    }

    /// How many offsets are stored.
    #[must_use]
    pub fn offset_count(&self) -> usize {
        self.groups.values().map(|entry| entry.offsets.len()).sum()
    }

    /// How many members all groups have.
    #[must_use]
    pub fn member_count(&self) -> usize {
        self.groups.values().map(|entry| entry.group.member_count()).sum()
    }
}
