//! SyncGroup: the leader's assignment is stored, and each member gets its own.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{ClassicGroup, GroupAction, StorePurpose};
use crate::coordinator::{Now, ReplyToken};
use crate::groups::error::GroupError;
use crate::groups::identity::MemberId;
use crate::groups::request::{ReplyOutcome, SyncRequest, Synced};
use crate::groups::state::ClassicState;

impl ClassicGroup {
    /// SyncGroup. Answered when the leader's assignment is stored.
    pub fn handle_sync(&mut self, token: ReplyToken, request: SyncRequest) {
        if let Err(error) = self.sync(token, request) {
            self.reply(token, ReplyOutcome::Sync(Err(error)));
        }
    }

    fn sync(&mut self, token: ReplyToken, request: SyncRequest) -> Result<(), GroupError> {
        self.validate_sync(&request)?;
        let id = request.member;
        match self.state {
            ClassicState::PreparingRebalance => return Err(GroupError::RebalanceInProgress),
            ClassicState::Empty | ClassicState::Dead => return Err(GroupError::UnknownMemberId),
            ClassicState::Stable => {
                self.mark_synced(&id);
                let synced = self.synced(&id);
                self.reply(token, ReplyOutcome::Sync(Ok(synced)));
            }
            ClassicState::CompletingRebalance => {
                self.mark_synced(&id);
                let member = self.members.get_mut(&id).expect("the member was validated");
                if let Some(superseded) = member.awaiting_sync.replace(token) {
                    // The client has given the earlier request up, but its connection may need an
                    // answer to go on.
                    self.reply(superseded, ReplyOutcome::Sync(Err(GroupError::RebalanceInProgress)));
                }
                if self.is_leader(&id) && self.storing_generation != Some(self.generation) {
                    self.store_assignment(request.assignments);
                }
            }
        }
        Ok(())
    }

    fn validate_sync(&self, request: &SyncRequest) -> Result<(), GroupError> {
        if self.state == ClassicState::Dead {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        self.validate_generation(&request.member, request.instance.as_ref(), request.generation)?;
        let differs = |sent: &Option<String>, held: &Option<String>| sent.is_some() && held.is_some() && sent != held;
        if differs(&request.protocol_type, &self.protocol_type) || differs(&request.protocol, &self.protocol) {
            return Err(GroupError::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn store_assignment(&mut self, assignments: Vec<(MemberId, Bytes)>) {
        let assignments: BTreeMap<_, _> =
            assignments.into_iter().filter(|(id, _)| self.members.contains_key(id)).collect();
        let metadata = self.metadata(&assignments);
        self.storing_generation = Some(self.generation);
        let purpose = StorePurpose::Assignment { generation: self.generation, assignments };
        self.actions.push_back(GroupAction::Store { metadata, purpose });
    }

    /// A record of this group was stored.
    pub fn on_record_committed(&mut self, now: Now, purpose: StorePurpose) {
        match purpose {
            StorePurpose::Assignment { generation, mut assignments } => {
                if !self.end_storing(generation) {
                    return;
                }
                for (id, member) in &mut self.members {
                    member.assignment = assignments.remove(id).unwrap_or_default();
                }
                self.answer_syncs(now, &Ok(()));
                self.enter(now, ClassicState::Stable);
            }
            StorePurpose::Empty { reply } => self.actions.extend(reply.map(GroupAction::Reply)),
            StorePurpose::StaticReplaced(replacement) => self.on_static_replaced(now, &replacement),
        }
    }

    /// A record of this group was not stored.
    pub fn on_record_failed(&mut self, now: Now, purpose: StorePurpose, error: GroupError) {
        match purpose {
            StorePurpose::Assignment { generation, .. } => {
                if !self.end_storing(generation) {
                    return;
                }
                self.answer_syncs(now, &Err(error));
                self.prepare_rebalance(now);
            }
            // The log still holds an older generation. The next coordinator would load that one;
            // the group has no members in either case.
            StorePurpose::Empty { reply } => {
                if let Some(reply) = reply {
                    self.reply(reply.token, ReplyOutcome::Leave(Err(error)));
                }
            }
            StorePurpose::StaticReplaced(replacement) => self.on_static_replacement_failed(now, &replacement, error),
        }
    }

    /// Whether this generation still waits for its assignment: another rebalance may have begun
    /// before the record was stored.
    fn end_storing(&mut self, generation: i32) -> bool {
        if self.storing_generation == Some(generation) {
            self.storing_generation = None;
        }
        self.state == ClassicState::CompletingRebalance && self.generation == generation
    }

    /// Answers every waiting sync with the member's assignment, or with an error.
    pub(super) fn answer_syncs(&mut self, now: Now, outcome: &Result<(), GroupError>) {
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            let member = self.members.get_mut(&id).expect("the id was just read from the members");
            let Some(token) = member.awaiting_sync.take() else { continue };
            member.session_deadline = Some(now.instant.plus(member.session_timeout));
            let outcome = outcome.clone().map(|()| self.synced(&id));
            self.reply(token, ReplyOutcome::Sync(outcome));
        }
    }

    fn synced(&self, id: &MemberId) -> Synced {
        Synced {
            protocol_type: self.protocol_type.clone(),
            protocol: self.protocol.clone(),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    fn mark_synced(&mut self, id: &MemberId) {
        self.unsynced_members.remove(id);
        if self.unsynced_members.is_empty() {
            self.sync_deadline = None;
        }
    }
}
