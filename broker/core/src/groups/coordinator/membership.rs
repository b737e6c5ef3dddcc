//! Requests of members: the group is found, or made for the first join, and decides.

use std::sync::Arc;

use super::{CoordinatorState, GroupCoordinator, GroupEntry};
use crate::groups::classic::ClassicGroup;
use crate::groups::error::GroupError;
use crate::groups::identity::{GroupId, Now, ReplyToken};
use crate::groups::request::{
    HeartbeatRequest, JoinRequest, LeaveRequest, LeavingMember, LeftMember, ReplyOutcome, SyncRequest,
};

/// Texts in a record's key have a 16-bit length.
const GROUP_ID_LENGTH_MAX: usize = 32_767;

impl GroupCoordinator {
    /// JoinGroup.
    pub fn handle_join(&mut self, now: Now, token: ReplyToken, request: JoinRequest) {
        let checked = self.admit_member_request(&request.group).and_then(|()| self.prepare_join(now, &request));
        if let Err(error) = checked {
            self.reply(token, ReplyOutcome::Join(Err(error)));
            return;
        }
        let id = request.group.clone();
        self.groups.get_mut(&id).expect("the group was just found or made").group.handle_join(now, token, request);
        self.settle(now, &id);
        self.drop_if_blank(&id);
    }

    /// SyncGroup.
    pub fn handle_sync(&mut self, now: Now, token: ReplyToken, request: SyncRequest) {
        let id = request.group.clone();
        match self.admit_member_request(&id).map(|()| self.groups.get_mut(&id)) {
            Ok(Some(entry)) => entry.group.handle_sync(token, request),
            Ok(None) => self.reply(token, ReplyOutcome::Sync(Err(GroupError::UnknownMemberId))),
            // What members knew of a rebalance is lost with the coordinator's memory: they begin
            // anew with a join.
            Err(GroupError::CoordinatorLoadInProgress) => {
                self.reply(token, ReplyOutcome::Sync(Err(GroupError::RebalanceInProgress)));
            }
            Err(error) => self.reply(token, ReplyOutcome::Sync(Err(error))),
        }
        self.settle(now, &id);
    }

    /// Heartbeat.
    pub fn handle_heartbeat(&mut self, now: Now, token: ReplyToken, request: &HeartbeatRequest) {
        let id = request.group.clone();
        match self.admit_member_request(&id).map(|()| self.groups.get_mut(&id)) {
            Ok(Some(entry)) => entry.group.handle_heartbeat(now, token, request),
            Ok(None) => self.reply(token, ReplyOutcome::Heartbeat(Err(GroupError::UnknownMemberId))),
            // Sessions start anew when loading ends, so that a member may take itself for heard.
            Err(GroupError::CoordinatorLoadInProgress) => self.reply(token, ReplyOutcome::Heartbeat(Ok(()))),
            Err(error) => self.reply(token, ReplyOutcome::Heartbeat(Err(error))),
        }
        self.settle(now, &id);
    }

    /// LeaveGroup.
    pub fn handle_leave(&mut self, now: Now, token: ReplyToken, request: LeaveRequest) {
        let id = request.group.clone();
        match self.admit_member_request(&id).map(|()| self.groups.get_mut(&id)) {
            Ok(Some(entry)) => entry.group.handle_leave(now, token, request),
            // As of a group that is there and knows none of them.
            Ok(None) => {
                let unknown = |LeavingMember { member, instance, .. }| LeftMember {
                    member,
                    instance,
                    outcome: Err(GroupError::UnknownMemberId),
                };
                let left = request.members.into_iter().map(unknown).collect();
                self.reply(token, ReplyOutcome::Leave(Ok(left)));
            }
            Err(error) => self.reply(token, ReplyOutcome::Leave(Err(error))),
        }
        self.settle(now, &id);
    }

    fn admit_member_request(&self, group: &GroupId) -> Result<(), GroupError> {
        if group.is_empty() {
            return Err(GroupError::InvalidGroupId);
        }
        self.admit_request(group)
    }

    /// Requests about offsets may name the empty group.
    pub(super) fn admit_request(&self, group: &GroupId) -> Result<(), GroupError> {
        if group.as_str().len() > GROUP_ID_LENGTH_MAX {
            return Err(GroupError::InvalidGroupId);
        }
        self.refusal().map_or(Ok(()), Err)
    }

    fn prepare_join(&mut self, now: Now, request: &JoinRequest) -> Result<(), GroupError> {
        let (min, max) = (self.config.session_timeout_min, self.config.session_timeout_max);
        if !(min..=max).contains(&request.session_timeout) {
            let milliseconds = |duration: std::time::Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
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
            // Its group is gone: it forgets its id and comes back as a new member.
            return Err(GroupError::UnknownMemberId);
        }
        self.make_group(now, &request.group)
    }

    pub(super) fn make_group(&mut self, now: Now, id: &GroupId) -> Result<(), GroupError> {
        debug_assert_eq!(
            self.state,
            CoordinatorState::Active,
            "groups are made by requests, and those are refused otherwise"
        );
        if self.groups.len() >= self.config.groups_max {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let group = ClassicGroup::new(id.clone(), Arc::clone(&self.config), now.wall);
        self.groups.insert(id.clone(), GroupEntry::new(group));
        Ok(())
    }

    /// A group that was made for a request that was then refused, or for an id that lapsed, leaves
    /// no trace.
    pub(super) fn drop_if_blank(&mut self, id: &GroupId) {
        let is_blank = self.groups.get(id).is_some_and(|entry| {
            entry.stored.is_none()
                && entry.in_flight.is_empty()
                && entry.offsets.is_empty()
                && entry.group.is_unused()
                && entry.group.generation() == 0
        });
        if is_blank {
            self.groups.remove(id);
        }
    }
}
