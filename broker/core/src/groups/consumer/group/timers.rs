//! The deadlines of members: their sessions, and the time in which they must revoke partitions.

use std::time::Duration;

use super::{ConsumerGroup, RETRY};
use crate::coordinator::Now;
use crate::groups::consumer::draft::is_revoking;
use crate::groups::consumer::heartbeat::ConsumerHeartbeat;
use crate::groups::consumer::image::{Change, MemberImage};
use crate::groups::identity::MemberId;

impl ConsumerGroup {
    /// The members whose session or time for revocation is over.
    pub(super) fn due_members(&self, now: Now) -> Vec<MemberId> {
        let mut due = self.sessions.due(now.instant);
        due.extend(self.rebalances.due(now.instant));
        due
    }

    /// The members cannot be fenced now: they are looked at again a little later.
    pub(super) fn postpone(&mut self, now: Now, due: &[MemberId]) {
        let at = now.instant.plus(RETRY);
        for deadlines in [&mut self.sessions, &mut self.rebalances] {
            due.iter().for_each(|member| deadlines.postpone(member, at));
        }
    }

    /// Sets the deadlines that are missing, and clears those whose reason was taken back.
    pub(super) fn match_timers_to_image(&mut self, now: Now) {
        for (id, member) in self.image.members() {
            if !self.sessions.has(id) {
                let classic = member.subscription().and_then(|subscription| subscription.classic.as_ref());
                let timeout = classic.map_or(self.config.consumer.session_timeout, |it| it.session_timeout());
                self.sessions.set(id, now.instant.plus(timeout));
            }
            if !member.current().is_some_and(|it| is_revoking(it)) {
                if !member.is_classic() {
                    self.rebalances.clear(id);
                }
            } else if !self.rebalances.has(id) {
                self.rebalances.set(id, now.instant.plus(rebalance_timeout(member)));
            }
        }
    }

    /// Follows the changes of current assignments with the timers.
    pub(super) fn update_timers(&mut self, now: Now, changes: &[Change]) {
        for change in changes {
            let Change::Current(id, current) = change else { continue };
            let member = self.image.members().get(id);
            match (current, member) {
                (Some(current), Some(member)) if is_revoking(current) => {
                    self.rebalances.set(id, now.instant.plus(rebalance_timeout(member)));
                }
                _ => self.rebalances.clear(id),
            }
        }
    }

    /// Forgets the deadlines of members that are gone.
    pub(super) fn drop_timers_of_the_gone(&mut self) {
        let is_gone = |id: &&MemberId| !self.image.members().contains_key(*id);
        let gone: Vec<_> = self.sessions.members().filter(is_gone).cloned().collect();
        for member in gone {
            self.sessions.clear(&member);
            self.rebalances.clear(&member);
        }
    }

    /// A classic member has joined: it must fetch its assignment in its rebalance timeout.
    pub(super) fn await_sync(&mut self, now: Now, id: &MemberId) {
        self.extend_classic_session(now, id);
        if let Some(member) = self.image.members().get(id) {
            self.rebalances.set(id, now.instant.plus(rebalance_timeout(member)));
        }
    }

    /// A classic member was told to join again: it must do so in its rebalance timeout.
    pub(super) fn await_rejoin(&mut self, now: Now, id: &MemberId) {
        if let Some(member) = self.image.members().get(id).filter(|_| !self.rebalances.has(id)) {
            self.rebalances.set(id, now.instant.plus(rebalance_timeout(member)));
        }
    }

    /// A classic member has its assignment. It has time left only for revocation.
    pub(super) fn on_synced(&mut self, now: Now, id: &MemberId) {
        self.extend_classic_session(now, id);
        let Some(member) = self.image.members().get(id) else { return };
        if member.current().is_some_and(|current| is_revoking(current)) {
            self.rebalances.set(id, now.instant.plus(rebalance_timeout(member)));
        } else {
            self.rebalances.clear(id);
        }
    }

    pub(super) fn extend_classic_session(&mut self, now: Now, id: &MemberId) {
        let subscription = self.image.members().get(id).and_then(|member| member.subscription());
        if let Some(classic) = subscription.and_then(|subscription| subscription.classic.as_ref()) {
            self.sessions.set(id, now.instant.plus(classic.session_timeout()));
        }
    }

    pub(super) fn extend_session(&mut self, now: Now, request: &ConsumerHeartbeat) {
        let member = &request.member;
        if self.image.members().contains_key(member) {
            self.sessions.set(member, now.instant.plus(request.timing(&self.config.consumer).session_timeout));
        }
    }
}

fn rebalance_timeout(member: &MemberImage) -> Duration {
    member.subscription().map_or(Duration::ZERO, |subscription| subscription.rebalance_timeout())
}
