//! All groups of one partition of `__consumer_offsets`: the machine of the group coordinator.
//!
//! Loading, appends, timers and shortening of the log are the contract's ([`crate::coordinator`]).
//! One group decides in `classic`; what it committed is kept beside it in `offsets`; here are
//! requests that find or make a group, records, and expiry.

mod append;
mod catalogue;
mod membership;
mod offset;
mod replay;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rustmq_model::TopicName;

use self::append::Effect;
use super::classic::GroupAction;
use super::config::GroupConfig;
use super::error::GroupError;
use super::group::Group;
use super::identity::GroupId;
use super::offsets::GroupOffsets;
use super::records::{RecordError, encode_group_metadata_key, encode_group_metadata_value};
use super::request::{GroupEvent, GroupRequest, ReplyOutcome};
use crate::coordinator::{
    AppendFailure, AppendId, Coordinator, CoordinatorMachine, CoordinatorRecord, LiveRecords, Now, Outbox, Refusal,
    ReplayedRecord, ReplyToken, RewritePoint,
};

/// The coordinator of the groups of one partition.
pub type GroupCoordinator = Coordinator<Groups>;

/// The timers of a group coordinator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupTimer {
    /// The next moment at which this group has something to do.
    Group(GroupId),
    /// Offsets are looked through for those over their retention.
    OffsetRetention,
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
    group: Group,
    offsets: GroupOffsets,
    /// The group's record that the log holds.
    stored: Option<StoredRecord>,
    /// Appends of this group that are pending.
    appends_pending: usize,
    /// Those of them that write or remove the group's record.
    group_records_pending: usize,
}

impl GroupEntry {
    fn new(group: Group) -> Self {
        Self { group, offsets: GroupOffsets::default(), stored: None, appends_pending: 0, group_records_pending: 0 }
    }
}

/// The groups of one partition, by their ids. See the module.
#[derive(Debug)]
pub struct Groups {
    config: Arc<GroupConfig>,
    groups: BTreeMap<GroupId, GroupEntry>,
    /// While the log is replayed: each topic of a committed offset, so that all offsets share its
    /// name.
    loaded_topics: BTreeSet<TopicName>,
}

impl Groups {
    #[must_use]
    pub fn new(config: GroupConfig) -> Self {
        Self { config: Arc::new(config), groups: BTreeMap::new(), loaded_topics: BTreeSet::new() }
    }

    /// Carries out what a group wants, and keeps its timer: to be called after every input of a
    /// group.
    fn settle(&mut self, now: Now, id: &GroupId, outbox: &mut Outbox<Self>) {
        while let Some(action) = self.groups.get_mut(id).and_then(|entry| entry.group.poll_action()) {
            match action {
                GroupAction::Reply(reply) => outbox.reply(reply.token, reply.outcome),
                GroupAction::Store { metadata, purpose } => {
                    let key = encode_group_metadata_key(id.as_str());
                    match (key, encode_group_metadata_value(&metadata)) {
                        (Ok(key), Ok(value)) => {
                            let record = CoordinatorRecord { key, value: Some(value.clone()) };
                            let effect = Effect::ClassicGroup { group: id.clone(), value, purpose };
                            self.append(vec![record], effect, outbox);
                        }
                        _ => {
                            if let Some(entry) = self.groups.get_mut(id) {
                                let Group::Classic(group) = &mut entry.group;
                                group.on_record_failed(now, purpose, GroupError::RecordTooLarge);
                            }
                        }
                    }
                }
            }
        }
        let timeout = self.groups.get(id).and_then(|entry| entry.group.poll_timeout());
        outbox.set_timer(GroupTimer::Group(id.clone()), timeout);
    }
}

impl CoordinatorMachine for Groups {
    type Request = GroupRequest;
    type Outcome = ReplyOutcome;
    type Event = GroupEvent;
    type Key = GroupId;
    type Timer = GroupTimer;
    type Effect = Effect;
    type ReplayError = RecordError;

    fn replay(&mut self, record: ReplayedRecord<'_>) -> Result<(), RecordError> {
        self.replay_record(record)
    }

    /// The clocks of the groups start: every member gets a whole session.
    fn activate(&mut self, now: Now, outbox: &mut Outbox<Self>) {
        self.loaded_topics = BTreeSet::new();
        let check_at = now.instant.plus(self.config.offsets_retention_check_interval);
        outbox.set_timer(GroupTimer::OffsetRetention, Some(check_at));
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for id in ids {
            if let Some(entry) = self.groups.get_mut(&id) {
                entry.group.activate(now);
            }
            self.settle(now, &id, outbox);
        }
    }

    fn refuse(request: &GroupRequest, refusal: Refusal) -> ReplyOutcome {
        if let Err(error) = request.check_group_id() {
            return request.refused(error);
        }
        match (request, refusal) {
            // Sessions start anew when loading ends, so that a member may take itself for heard.
            (GroupRequest::Heartbeat(_), Refusal::Loading) => ReplyOutcome::Heartbeat(Ok(())),
            // What members knew of a rebalance is lost with the coordinator's memory: they begin
            // anew with a join.
            (GroupRequest::Sync(_), Refusal::Loading) => request.refused(GroupError::RebalanceInProgress),
            (_, refusal) => request.refused(refusal.into()),
        }
    }

    fn may_wait(request: &GroupRequest) -> bool {
        !matches!(request, GroupRequest::Heartbeat(_))
    }

    fn handle_request(&mut self, now: Now, token: ReplyToken, request: GroupRequest, outbox: &mut Outbox<Self>) {
        if let Err(error) = request.check_group_id() {
            outbox.reply(token, request.refused(error));
            return;
        }
        match request {
            GroupRequest::Join(request) => self.join(now, token, request, outbox),
            GroupRequest::Sync(request) => self.sync(now, token, request, outbox),
            GroupRequest::Heartbeat(request) => self.heartbeat(now, token, &request, outbox),
            GroupRequest::Leave(request) => self.leave(now, token, request, outbox),
            GroupRequest::CommitOffsets(request) => self.commit_offsets(now, token, request, outbox),
            GroupRequest::DeleteOffsets(request) => self.delete_offsets(token, request, outbox),
            GroupRequest::DeleteGroup(group) => self.delete_group(now, token, &group, outbox),
        }
    }

    fn on_event(&mut self, _now: Now, event: GroupEvent, outbox: &mut Outbox<Self>) {
        match event {
            GroupEvent::TopicDeleted(topic) => self.forget_topic(&topic, outbox),
            GroupEvent::TopicsMissing(topics) => self.forget_missing(&topics, outbox),
        }
    }

    fn on_timer(&mut self, now: Now, timer: GroupTimer, outbox: &mut Outbox<Self>) {
        match timer {
            GroupTimer::Group(id) => {
                if let Some(entry) = self.groups.get_mut(&id) {
                    entry.group.handle_timeout(now);
                }
                self.settle(now, &id, outbox);
                self.drop_if_blank(&id);
            }
            GroupTimer::OffsetRetention => {
                let check_at = now.instant.plus(self.config.offsets_retention_check_interval);
                outbox.set_timer(GroupTimer::OffsetRetention, Some(check_at));
                self.expire_offsets(now, outbox);
            }
        }
    }

    fn on_committed(&mut self, now: Now, append: AppendId, effect: Effect, outbox: &mut Outbox<Self>) {
        let group = self.end_append(&effect);
        self.apply(now, append, effect, outbox);
        self.settle(now, &group, outbox);
    }

    fn on_failed(&mut self, now: Now, effect: Effect, failure: AppendFailure, outbox: &mut Outbox<Self>) {
        let group = self.end_append(&effect);
        self.undo(now, effect, failure.into(), outbox);
        self.settle(now, &group, outbox);
    }

    fn keys(&self) -> Vec<GroupId> {
        self.group_ids()
    }

    fn live_records(&self, key: &GroupId, point: RewritePoint) -> LiveRecords {
        self.live_records_of(key, point)
    }

    fn check_invariants(&self, outbox: &Outbox<Self>) {
        let mut pending: BTreeMap<&GroupId, usize> = BTreeMap::new();
        for effect in outbox.pending_effects() {
            *pending.entry(effect.group()).or_default() += 1;
        }
        for (id, entry) in &self.groups {
            assert_eq!(id, entry.group.id(), "a group is kept under its name");
            entry.group.check_invariants();
            let timer = outbox.timer(&GroupTimer::Group(id.clone()));
            assert_eq!(timer, entry.group.poll_timeout(), "a group's timer is set");
            assert_eq!(entry.appends_pending, pending.remove(id).unwrap_or(0), "a group knows its appends");
        }
        assert!(pending.is_empty(), "a group outlives its appends: {pending:?}");
        let timers = self.groups.values().filter(|entry| entry.group.poll_timeout().is_some()).count();
        let retention = outbox.timer(&GroupTimer::OffsetRetention).map_or(0, |_| 1);
        assert_eq!(outbox.timer_count(), timers + retention, "no timer is left behind");
    }
}

#[cfg(test)]
mod tests;
