//! Appends on their way to the log: what each one changes when it is stored, and who is answered
//! then.

use bytes::Bytes;
use rustmq_model::TopicPartition;

use super::{GroupCoordinator, StoredRecord};
use crate::groups::classic::StorePurpose;
use crate::groups::error::GroupError;
use crate::groups::identity::{GroupId, Now, ReplyToken};
use crate::groups::offsets::CommittedOffset;
use crate::groups::request::{PartitionOutcomes, Reply, ReplyOutcome};

/// Names an append, in the order in which they were made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AppendId(pub u64);

/// One record for the coordinator's partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoordinatorRecord {
    pub key: Bytes,
    /// None is a tombstone.
    pub value: Option<Bytes>,
}

/// What the driver has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Reply(Reply),
    /// Append these as one batch, after every append before it, and report the result under its id.
    AppendRecords {
        append: AppendId,
        records: Vec<CoordinatorRecord>,
    },
}

/// What an append changes when it is stored.
#[derive(Debug)]
pub(super) enum Effect {
    Group {
        group: GroupId,
        value: Bytes,
        purpose: StorePurpose,
    },
    OffsetCommit {
        group: GroupId,
        token: ReplyToken,
        offsets: Vec<(TopicPartition, CommittedOffset)>,
        outcomes: PartitionOutcomes,
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
    pub(super) fn group(&self) -> &GroupId {
        match self {
            Self::Group { group, .. }
            | Self::OffsetCommit { group, .. }
            | Self::OffsetRemoval { group, .. }
            | Self::GroupRemoval { group, .. } => group,
        }
    }

    /// Whether it writes, or removes, the record of the group itself.
    fn is_of_group_record(&self) -> bool {
        matches!(self, Self::Group { .. } | Self::GroupRemoval { .. })
    }
}

/// An append that the log has not answered, or whose answer waits for those before it.
#[derive(Debug)]
pub(super) struct PendingAppend {
    id: AppendId,
    pub(super) effect: Effect,
    result: Option<Result<(), GroupError>>,
}

impl PendingAppend {
    pub(super) const fn id(&self) -> AppendId {
        self.id
    }
}

impl GroupCoordinator {
    pub(super) fn append(&mut self, records: Vec<CoordinatorRecord>, effect: Effect) {
        let id = self.next_append;
        self.next_append = AppendId(id.0 + 1);
        if let Some(entry) = self.groups.get_mut(effect.group()) {
            entry.in_flight.push_back(id);
            if effect.is_of_group_record() {
                entry.records_in_flight += 1;
            }
        }
        self.appends.push_back(PendingAppend { id, effect, result: None });
        self.actions.push_back(Action::AppendRecords { append: id, records });
    }

    /// An append is stored, as far as its log promises: what it says is shown from now on.
    pub fn on_record_committed(&mut self, now: Now, append: AppendId) {
        self.end_append(now, append, Ok(()));
    }

    /// An append is not stored: what it says is not shown, and who waits for it gets this error.
    pub fn on_record_failed(&mut self, now: Now, append: AppendId, error: GroupError) {
        self.end_append(now, append, Err(error));
    }

    fn end_append(&mut self, now: Now, append: AppendId, result: Result<(), GroupError>) {
        // After an unload the results of old appends still come in; they no longer name anything.
        if let Ok(index) = self.appends.binary_search_by_key(&append, |pending| pending.id) {
            self.appends[index].result = Some(result);
        }
        while self.appends.front().is_some_and(|pending| pending.result.is_some()) {
            let PendingAppend { id, effect, result } = self.appends.pop_front().expect("the front was just seen");
            let group = effect.group().clone();
            if let Some(entry) = self.groups.get_mut(&group) {
                entry.in_flight.pop_front();
                if effect.is_of_group_record() {
                    entry.records_in_flight -= 1;
                }
            }
            match result.expect("the front was just seen to have a result") {
                Ok(()) => self.apply(now, id, effect),
                Err(error) => self.give_up(now, effect, error),
            }
            self.settle(now, &group);
        }
    }

    fn apply(&mut self, now: Now, id: AppendId, effect: Effect) {
        match effect {
            Effect::Group { group, value, purpose } => {
                let entry = self.groups.get_mut(&group).expect("a group outlives the appends before its tombstone");
                entry.stored = Some(StoredRecord { value, stored_by: Some(id) });
                entry.group.on_record_committed(now, purpose);
            }
            Effect::OffsetCommit { group, token, offsets, outcomes } => {
                let entry = self.groups.get_mut(&group).expect("a group outlives the appends before its tombstone");
                for (partition, offset) in offsets {
                    entry.offsets.end_commit(partition, Some((offset, id)));
                }
                self.reply(token, ReplyOutcome::OffsetCommit(Ok(outcomes)));
            }
            Effect::OffsetRemoval { group, partitions, reply } => {
                self.end_removal(&group, &partitions);
                for partition in &partitions {
                    self.forget_offset(&group, partition);
                }
                if let Some((token, outcomes)) = reply {
                    self.reply(token, ReplyOutcome::OffsetDelete(Ok(outcomes)));
                }
            }
            Effect::GroupRemoval { group, token } => {
                self.forget_group(&group, now.wall);
                if let Some(token) = token {
                    // Offsets are left if one of the tombstones before this one was not stored.
                    let is_whole = !self.groups.contains_key(&group);
                    let outcome = if is_whole { Ok(()) } else { Err(GroupError::CoordinatorNotAvailable) };
                    self.reply(token, ReplyOutcome::DeleteGroup(outcome));
                }
            }
        }
    }

    fn give_up(&mut self, now: Now, effect: Effect, error: GroupError) {
        match effect {
            Effect::Group { group, purpose, .. } => {
                let entry = self.groups.get_mut(&group).expect("a group outlives the appends before its tombstone");
                entry.group.on_record_failed(now, purpose, error);
            }
            Effect::OffsetCommit { group, token, offsets, .. } => {
                let entry = self.groups.get_mut(&group).expect("a group outlives the appends before its tombstone");
                for (partition, _) in offsets {
                    entry.offsets.end_commit(partition, None);
                }
                self.reply(token, ReplyOutcome::OffsetCommit(Err(error)));
            }
            Effect::OffsetRemoval { group, partitions, reply } => {
                self.end_removal(&group, &partitions);
                if let Some((token, _)) = reply {
                    self.reply(token, ReplyOutcome::OffsetDelete(Err(error)));
                }
            }
            Effect::GroupRemoval { group, token } => {
                let entry = self.groups.get_mut(&group).expect("a group outlives the appends before its tombstone");
                entry.group.undo_deletion(now);
                if let Some(token) = token {
                    self.reply(token, ReplyOutcome::DeleteGroup(Err(error)));
                }
            }
        }
    }

    fn end_removal(&mut self, group: &GroupId, partitions: &[TopicPartition]) {
        let entry = self.groups.get_mut(group).expect("a group outlives the appends before its tombstone");
        for partition in partitions {
            entry.offsets.end_removal(partition);
        }
    }

    /// Answers who waits for an append whose result will not matter any more.
    pub(super) fn answer_abandoned(&mut self, effect: Effect) {
        let error = GroupError::NotCoordinator;
        match effect {
            Effect::Group { purpose: StorePurpose::Empty { reply: Some(reply) }, .. } => {
                self.reply(reply.token, ReplyOutcome::Leave(Err(error)));
            }
            // Those who wait for these are members, and were answered with their group.
            Effect::Group { .. } => {}
            Effect::OffsetCommit { token, .. } => self.reply(token, ReplyOutcome::OffsetCommit(Err(error))),
            Effect::OffsetRemoval { reply, .. } => {
                if let Some((token, _)) = reply {
                    self.reply(token, ReplyOutcome::OffsetDelete(Err(error)));
                }
            }
            Effect::GroupRemoval { token, .. } => {
                if let Some(token) = token {
                    self.reply(token, ReplyOutcome::DeleteGroup(Err(error)));
                }
            }
        }
    }
}
