//! Requests of members: finds the group, or makes it for a first join, and passes the request on to
//! it.

use std::sync::Arc;
use std::time::Duration;

use rustmq_model::Timestamp;

use super::consumer::StoredMembers;
use super::{GroupEntry, Groups};
use crate::coordinator::{Now, Outbox, ReplyToken};
use crate::groups::classic::ClassicGroup;
use crate::groups::error::GroupError;
use crate::groups::group::Group;
use crate::groups::identity::GroupId;
use crate::groups::request::{
    HeartbeatRequest, JoinRequest, LeaveRequest, LeavingMember, LeftMember, ReplyOutcome, SyncRequest,
};

impl Groups {
    pub(super) fn join(&mut self, now: Now, token: ReplyToken, request: JoinRequest, outbox: &mut Outbox<Self>) {
        if let Err(error) = self.prepare_join(now, &request) {
            outbox.reply(token, ReplyOutcome::Join(Err(error)));
            return;
        }
        let id = request.group.clone();
        let entry = self.groups.get_mut(&id).expect("the group was just found or made");
        match &mut entry.group {
            Group::Classic(group) => group.handle_join(now, token, request),
            Group::Consumer(group) => {
                // An empty group changes its protocol: it goes, and the member tries again.
                if group.is_unused() {
                    outbox.reply(token, ReplyOutcome::Join(Err(GroupError::CoordinatorNotAvailable)));
                    self.append_group_tombstone(now, &id, None, outbox);
                } else {
                    group.handle_classic_join(now, token, request);
                }
            }
        }
        self.settle(now, &id, outbox);
        self.drop_if_blank(&id);
    }

    pub(super) fn sync(&mut self, now: Now, token: ReplyToken, request: SyncRequest, outbox: &mut Outbox<Self>) {
        let id = request.group.clone();
        match self.groups.get_mut(&id).map(|entry| &mut entry.group) {
            Some(Group::Classic(group)) => group.handle_sync(token, request),
            Some(Group::Consumer(group)) => group.handle_classic_sync(now, token, &request),
            None => outbox.reply(token, ReplyOutcome::Sync(Err(GroupError::UnknownMemberId))),
        }
        self.settle(now, &id, outbox);
    }

    pub(super) fn heartbeat(
        &mut self,
        now: Now,
        token: ReplyToken,
        request: &HeartbeatRequest,
        outbox: &mut Outbox<Self>,
    ) {
        match self.groups.get_mut(&request.group).map(|entry| &mut entry.group) {
            Some(Group::Classic(group)) => group.handle_heartbeat(now, token, request),
            Some(Group::Consumer(group)) => group.handle_classic_heartbeat(now, token, request),
            None => outbox.reply(token, ReplyOutcome::Heartbeat(Err(GroupError::UnknownMemberId))),
        }
        self.settle(now, &request.group, outbox);
    }

    pub(super) fn leave(&mut self, now: Now, token: ReplyToken, request: LeaveRequest, outbox: &mut Outbox<Self>) {
        let id = request.group.clone();
        let Some(group) = self.groups.get_mut(&id).map(|entry| &mut entry.group) else {
            // The same answer as that of a group without these members.
            let unknown = |LeavingMember { member, instance, .. }| LeftMember {
                member,
                instance,
                outcome: Err(GroupError::UnknownMemberId),
            };
            let left = request.members.into_iter().map(unknown).collect();
            outbox.reply(token, ReplyOutcome::Leave(Ok(left)));
            return;
        };
        match group {
            Group::Classic(group) => group.handle_leave(now, token, request),
            Group::Consumer(group) => group.handle_classic_leave(now, token, request),
        }
        self.settle(now, &id, outbox);
    }

    fn prepare_join(&mut self, now: Now, request: &JoinRequest) -> Result<(), GroupError> {
        let (min, max) = (self.config.session_timeout_min, self.config.session_timeout_max);
        if !(min..=max).contains(&request.session_timeout) {
            let milliseconds = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
            return Err(GroupError::InvalidSessionTimeout {
                session_timeout_ms: milliseconds(request.session_timeout),
                min_ms: milliseconds(min),
                max_ms: milliseconds(max),
            });
        }
        if self.groups.contains_key(&request.group) {
            return Ok(());
        }
        if !request.member.is_empty() {
            // The member's group is gone: the client forgets its id and joins as a new member.
            return Err(GroupError::UnknownMemberId);
        }
        self.make_group(now, &request.group)
    }

    pub(super) fn make_group(&mut self, now: Now, id: &GroupId) -> Result<(), GroupError> {
        if self.groups.len() >= self.config.groups_max {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let group = ClassicGroup::new(id.clone(), Arc::clone(&self.config), now.wall);
        self.groups.insert(id.clone(), GroupEntry::new(Group::Classic(group)));
        Ok(())
    }

    /// Removes a group that was made for a request that was then refused, or for a member id that
    /// has lapsed.
    pub(super) fn drop_if_blank(&mut self, id: &GroupId) {
        self.restore_classic_if_blank(id, StoredMembers::Gone);
        let is_blank = self.groups.get(id).is_some_and(|entry| {
            entry.stored.is_none() && entry.appends_pending == 0 && entry.offsets.is_empty() && entry.group.is_blank()
        });
        if is_blank {
            self.groups.remove(id);
        }
    }

    /// Applies the tombstone of a group. Offsets that the log still holds stay, as those of a group
    /// without members.
    pub(super) fn forget_group(&mut self, id: &GroupId, now: Timestamp) {
        let Some(entry) = self.groups.get_mut(id) else { return };
        if entry.offsets.is_empty() {
            self.groups.remove(id);
        } else {
            entry.group = Group::Classic(ClassicGroup::new(id.clone(), Arc::clone(&self.config), now));
            entry.stored = None;
        }
    }
}
