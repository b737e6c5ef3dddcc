//! All groups of one partition of `__consumer_offsets`: the machine of the group coordinator.
//!
//! The contract ([`crate::coordinator`]) loads and shortens the log, and keeps appends and timers.
//! `classic` decides for one group, and `offsets` keeps its committed offsets. This module finds or
//! makes the group of a request, writes records, and lets offsets expire.

mod append;
mod catalogue;
mod consumer;
mod invariants;
mod membership;
mod offset;
mod replay;
mod transaction;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use rustmq_model::{Offset, TopicName};

use self::append::Effect;
use super::classic::GroupAction;
use super::config::GroupConfig;
use super::consumer::topics::TopicCatalogue;
use super::error::GroupError;
use super::group::Group;
use super::identity::GroupId;
use super::offsets::GroupOffsets;
use super::records::{RecordError, encode_group_metadata_key, encode_group_metadata_value};
use super::request::{GroupEvent, GroupRequest, ReplyOutcome};
use super::task::{AssignmentResult, AssignmentTask};
use super::transactions::OpenTransactions;
use crate::coordinator::{
    AppendFailure, AppendId, Coordinator, CoordinatorError, CoordinatorMachine, CoordinatorRecord, LiveRecords, Now,
    Outbox, ReplayedMarker, ReplayedRecord, ReplyToken, RewritePoint, TaskId,
};

/// The coordinator of the groups of one partition.
pub type GroupCoordinator = Coordinator<Groups>;

/// The timers of a group coordinator.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum GroupTimer {
    /// The next timeout of this group.
    Group(GroupId),
    /// The next search for offsets that are over their retention time.
    OffsetRetention,
}

/// A group's record in the log.
#[derive(Debug)]
struct StoredRecord {
    value: Bytes,
    /// The append that wrote the record; none if it was loaded.
    stored_by: Option<AppendId>,
}

/// One group with its offsets.
#[derive(Debug)]
struct GroupEntry {
    group: Group,
    offsets: GroupOffsets,
    /// The group's record in the log, if it has one.
    stored: Option<StoredRecord>,
    /// The number of pending appends of this group.
    appends_pending: usize,
    /// The number of those that write or remove the group's record.
    group_records_pending: usize,
}

impl GroupEntry {
    fn new(group: Group) -> Self {
        Self { group, offsets: GroupOffsets::default(), stored: None, appends_pending: 0, group_records_pending: 0 }
    }
}

/// The groups of one partition, by their ids.
#[derive(Debug)]
pub struct Groups {
    config: Arc<GroupConfig>,
    groups: BTreeMap<GroupId, GroupEntry>,
    /// During a load: the topics of all committed offsets, so that offsets of one topic share its
    /// name in memory.
    loaded_topics: BTreeSet<TopicName>,
    transactions: OpenTransactions,
    /// The topics of the cluster, for the assignments of consumer groups.
    catalogue: TopicCatalogue,
}

impl Groups {
    #[must_use]
    pub fn new(config: GroupConfig) -> Self {
        Self::with_topics(config, TopicCatalogue::default())
    }

    /// Groups without state that know the topics of the cluster. The driver reports later changes
    /// by [`GroupEvent::TopicsChanged`].
    #[must_use]
    pub fn with_topics(config: GroupConfig, catalogue: TopicCatalogue) -> Self {
        Self {
            config: Arc::new(config),
            groups: BTreeMap::new(),
            loaded_topics: BTreeSet::new(),
            transactions: OpenTransactions::default(),
            catalogue,
        }
    }

    /// Executes the actions of a group, and sets its timer. Must be called after every input of the
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
                            if let Some(Group::Classic(group)) = self.groups.get_mut(id).map(|it| &mut it.group) {
                                group.on_record_failed(now, purpose, GroupError::RecordTooLarge);
                            }
                        }
                    }
                }
                GroupAction::StoreRecords(records) => self.store_consumer_group(id, records, outbox),
                GroupAction::ComputeTarget(input) => self.start_target(id, input, outbox),
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
    type Task = AssignmentTask;
    type TaskResult = AssignmentResult;
    type ReplayError = RecordError;

    fn replay(&mut self, record: ReplayedRecord<'_>) -> Result<(), RecordError> {
        self.replay_record(record)
    }

    fn replay_marker(&mut self, marker: ReplayedMarker) {
        self.replay_end(marker);
    }

    /// Starts the timers of the groups: every member gets a whole session.
    fn activate(&mut self, now: Now, outbox: &mut Outbox<Self>) {
        self.loaded_topics = BTreeSet::new();
        self.transactions.markers.start(now.instant);
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

    fn refuse(request: &GroupRequest, error: CoordinatorError) -> ReplyOutcome {
        if let Err(error) = request.check_group_id() {
            return request.refused(error);
        }
        match (request, error) {
            // All sessions start anew when the load ends, so that the member stays in its group.
            (GroupRequest::Heartbeat(_), CoordinatorError::Loading) => ReplyOutcome::Heartbeat(Ok(())),
            // The rebalance was lost with the earlier coordinator's memory: members have to join
            // again.
            (GroupRequest::Sync(_), CoordinatorError::Loading) => request.refused(GroupError::RebalanceInProgress),
            (_, error) => request.refused(error.into()),
        }
    }

    fn may_wait(request: &GroupRequest) -> bool {
        match request {
            GroupRequest::Heartbeat(_) => false,
            GroupRequest::ConsumerHeartbeat(request) => !request.is_keepalive(),
            // Nothing that others send may keep a transaction from its end.
            GroupRequest::WriteMarker(_) => false,
            _ => true,
        }
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
            GroupRequest::ConsumerHeartbeat(request) => self.consumer_heartbeat(now, token, request, outbox),
            GroupRequest::Leave(request) => self.leave(now, token, request, outbox),
            GroupRequest::CommitOffsets(request) => self.commit_offsets(now, token, request, outbox),
            GroupRequest::CommitTransactionalOffsets(request) => {
                self.commit_transactional_offsets(now, token, request, outbox);
            }
            GroupRequest::WriteMarker(marker) => self.write_marker(token, marker, outbox),
            GroupRequest::DeleteOffsets(request) => self.delete_offsets(token, request, outbox),
            GroupRequest::DeleteGroup(group) => self.delete_group(now, token, &group, outbox),
        }
    }

    fn on_event(&mut self, now: Now, event: GroupEvent, outbox: &mut Outbox<Self>) {
        match event {
            GroupEvent::TopicDeleted(topic) => self.forget_topic(&topic, outbox),
            GroupEvent::TopicsMissing(topics) => self.forget_missing(&topics, outbox),
            GroupEvent::TopicsChanged { catalogue, changed } => {
                self.change_topics(now, catalogue, changed.as_deref(), outbox);
            }
        }
    }

    fn on_task_done(&mut self, now: Now, task: TaskId, result: AssignmentResult, outbox: &mut Outbox<Self>) {
        let AssignmentResult { group: id, target } = result;
        if let Some(Group::Consumer(group)) = self.groups.get_mut(&id).map(|entry| &mut entry.group) {
            group.on_target(now, task, target);
        }
        self.settle(now, &id, outbox);
        self.drop_if_blank(&id);
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
        if let Some(group) = group {
            self.settle(now, &group, outbox);
        }
    }

    fn on_failed(&mut self, now: Now, effect: Effect, failure: AppendFailure, outbox: &mut Outbox<Self>) {
        let group = self.end_append(&effect);
        self.undo(now, effect, failure.into(), outbox);
        if let Some(group) = group {
            self.settle(now, &group, outbox);
            self.drop_if_blank(&group);
        }
    }

    fn keys(&self) -> Vec<GroupId> {
        self.group_ids()
    }

    fn live_records(&self, key: &GroupId, point: RewritePoint) -> LiveRecords {
        self.live_records_of(key, point)
    }

    fn first_fixed(&self) -> Option<Offset> {
        self.transactions.first_fixed()
    }

    fn check_invariants(&self, outbox: &Outbox<Self>) {
        self.check_groups();
        self.check_timers(outbox);
        self.check_appends(outbox);
        self.check_offsets(outbox);
        self.check_waiting(outbox);
        self.check_transactions();
    }
}

#[cfg(test)]
mod tests;
