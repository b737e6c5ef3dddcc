//! Members that use the classic protocol in a consumer group: JoinGroup and LeaveGroup are decided
//! with the heartbeats of the other members; SyncGroup and Heartbeat are answered at once, from
//! committed state.
//!
//! The generation of such a member is its member epoch. It learns of a new epoch from its
//! heartbeat, joins again with the partitions that it has, and fetches its assignment.

use std::sync::Arc;

use super::ConsumerGroup;
use crate::coordinator::{Now, ReplyToken};
use crate::groups::consumer::member::{CurrentAssignment, MemberState, MemberSubscription};
use crate::groups::consumer::member_request::{ClassicJoin, MemberRequest};
use crate::groups::error::GroupError;
use crate::groups::identity::{InstanceId, MemberId};
use crate::groups::request::{HeartbeatRequest, JoinRequest, LeaveRequest, ReplyOutcome, SyncRequest, Synced};
use crate::groups::subscription::{CONSUMER_PROTOCOL_TYPE, encode_assignment, subscription_version};

/// A member as the log has it.
struct CommittedMember {
    subscription: Arc<MemberSubscription>,
    current: Arc<CurrentAssignment>,
}

impl ConsumerGroup {
    pub(crate) fn handle_classic_join(&mut self, now: Now, token: ReplyToken, request: JoinRequest) {
        match ClassicJoin::read(request, &self.catalogue) {
            Ok(join) => self.enqueue(now, token, MemberRequest::Join(join)),
            Err(error) => self.reply(token, ReplyOutcome::Join(Err(error))),
        }
    }

    pub(crate) fn handle_classic_leave(&mut self, now: Now, token: ReplyToken, request: LeaveRequest) {
        self.enqueue(now, token, MemberRequest::Leave(request));
    }

    pub(crate) fn handle_classic_sync(&mut self, now: Now, token: ReplyToken, request: &SyncRequest) {
        let outcome = self.sync(now, request);
        self.reply(token, ReplyOutcome::Sync(outcome));
    }

    pub(crate) fn handle_classic_heartbeat(&mut self, now: Now, token: ReplyToken, request: &HeartbeatRequest) {
        let outcome = self.classic_heartbeat(now, request);
        self.reply(token, ReplyOutcome::Heartbeat(outcome));
    }

    fn sync(&mut self, now: Now, request: &SyncRequest) -> Result<Synced, GroupError> {
        let id = &request.member;
        let member = self.committed_member(id, request.instance.as_ref(), request.generation)?;
        let CommittedMember { subscription, current } = &member;
        let protocol = subscription.classic.as_ref().and_then(|classic| classic.protocols.first());
        let protocol = protocol.ok_or(GroupError::UnknownMemberId)?;
        let is_other = |stated: Option<&str>, known: &str| stated.is_some_and(|stated| stated != known);
        if is_other(request.protocol_type.as_deref(), CONSUMER_PROTOCOL_TYPE)
            || is_other(request.protocol.as_deref(), &protocol.name)
        {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        // A member that revokes partitions has joined in the new epoch already.
        if self.image.epoch_before(self.undo()) > current.epoch && current.state != MemberState::UnrevokedPartitions {
            self.await_rejoin(now, id);
            return Err(GroupError::RebalanceInProgress);
        }
        self.on_synced(now, id);
        let version = subscription_version(&protocol.metadata);
        let topics = subscription.topics.iter().filter_map(|name| {
            let id = self.catalogue.find(name)?.id;
            let (_, partitions) = current.assigned.topics().find(|(topic, _)| *topic == id)?;
            Some((name.as_str(), partitions.keys().copied().collect()))
        });
        Ok(Synced {
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_owned()),
            protocol: Some(protocol.name.clone()),
            assignment: encode_assignment(version, &topics.collect::<Vec<_>>()),
        })
    }

    fn classic_heartbeat(&mut self, now: Now, request: &HeartbeatRequest) -> Result<(), GroupError> {
        let id = &request.member;
        let member = self.committed_member(id, request.instance.as_ref(), request.generation)?;
        let current = &member.current;
        self.extend_classic_session(now, id);
        let has_next_step = match current.state {
            _ if current.epoch < self.image.epoch_before(self.undo()) => true,
            MemberState::Stable => false,
            MemberState::UnrevokedPartitions | MemberState::Unknown => true,
            MemberState::UnreleasedPartitions => !self.waits_for_others(id, current),
        };
        if has_next_step {
            self.await_rejoin(now, id);
            return Err(GroupError::RebalanceInProgress);
        }
        Ok(())
    }

    /// Whether another member still has a partition of the target that the member lacks.
    fn waits_for_others(&self, id: &MemberId, current: &CurrentAssignment) -> bool {
        let target = self.image.members().get(id).and_then(|member| member.target());
        let mut missing = target
            .into_iter()
            .flat_map(|target| target.iter())
            .filter(|(topic, partition)| current.assigned.epoch(*topic, *partition).is_none());
        missing.any(|(topic, partition)| self.image.owner(topic, partition).is_some_and(|owner| owner != id))
    }

    fn committed_member(
        &self,
        id: &MemberId,
        instance: Option<&InstanceId>,
        generation: i32,
    ) -> Result<CommittedMember, GroupError> {
        if self.is_deleting {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if let Some(instance) = instance {
            let holder = self.image.member_of_instance(instance).ok_or(GroupError::UnknownMemberId)?;
            if holder != id {
                return Err(GroupError::FencedInstanceId);
            }
        }
        let member = self.image.member_before(id, self.undo());
        let (Some(subscription), Some(current)) = (member.subscription(), member.current()) else {
            return Err(GroupError::UnknownMemberId);
        };
        if subscription.classic.is_none() {
            return Err(GroupError::UnknownMemberId);
        }
        if current.epoch != generation {
            return Err(GroupError::IllegalGeneration);
        }
        Ok(CommittedMember { subscription: Arc::clone(subscription), current: Arc::clone(current) })
    }
}
