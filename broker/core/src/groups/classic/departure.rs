//! LeaveGroup: members that leave, or that an administrator removes.

use super::ClassicGroup;
use crate::coordinator::{Now, ReplyToken};
use crate::groups::error::GroupError;
use crate::groups::request::{LeaveRequest, LeavingMember, LeftMember, Reply, ReplyOutcome};
use crate::groups::state::ClassicState;

impl ClassicGroup {
    /// LeaveGroup. Answered at once; if no member is left, when the empty generation is stored.
    pub fn handle_leave(&mut self, now: Now, token: ReplyToken, request: LeaveRequest) {
        if self.state == ClassicState::Dead {
            self.reply(token, ReplyOutcome::Leave(Err(GroupError::CoordinatorNotAvailable)));
            return;
        }
        let mut left = Vec::with_capacity(request.members.len());
        for LeavingMember { member, instance, reason: _ } in request.members {
            let leaving = LeavingMember { member: member.clone(), instance: instance.clone(), reason: None };
            left.push(LeftMember { member, instance, outcome: self.remove(&leaving) });
        }
        if left.iter().any(|member| member.outcome.is_ok()) {
            match self.state {
                ClassicState::Stable | ClassicState::CompletingRebalance => self.rebalance_or_complete_join(now),
                ClassicState::PreparingRebalance => self.complete_join_if_all_rejoined(now),
                ClassicState::Empty | ClassicState::Dead => {}
            }
        }
        let reply = Reply { token, outcome: ReplyOutcome::Leave(Ok(left)) };
        if let Some(Reply { token, outcome }) = self.answer_after_empty(reply) {
            self.reply(token, outcome);
        }
    }

    fn remove(&mut self, leaving: &LeavingMember) -> Result<(), GroupError> {
        if leaving.member.is_empty() {
            let holder = leaving.instance.as_ref().and_then(|instance| self.static_members.get(instance)).cloned();
            let id = holder.ok_or(GroupError::UnknownMemberId)?;
            self.drop_member(&id);
            return Ok(());
        }
        if self.pending_members.remove(&leaving.member).is_some() {
            return Ok(());
        }
        self.validate_member(&leaving.member, leaving.instance.as_ref())?;
        self.drop_member(&leaving.member);
        Ok(())
    }
}
