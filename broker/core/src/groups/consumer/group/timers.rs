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
        let session = self.config.consumer.session_timeout;
        for (id, member) in self.image.members() {
            if !self.sessions.has(id) {
                self.sessions.set(id, now.instant.plus(session));
            }
            if !member.current().is_some_and(|it| is_revoking(it)) {
                self.rebalances.clear(id);
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

    pub(super) fn extend_session(&mut self, now: Now, request: &ConsumerHeartbeat) {
        let member = &request.member;
        if self.image.members().contains_key(member) {
            self.sessions.set(member, now.instant.plus(request.timing(&self.config.consumer).session_timeout));
        }
    }
}

fn rebalance_timeout(member: &MemberImage) -> Duration {
    let millis = member.subscription().map_or(0, |subscription| subscription.rebalance_timeout_ms);
    Duration::from_millis(u64::try_from(millis).unwrap_or(0))
}
