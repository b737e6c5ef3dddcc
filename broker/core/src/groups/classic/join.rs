//! JoinGroup: which members may join, under which id, and whether the group rebalances.

use super::{ClassicGroup, GroupAction, MemberBefore, StaticReplacement, StorePurpose};
use crate::coordinator::{Now, ReplyToken};
use crate::groups::error::GroupError;
use crate::groups::identity::{InstanceId, MemberId};
use crate::groups::member::Member;
use crate::groups::protocol::kept_protocols;
use crate::groups::request::{JoinRequest, Joined, JoinedMember, ReplyOutcome};
use crate::groups::state::ClassicState;

/// Texts in the group's record have a 16-bit length.
const TEXT_LENGTH_MAX: usize = 32_767;

impl ClassicGroup {
    /// JoinGroup. Answered when the join phase ends, or at once if the join is refused or changes
    /// nothing.
    pub fn handle_join(&mut self, now: Now, token: ReplyToken, mut request: JoinRequest) {
        request.protocols = kept_protocols(std::mem::take(&mut request.protocols));
        if let Err(error) = self.join(now, token, request) {
            self.reply(token, ReplyOutcome::Join(Err(error)));
        }
    }

    fn join(&mut self, now: Now, token: ReplyToken, request: JoinRequest) -> Result<(), GroupError> {
        if self.state == ClassicState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if !self.has_room_for(&request.member) {
            // After the limit was lowered, the members that join last are dropped.
            self.forget_member(&request.member);
            self.pending_members.remove(&request.member);
            self.complete_join_if_all_rejoined(now);
            return Err(GroupError::GroupMaxSizeReached { size_max: self.config.size_max });
        }
        if !self.supports(&request) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        if !self.has_memory_for(&request) {
            // The attempt to store the group's record would fail with this error.
            return Err(GroupError::RecordTooLarge);
        }
        if !request.member.is_empty() {
            return self.join_known(now, token, request);
        }
        let new_member = request.new_member.clone();
        if self.members.contains_key(&new_member)
            || self.pending_members.contains_key(&new_member)
            || new_member.is_empty()
        {
            // The driver draws ids at random: the client's next try gets another id.
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if let Some(instance) = request.instance.clone() {
            return match self.static_members.get(&instance).cloned() {
                Some(replaced) => self.join_returning_static(now, token, &request, &instance, &replaced),
                None => self.admit(now, token, new_member, request),
            };
        }
        if !request.requires_known_member_id {
            return self.admit(now, token, new_member, request);
        }
        if self.pending_members.len() >= self.config.pending_members_max {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.pending_members.insert(new_member.clone(), now.instant.plus(request.session_timeout));
        Err(GroupError::MemberIdRequired { member_id: new_member })
    }

    /// A join with a member id: a new member that got the id just before, or a member that joins
    /// again.
    fn join_known(&mut self, now: Now, token: ReplyToken, request: JoinRequest) -> Result<(), GroupError> {
        let id = request.member.clone();
        if self.pending_members.contains_key(&id) {
            if request.instance.is_some() {
                // Ids are handed out to dynamic members only.
                return Err(GroupError::UnknownMemberId);
            }
            return self.admit(now, token, id, request);
        }
        self.validate_member(&id, request.instance.as_ref())?;
        let is_unchanged = self.members.get(&id).is_some_and(|member| member.protocols == request.protocols);
        match self.state {
            // The answer to the member's join got lost: nothing has changed for the others.
            ClassicState::CompletingRebalance if is_unchanged => self.reply_joined(token, &id),
            // Only a leader may cause a rebalance this way: it may have seen a change that its
            // subscription does not show.
            ClassicState::Stable if is_unchanged && !self.is_leader(&id) => self.reply_joined(token, &id),
            ClassicState::PreparingRebalance | ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.update_member(token, &id, &request);
                self.rebalance_or_complete_join(now);
            }
            ClassicState::Empty | ClassicState::Dead => return Err(GroupError::UnknownMemberId),
        }
        Ok(())
    }

    /// Adds a member, which then waits for the join phase to end.
    fn admit(&mut self, now: Now, token: ReplyToken, id: MemberId, request: JoinRequest) -> Result<(), GroupError> {
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type);
        }
        if self.state == ClassicState::PreparingRebalance && self.is_initial_rebalance {
            self.is_joined_during_delay = true;
        }
        let member = Member {
            instance: request.instance,
            client: request.client,
            session_timeout: request.session_timeout,
            rebalance_timeout: request.rebalance_timeout,
            protocols: request.protocols,
            assignment: bytes::Bytes::new(),
            awaiting_join: Some(token),
            awaiting_sync: None,
            is_new: true,
            // The member has no id yet to send heartbeats with. If its client has given up, the
            // member must not stay for ever.
            session_deadline: Some(now.instant.plus(self.config.new_member_join_timeout)),
        };
        self.insert_member(id, member);
        self.rebalance_or_complete_join(now);
        Ok(())
    }

    /// A static member has come back without its id: it takes over under a new id, and requests
    /// with the old id are fenced.
    fn join_returning_static(
        &mut self,
        now: Now,
        token: ReplyToken,
        request: &JoinRequest,
        instance: &InstanceId,
        replaced: &MemberId,
    ) -> Result<(), GroupError> {
        let leader_before = self.leader.clone();
        let id = request.new_member.clone();
        let before = self.take_over(now, instance, replaced, &id);
        self.update_member(token, &id, request);
        self.extend_session(now, &id);
        match self.state {
            ClassicState::Stable if self.vote() == self.protocol => {
                // The assignment stays, and the id is new: only the group's record changes.
                self.storing_replacements += 1;
                let assignments =
                    self.members.iter().map(|(id, member)| (id.clone(), member.assignment.clone())).collect();
                let metadata = self.metadata(&assignments);
                let purpose = StorePurpose::StaticReplaced(StaticReplacement {
                    token,
                    generation: self.generation,
                    member: id,
                    replaced: replaced.clone(),
                    replaced_member: Box::new(before),
                    leader_before,
                    supports_skip_assignment: request.supports_skip_assignment,
                });
                self.actions.push_back(GroupAction::Store { metadata, purpose });
            }
            // The leader may be about to assign partitions to the old id.
            ClassicState::Stable | ClassicState::CompletingRebalance => self.prepare_rebalance(now),
            _ => self.complete_join_if_all_rejoined(now),
        }
        Ok(())
    }

    fn take_over(&mut self, now: Now, instance: &InstanceId, replaced: &MemberId, id: &MemberId) -> MemberBefore {
        let was_leader = self.is_leader(replaced);
        let mut member = self.forget_member(replaced).expect("a static member's id names a member");
        if let Some(token) = member.awaiting_join.take() {
            self.reply(token, ReplyOutcome::Join(Err(GroupError::FencedInstanceId)));
        }
        if let Some(token) = member.awaiting_sync.take() {
            self.reply(token, ReplyOutcome::Sync(Err(GroupError::FencedInstanceId)));
        }
        let before = MemberBefore {
            session_timeout: member.session_timeout,
            rebalance_timeout: member.rebalance_timeout,
            protocols: member.protocols.clone(),
        };
        member.instance = Some(instance.clone());
        member.is_new = false;
        self.insert_member(id.clone(), member);
        if was_leader {
            self.leader = Some(id.clone());
        }
        self.extend_session(now, id);
        before
    }

    /// The record with the new id of a returning static member is stored: the member keeps its
    /// assignment.
    pub(super) fn on_static_replaced(&mut self, now: Now, replacement: &StaticReplacement) {
        if !self.end_replacement(replacement) {
            return;
        }
        let id = &replacement.member;
        let is_leader = self.is_leader(id);
        let mut joined = self.joined(id);
        if replacement.supports_skip_assignment {
            joined.skip_assignment = is_leader;
        } else {
            // An older client must not take itself for the leader and send an assignment: the
            // answer names the leader before its return.
            joined.members = Vec::new();
            joined.leader = replacement.leader_before.clone().unwrap_or(joined.leader);
        }
        self.extend_session(now, id);
        self.reply(replacement.token, ReplyOutcome::Join(Ok(joined)));
    }

    /// The record was not stored: the member gets its old id back.
    pub(super) fn on_static_replacement_failed(
        &mut self,
        now: Now,
        replacement: &StaticReplacement,
        error: GroupError,
    ) {
        if !self.end_replacement(replacement) {
            return;
        }
        let id = &replacement.member;
        let was_leader = self.is_leader(id);
        let mut member = self.forget_member(id).expect("a replacement that still waits is a member");
        member.session_timeout = replacement.replaced_member.session_timeout;
        member.rebalance_timeout = replacement.replaced_member.rebalance_timeout;
        member.protocols.clone_from(&replacement.replaced_member.protocols);
        self.insert_member(replacement.replaced.clone(), member);
        if was_leader {
            self.leader = Some(replacement.replaced.clone());
        }
        self.extend_session(now, &replacement.replaced);
        self.reply(replacement.token, ReplyOutcome::Join(Err(error)));
    }

    /// Whether the returning member's join still waits only for the record. If the group rebalances
    /// meanwhile, the join waits for the end of the rebalance.
    fn end_replacement(&mut self, replacement: &StaticReplacement) -> bool {
        self.storing_replacements -= 1;
        let is_current = self.state == ClassicState::Stable && self.generation == replacement.generation;
        let member = self.members.get_mut(&replacement.member);
        match member {
            Some(member) if is_current && member.awaiting_join == Some(replacement.token) => {
                member.awaiting_join = None;
                true
            }
            _ => false,
        }
    }

    fn update_member(&mut self, token: ReplyToken, id: &MemberId, request: &JoinRequest) {
        let member = self.members.get_mut(id).expect("the caller has found the member");
        self.support.remove(&member.protocols);
        member.protocols.clone_from(&request.protocols);
        self.support.add(&member.protocols);
        member.session_timeout = request.session_timeout;
        member.rebalance_timeout = request.rebalance_timeout;
        if let Some(superseded) = member.awaiting_join.replace(token) {
            // The client has given the earlier request up, but its connection may need an answer to
            // go on.
            self.reply(superseded, ReplyOutcome::Join(Err(GroupError::RebalanceInProgress)));
        }
    }

    pub(super) fn reply_joined(&mut self, token: ReplyToken, id: &MemberId) {
        let joined = self.joined(id);
        self.reply(token, ReplyOutcome::Join(Ok(joined)));
    }

    fn joined(&self, id: &MemberId) -> Joined {
        let members = if self.is_leader(id) { self.joined_members() } else { Vec::new() };
        Joined {
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_else(|| MemberId::new("")),
            member: id.clone(),
            skip_assignment: false,
            members,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        self.members
            .iter()
            .map(|(id, member)| JoinedMember {
                member: id.clone(),
                instance: member.instance.clone(),
                metadata: member.metadata(protocol),
            })
            .collect()
    }

    fn has_room_for(&self, id: &MemberId) -> bool {
        let size_max = self.config.size_max;
        match self.state {
            ClassicState::Empty | ClassicState::Dead => true,
            // Only members that wait in a join are counted: after the limit was lowered, the
            // members that join last are dropped.
            ClassicState::PreparingRebalance => {
                let is_waiting = self.members.get(id).is_some_and(|member| member.awaiting_join.is_some());
                is_waiting || self.members.values().filter(|member| member.awaiting_join.is_some()).count() < size_max
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.members.contains_key(id) || self.members.len() < size_max
            }
        }
    }

    /// Whether the group stays within its limit of bytes when the request's protocols replace those
    /// of its member.
    fn has_memory_for(&self, request: &JoinRequest) -> bool {
        let holder = request.instance.as_ref().and_then(|instance| self.static_members.get(instance));
        let before = self.members.get(holder.unwrap_or(&request.member));
        let replaced = before.map_or(&[][..], |member| &member.protocols);
        self.support.bytes_with(&request.protocols, replaced) <= self.config.protocol_bytes_max
    }

    /// Whether the request's protocols are compatible with the group's, and its texts fit into the
    /// record.
    fn supports(&self, request: &JoinRequest) -> bool {
        let instance = request.instance.as_ref().map_or("", InstanceId::as_str);
        let texts =
            [request.new_member.as_str(), instance, &request.client.id, &request.client.host, &request.protocol_type];
        let names = request.protocols.iter().map(|protocol| protocol.name.as_str());
        if texts.into_iter().chain(names).any(|text| text.len() > TEXT_LENGTH_MAX) {
            return false;
        }
        if self.state == ClassicState::Empty {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        self.protocol_type.as_deref() == Some(request.protocol_type.as_str())
            && request.protocols.iter().any(|protocol| self.support.is_common(&protocol.name, self.members.len()))
    }

    pub(super) fn vote(&self) -> Option<String> {
        self.support.vote(self.members.values().map(|member| member.protocols.as_slice()))
    }
}
