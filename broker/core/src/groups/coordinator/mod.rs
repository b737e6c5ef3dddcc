//! All groups of one partition of `__consumer_offsets`: what a driver holds, one per partition that
//! this broker leads.
//!
//! It decides, and produces records; it does not append them, and it keeps no task, clock or
//! socket.
//!
//! ```text
//!   Loading -- replay every record, then activate --> Active -- unload --> Unloaded
//! ```
//!
//! How a driver uses it:
//! 1. [`GroupCoordinator::new`], [`GroupCoordinator::replay`] for each record of the partition from
//!    its start, [`GroupCoordinator::activate`]. Until then every request is told to try again.
//! 2. After each input: [`GroupCoordinator::poll_action`] until it gives nothing. Appends are
//!    executed in the order in which they come, each as one batch. The result goes into
//!    [`GroupCoordinator::on_record_committed`] or [`GroupCoordinator::on_record_failed`]; results
//!    may come in any order, they take effect in the order of the appends.
//! 3. [`GroupCoordinator::handle_timeout`] at [`GroupCoordinator::poll_timeout`].
//! 4. [`GroupCoordinator::unload`] when leadership is lost: everyone who waits is told.
//!
//! Every token that goes in comes out in exactly one reply.

mod append;
mod catalogue;
mod membership;
mod offset;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;
use rustmq_model::{Instant, Timestamp, TopicPartition};

pub use self::append::{Action, AppendId, CoordinatorRecord};
use self::append::{Effect, PendingAppend};
pub use self::catalogue::{LiveRecords, RewritePoint};
use super::classic::{ClassicGroup, GroupAction};
use super::config::GroupConfig;
use super::error::GroupError;
use super::identity::{GroupId, Now, ReplyToken};
use super::offsets::GroupOffsets;
use super::records::{
    RecordError, RecordKey, decode_group_metadata_value, decode_key, decode_offset_commit_value,
    encode_group_metadata_key, encode_group_metadata_value,
};
use super::request::{Reply, ReplyOutcome};

/// Where a coordinator stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CoordinatorState {
    /// Reading its partition.
    Loading,
    Active,
    /// No longer this broker's.
    Unloaded,
}

/// A group's record in the log.
#[derive(Debug)]
struct StoredRecord {
    value: Bytes,
    /// The append that wrote it; none if it was loaded.
    stored_by: Option<AppendId>,
}

/// One group with its offsets.
#[derive(Debug)]
struct GroupEntry {
    group: ClassicGroup,
    offsets: GroupOffsets,
    /// The group's record that the log holds.
    stored: Option<StoredRecord>,
    /// Appends of this group that the log has not answered, in their order.
    in_flight: VecDeque<AppendId>,
    /// Those of them that write or remove the group's record.
    records_in_flight: usize,
    /// The group's place in the coordinator's timers.
    timeout: Option<Instant>,
}

impl GroupEntry {
    fn new(group: ClassicGroup) -> Self {
        Self {
            group,
            offsets: GroupOffsets::default(),
            stored: None,
            in_flight: VecDeque::new(),
            records_in_flight: 0,
            timeout: None,
        }
    }
}

/// The coordinator of one partition. See the module.
#[derive(Debug)]
pub struct GroupCoordinator {
    config: Arc<GroupConfig>,
    state: CoordinatorState,
    groups: BTreeMap<GroupId, GroupEntry>,
    /// When each group that has a timer wants to be woken.
    timeouts: BTreeSet<(Instant, GroupId)>,
    next_retention_check: Option<Instant>,
    appends: VecDeque<PendingAppend>,
    next_append: AppendId,
    actions: VecDeque<Action>,
}

impl GroupCoordinator {
    /// A coordinator that is loading.
    #[must_use]
    pub fn new(config: GroupConfig) -> Self {
        Self {
            config: Arc::new(config),
            state: CoordinatorState::Loading,
            groups: BTreeMap::new(),
            timeouts: BTreeSet::new(),
            next_retention_check: None,
            appends: VecDeque::new(),
            next_append: AppendId(0),
            actions: VecDeque::new(),
        }
    }

    #[must_use]
    pub fn state(&self) -> CoordinatorState {
        self.state
    }

    /// Takes in one record of the partition. Records of kinds that are not kept here are passed
    /// over; a damaged one is an error and changes nothing.
    ///
    /// # Panics
    /// If the coordinator is not loading.
    pub fn replay(&mut self, key: &Bytes, value: Option<&Bytes>) -> Result<(), RecordError> {
        assert_eq!(self.state, CoordinatorState::Loading, "records are replayed before the coordinator is active");
        // Copied, since what is kept of it would otherwise pin the whole block that it was read in.
        let value = value.map(|value| Bytes::copy_from_slice(value));
        match decode_key(key.clone())? {
            RecordKey::OffsetCommit { group, partition } => match value {
                Some(value) => {
                    let offset = decode_offset_commit_value(value)?;
                    self.loaded_entry(GroupId::from(group)).offsets.replay(partition, offset);
                }
                None => self.forget_offset(&GroupId::from(group), &partition),
            },
            RecordKey::GroupMetadata { group } => {
                let group = GroupId::from(group);
                match value {
                    Some(value) => {
                        let metadata = decode_group_metadata_value(value.clone())?;
                        let machine = ClassicGroup::from_metadata(group.clone(), Arc::clone(&self.config), metadata);
                        let entry = self.loaded_entry(group);
                        entry.group = machine;
                        entry.stored = Some(StoredRecord { value, stored_by: None });
                    }
                    None => self.forget_group(&group, Timestamp::NONE),
                }
            }
            RecordKey::Other { .. } => {}
        }
        Ok(())
    }

    /// All records are read: the clocks of the groups start, and requests are served.
    pub fn activate(&mut self, now: Now) {
        if self.state != CoordinatorState::Loading {
            return;
        }
        self.state = CoordinatorState::Active;
        self.next_retention_check = Some(now.instant.plus(self.config.offsets_retention_check_interval));
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for id in ids {
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.group.activate(now);
            }
            self.settle(now, &id);
        }
    }

    /// The partition is no longer this broker's. Everyone who waits is told; appends that are on
    /// their way no longer matter.
    pub fn unload(&mut self) {
        self.state = CoordinatorState::Unloaded;
        let mut groups = std::mem::take(&mut self.groups);
        for entry in groups.values_mut() {
            entry.group.abandon();
            while let Some(action) = entry.group.poll_action() {
                if let GroupAction::Reply(reply) = action {
                    self.actions.push_back(Action::Reply(reply));
                }
            }
        }
        // What was not handed out yet is not appended any more.
        self.actions.retain(|action| matches!(action, Action::Reply(_)));
        for append in std::mem::take(&mut self.appends) {
            self.answer_abandoned(append.effect);
        }
        self.timeouts.clear();
        self.next_retention_check = None;
    }

    /// The next thing to do, in order.
    pub fn poll_action(&mut self) -> Option<Action> {
        self.actions.pop_front()
    }

    /// When [`Self::handle_timeout`] wants to be called.
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timeouts.first().map(|(at, _)| *at).into_iter().chain(self.next_retention_check).min()
    }

    /// Does what is due.
    pub fn handle_timeout(&mut self, now: Now) {
        let due: Vec<GroupId> =
            self.timeouts.iter().take_while(|(at, _)| *at <= now.instant).map(|(_, id)| id.clone()).collect();
        for id in due {
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.group.handle_timeout(now);
            }
            self.settle(now, &id);
            self.drop_if_blank(&id);
        }
        if self.next_retention_check.is_some_and(|at| at <= now.instant) {
            self.next_retention_check = Some(now.instant.plus(self.config.offsets_retention_check_interval));
            self.expire_offsets(now);
        }
    }

    /// # Panics
    /// If the coordinator or one of its groups contradicts itself.
    pub fn check_invariants(&self) {
        if self.state != CoordinatorState::Active {
            assert!(self.timeouts.is_empty(), "no clock runs unless the coordinator is active");
            return;
        }
        for (id, entry) in &self.groups {
            assert_eq!(id, entry.group.id(), "a group is kept under its name");
            entry.group.check_invariants();
            assert_eq!(entry.timeout, entry.group.poll_timeout(), "a group's timer is set");
            assert!(entry.timeout.is_none_or(|at| self.timeouts.contains(&(at, id.clone()))), "a set timer is kept");
            let in_flight: VecDeque<_> =
                self.appends.iter().filter(|append| append.effect.group() == id).map(PendingAppend::id).collect();
            assert_eq!(entry.in_flight, in_flight, "a group knows its appends");
        }
        let timer_count = self.groups.values().filter(|entry| entry.timeout.is_some()).count();
        assert_eq!(self.timeouts.len(), timer_count, "no timer is left behind");
    }

    /// Why no request is served now, if so.
    fn refusal(&self) -> Option<GroupError> {
        match self.state {
            CoordinatorState::Active => None,
            CoordinatorState::Loading => Some(GroupError::CoordinatorLoadInProgress),
            CoordinatorState::Unloaded => Some(GroupError::NotCoordinator),
        }
    }

    fn reply(&mut self, token: ReplyToken, outcome: ReplyOutcome) {
        self.actions.push_back(Action::Reply(Reply { token, outcome }));
    }

    /// Carries out what a group wants, and keeps its timer: to be called after every input of a
    /// group.
    fn settle(&mut self, now: Now, id: &GroupId) {
        while let Some(action) = self.groups.get_mut(id).and_then(|entry| entry.group.poll_action()) {
            match action {
                GroupAction::Reply(reply) => self.actions.push_back(Action::Reply(reply)),
                GroupAction::Store { metadata, purpose } => {
                    let key = encode_group_metadata_key(id.as_str());
                    match (key, encode_group_metadata_value(&metadata)) {
                        (Ok(key), Ok(value)) => {
                            let record = CoordinatorRecord { key, value: Some(value.clone()) };
                            self.append(vec![record], Effect::Group { group: id.clone(), value, purpose });
                        }
                        _ => {
                            if let Some(entry) = self.groups.get_mut(id) {
                                entry.group.on_record_failed(now, purpose, GroupError::RecordTooLarge);
                            }
                        }
                    }
                }
            }
        }
        self.keep_timer(id);
    }

    fn keep_timer(&mut self, id: &GroupId) {
        let Some(entry) = self.groups.get_mut(id) else { return };
        let timeout = entry.group.poll_timeout();
        if timeout == entry.timeout {
            return;
        }
        if let Some(before) = std::mem::replace(&mut entry.timeout, timeout) {
            self.timeouts.remove(&(before, id.clone()));
        }
        if let Some(at) = timeout {
            self.timeouts.insert((at, id.clone()));
        }
    }

    /// The group of a record that is replayed; offsets may come before the group, or without one.
    fn loaded_entry(&mut self, id: GroupId) -> &mut GroupEntry {
        let config = &self.config;
        self.groups
            .entry(id.clone())
            .or_insert_with(|| GroupEntry::new(ClassicGroup::new(id, Arc::clone(config), Timestamp::NONE)))
    }

    fn forget_offset(&mut self, id: &GroupId, partition: &TopicPartition) {
        let Some(entry) = self.groups.get_mut(id) else { return };
        entry.offsets.remove(partition);
        if self.state == CoordinatorState::Loading && entry.stored.is_none() && entry.offsets.is_empty() {
            self.groups.remove(id);
        }
    }

    /// The log holds a tombstone of the group. Offsets that it still holds stay, as those of a
    /// group without members.
    fn forget_group(&mut self, id: &GroupId, now: Timestamp) {
        let Some(entry) = self.groups.get_mut(id) else { return };
        if let Some(at) = entry.timeout.take() {
            self.timeouts.remove(&(at, id.clone()));
        }
        if entry.offsets.is_empty() {
            self.groups.remove(id);
        } else {
            entry.group = ClassicGroup::new(id.clone(), Arc::clone(&self.config), now);
            entry.stored = None;
        }
    }
}

#[cfg(test)]
mod tests;
