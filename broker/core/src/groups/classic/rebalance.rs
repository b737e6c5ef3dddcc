//! The join phase: how it begins, how long it lasts, and how it ends with a new generation.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{ClassicGroup, GroupAction, JoinTimer, StorePurpose};
use crate::coordinator::Now;
use crate::groups::error::GroupError;
use crate::groups::identity::MemberId;
use crate::groups::request::{Reply, ReplyOutcome};
use crate::groups::state::ClassicState;

/// The shortest wait for absent static members: with a rebalance timeout of zero, the timer would
/// fire without a pause.
const REPEATED_WAIT_MIN: Duration = Duration::from_secs(1);

impl ClassicGroup {
    /// A member has joined, left or changed: starts a rebalance, or continues the current one.
    pub(super) fn rebalance_or_complete_join(&mut self, now: Now) {
        match self.state {
            ClassicState::Empty | ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.prepare_rebalance(now);
            }
            ClassicState::PreparingRebalance => self.complete_join_if_all_rejoined(now),
            ClassicState::Dead => {}
        }
    }

    /// Ends the join phase if all known members have joined. The initial rebalance of an empty
    /// group lasts for its delay.
    pub(super) fn complete_join_if_all_rejoined(&mut self, now: Now) {
        let is_rejoining = self.state == ClassicState::PreparingRebalance && !self.is_initial_rebalance;
        if is_rejoining && self.is_everyone_joined() {
            self.complete_join(now);
        }
    }

    /// Starts a rebalance: all members have to join again.
    pub(super) fn prepare_rebalance(&mut self, now: Now) {
        if self.state == ClassicState::CompletingRebalance {
            for member in self.members.values_mut() {
                member.assignment = bytes::Bytes::new();
            }
            self.answer_syncs(now, &Err(GroupError::RebalanceInProgress));
        }
        self.unsynced_members.clear();
        self.sync_deadline = None;
        self.is_initial_rebalance = self.state == ClassicState::Empty;
        self.is_joined_during_delay = false;
        self.enter(now, ClassicState::PreparingRebalance);
        if self.is_initial_rebalance {
            let delay = self.config.initial_rebalance_delay;
            let remaining = self.rebalance_timeout().saturating_sub(delay);
            self.join_timer = Some(JoinTimer::Initial { at: now.instant.plus(delay), delay, remaining });
        } else {
            self.join_timer = Some(JoinTimer::Rejoin { at: now.instant.plus(self.rebalance_timeout()) });
            self.complete_join_if_all_rejoined(now);
        }
    }

    /// The join timer is due.
    pub(super) fn end_join_wait(&mut self, now: Now) {
        match self.join_timer {
            Some(JoinTimer::Initial { delay, remaining, .. })
                if self.is_joined_during_delay && !delay.is_zero() && !remaining.is_zero() =>
            {
                self.is_joined_during_delay = false;
                let next_delay = self.config.initial_rebalance_delay.min(remaining);
                self.join_timer = Some(JoinTimer::Initial {
                    at: now.instant.plus(next_delay),
                    delay: next_delay,
                    remaining: remaining.saturating_sub(delay),
                });
            }
            _ => self.complete_join(now),
        }
    }

    /// Ends the join phase: with a new generation of the members that have joined, or with an empty
    /// group if no member is left.
    fn complete_join(&mut self, now: Now) {
        self.join_timer = None;
        let missing: Vec<MemberId> = self
            .members
            .iter()
            .filter(|(_, member)| member.awaiting_join.is_none() && member.instance.is_none())
            .map(|(id, _)| id.clone())
            .collect();
        for id in &missing {
            self.forget_member(id);
        }
        if !self.members.is_empty() && !self.elect_joined_leader() {
            // Only static members are left, and none of them has joined: wait for them, until their
            // sessions end.
            let wait = self.rebalance_timeout().max(REPEATED_WAIT_MIN);
            self.join_timer = Some(JoinTimer::Rejoin { at: now.instant.plus(wait) });
            return;
        }
        self.begin_generation(now);
    }

    /// Makes a member that has joined the leader. False if no member has joined.
    fn elect_joined_leader(&mut self) -> bool {
        let is_joined = |id: &MemberId| self.members.get(id).is_some_and(|member| member.awaiting_join.is_some());
        if self.leader.as_ref().is_some_and(is_joined) {
            return true;
        }
        match self.members.keys().find(|id| is_joined(id)).cloned() {
            Some(joined) => {
                self.leader = Some(joined);
                true
            }
            None => false,
        }
    }

    fn begin_generation(&mut self, now: Now) {
        self.generation = self.generation.checked_add(1).unwrap_or(1);
        self.is_initial_rebalance = false;
        self.unsynced_members.clear();
        if self.members.is_empty() {
            self.protocol = None;
            self.subscribed_topics = self.read_subscriptions();
            self.enter(now, ClassicState::Empty);
            let metadata = self.metadata(&BTreeMap::new());
            self.actions.push_back(GroupAction::Store { metadata, purpose: StorePurpose::Empty { reply: None } });
            return;
        }
        self.protocol = self.vote();
        assert!(self.protocol.is_some(), "members are let in only if all have a protocol in common");
        self.subscribed_topics = self.read_subscriptions();
        self.enter(now, ClassicState::CompletingRebalance);
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            let member = self.members.get_mut(&id).expect("the id was just read from the members");
            member.is_new = false;
            member.session_deadline = Some(now.instant.plus(member.session_timeout));
            if let Some(token) = member.awaiting_join.take() {
                self.reply_joined(token, &id);
            }
            self.unsynced_members.insert(id);
        }
        self.sync_deadline = Some(now.instant.plus(self.rebalance_timeout()));
    }

    /// Members that did not fetch their assignment within the rebalance timeout are dropped.
    pub(super) fn drop_unsynced_members(&mut self, now: Now) {
        self.sync_deadline = None;
        let unsynced = std::mem::take(&mut self.unsynced_members);
        if unsynced.is_empty() {
            return;
        }
        for id in &unsynced {
            self.drop_member(id);
        }
        self.rebalance_or_complete_join(now);
    }

    /// Removes a member and answers its waiting requests, so that its client joins again if it
    /// still runs.
    pub(super) fn drop_member(&mut self, id: &MemberId) {
        let Some(member) = self.forget_member(id) else { return };
        if let Some(token) = member.awaiting_join {
            self.reply(token, ReplyOutcome::Join(Err(GroupError::UnknownMemberId)));
        }
        if let Some(token) = member.awaiting_sync {
            self.reply(token, ReplyOutcome::Sync(Err(GroupError::UnknownMemberId)));
        }
    }

    /// Ends a member's session if it is due.
    pub(super) fn expire_session(&mut self, now: Now, id: &MemberId) {
        let Some(member) = self.members.get_mut(id) else { return };
        if member.session_deadline.is_none_or(|at| at > now.instant) {
            return;
        }
        if member.is_awaiting() && !member.is_new {
            // A client that waits for an answer sends no heartbeats. The answer starts a new
            // session.
            member.session_deadline = None;
            return;
        }
        self.drop_member(id);
        match self.state {
            ClassicState::Stable | ClassicState::CompletingRebalance => self.prepare_rebalance(now),
            _ => self.complete_join_if_all_rejoined(now),
        }
    }

    /// Lets the reply to a leave wait for the record of the empty generation, if the leave has
    /// emptied the group. Returns the reply otherwise.
    pub(super) fn answer_after_empty(&mut self, reply: Reply) -> Option<Reply> {
        match self.actions.back_mut() {
            Some(GroupAction::Store { purpose: StorePurpose::Empty { reply: waiting }, .. }) if waiting.is_none() => {
                *waiting = Some(reply);
                None
            }
            _ => Some(reply),
        }
    }
}
