//! JoinGroup and LeaveGroup of members that use the classic protocol in a consumer group.
//!
//! Such a member never leads the group: it takes its assignment from the target, as the others do.

use super::Draft;
use crate::groups::config::ConsumerGroupConfig;
use crate::groups::consumer::member::{ClassicSubscription, MemberSubscription};
use crate::groups::consumer::member_request::ClassicJoin;
use crate::groups::error::GroupError;
use crate::groups::identity::MemberId;
use crate::groups::member::milliseconds_i32;
use crate::groups::request::{JoinRequest, Joined, LeaveRequest, LeavingMember, LeftMember, Protocol};
use crate::groups::subscription::CONSUMER_PROTOCOL_TYPE;

impl Draft<'_> {
    pub(super) fn accept_join(&mut self, join: &ClassicJoin, config: &ConsumerGroupConfig) -> Result<(), GroupError> {
        let ClassicJoin { request, member: id, subscription, .. } = join;
        let members = self.image.members();
        if members.is_empty() {
            // The group becomes a classic one before the member tries again.
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let holder = request.instance.as_ref().and_then(|instance| self.image.member_of_instance(instance)).cloned();
        if !members.contains_key(id) && holder.is_none() && members.len() >= config.size_max {
            return Err(GroupError::GroupMaxSizeReached { size_max: config.size_max });
        }
        self.check_protocols(request)?;
        match &holder {
            // Where either protocol is the classic one, a static member is replaced although it
            // lives.
            Some(holder) if request.member.is_empty() => self.take_over(holder, id),
            Some(holder) if holder != id => return Err(GroupError::FencedInstanceId),
            None if request.instance.is_some() && !request.member.is_empty() => {
                return Err(GroupError::UnknownMemberId);
            }
            _ => {}
        }
        let after = MemberSubscription {
            instance: request.instance.clone(),
            rack: subscription.rack.clone(),
            client: request.client.clone(),
            topics: subscription.topics.clone(),
            regex: None,
            rebalance_timeout_ms: milliseconds_i32(request.rebalance_timeout),
            assignor: None,
            classic: Some(ClassicSubscription {
                session_timeout_ms: milliseconds_i32(request.session_timeout),
                protocols: request.protocols.clone(),
            }),
        };
        let is_new = !self.image.members().contains_key(id);
        self.update(id, is_new, after, config);
        Ok(())
    }

    /// All classic members of the group must have a protocol in common, so that the group could
    /// become a classic one.
    fn check_protocols(&self, request: &JoinRequest) -> Result<(), GroupError> {
        let subscriptions = self.image.members().values().filter_map(|member| member.subscription());
        let classic: Vec<_> = subscriptions.filter_map(|subscription| subscription.classic.as_ref()).collect();
        let is_common = |offered: &Protocol| {
            classic.iter().all(|member| member.protocols.iter().any(|protocol| protocol.name == offered.name))
        };
        if request.protocols.iter().any(is_common) { Ok(()) } else { Err(GroupError::InconsistentGroupProtocol) }
    }

    /// Takes the next step of a member that has joined, and answers it.
    pub(in crate::groups::consumer) fn reconcile_classic(&mut self, join: &ClassicJoin) -> Result<Joined, GroupError> {
        let stepped = self.step(&join.member, Some(&join.owned));
        // The classic protocol knows no fenced epochs: the member forgets its id, and joins as a
        // new one.
        let (_, next) = stepped.map_err(|_| GroupError::UnknownMemberId)?;
        Ok(Joined {
            generation: next.epoch,
            protocol_type: Some(CONSUMER_PROTOCOL_TYPE.to_owned()),
            protocol: join.protocol().map(str::to_owned),
            leader: MemberId::new(""),
            member: join.member.clone(),
            skip_assignment: false,
            members: Vec::new(),
        })
    }

    pub(super) fn leave_classic(&mut self, request: &LeaveRequest) -> Vec<LeftMember> {
        let leave = |leaving: &LeavingMember| LeftMember {
            member: leaving.member.clone(),
            instance: leaving.instance.clone(),
            outcome: self.remove_classic(leaving),
        };
        request.members.iter().map(leave).collect()
    }

    /// Removes a member; an administrator names it by its instance alone.
    fn remove_classic(&mut self, leaving: &LeavingMember) -> Result<(), GroupError> {
        let id = match &leaving.instance {
            None => &leaving.member,
            Some(instance) => {
                let holder = self.image.member_of_instance(instance).ok_or(GroupError::UnknownMemberId)?;
                if !leaving.member.is_empty() && *holder != leaving.member {
                    return Err(GroupError::FencedInstanceId);
                }
                holder
            }
        };
        let subscription = self.image.members().get(id).and_then(|member| member.subscription());
        if subscription.is_none_or(|subscription| subscription.classic.is_none()) {
            return Err(GroupError::UnknownMemberId);
        }
        let id = id.clone();
        self.fence(&id);
        Ok(())
    }
}
