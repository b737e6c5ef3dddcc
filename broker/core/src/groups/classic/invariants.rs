//! The invariants of a group between any two inputs. Tests and fuzzing check them.

use super::ClassicGroup;
use crate::groups::member::Member;
use crate::groups::protocol::ProtocolSupport;
use crate::groups::state::ClassicState;

impl ClassicGroup {
    /// # Panics
    /// If the group contradicts itself, or if it was loaded and not activated.
    pub fn check_invariants(&self) {
        let is_without_members = matches!(self.state, ClassicState::Empty | ClassicState::Dead);
        assert!(!is_without_members || self.members.is_empty(), "an empty group has no members");
        self.check_membership();
        self.check_waiting();
        self.check_timers();
        if matches!(self.state, ClassicState::CompletingRebalance | ClassicState::Stable) {
            assert!(!self.members.is_empty(), "a generation has members");
            let protocol = self.protocol.as_deref().expect("a generation has a protocol");
            assert!(self.support.is_common(protocol, self.members.len()), "all members speak the group's protocol");
            assert!(self.members.values().all(|member| !member.is_new), "the members of a generation are not new");
        }
    }

    /// The number of joins and syncs that wait.
    pub(crate) fn waiting_count(&self) -> usize {
        let waiting =
            |member: &Member| usize::from(member.awaiting_join.is_some()) + usize::from(member.awaiting_sync.is_some());
        self.members.values().map(waiting).sum()
    }

    fn check_membership(&self) {
        assert_eq!(self.leader.is_some(), !self.members.is_empty(), "there is a leader if there are members");
        assert!(self.leader.as_ref().is_none_or(|id| self.members.contains_key(id)), "the leader is a member");
        let mut support = ProtocolSupport::default();
        let mut static_count = 0;
        for (id, member) in &self.members {
            support.add(&member.protocols);
            if let Some(instance) = &member.instance {
                static_count += 1;
                assert_eq!(self.static_members.get(instance), Some(id), "an instance id names its member");
            }
            assert!(!self.pending_members.contains_key(id), "a member is not pending");
        }
        assert_eq!(static_count, self.static_members.len(), "every instance id has a member");
        assert_eq!(support, self.support, "protocols are counted right");
        assert!(self.unsynced_members.iter().all(|id| self.members.contains_key(id)), "only members can be unsynced");
    }

    fn check_waiting(&self) {
        for member in self.members.values() {
            if member.awaiting_join.is_some() {
                let is_returning = self.state == ClassicState::Stable && self.storing_replacements > 0;
                assert!(self.state == ClassicState::PreparingRebalance || is_returning, "a join waits for something");
            }
            if member.awaiting_sync.is_some() {
                assert_eq!(self.state, ClassicState::CompletingRebalance, "a sync waits for an assignment");
            }
        }
    }

    fn check_timers(&self) {
        let is_preparing = self.state == ClassicState::PreparingRebalance;
        assert_eq!(self.join_timer.is_some(), is_preparing, "a join phase, and only that, has an end");
        assert!(!is_preparing || self.sync_deadline.is_none(), "nobody syncs during a join phase");
        assert_eq!(self.sync_deadline.is_some(), !self.unsynced_members.is_empty(), "unsynced members are waited for");
        let is_alive = |member: &Member| member.session_deadline.is_some() || member.is_awaiting();
        assert!(self.members.values().all(is_alive), "a member without a session's end waits for an answer");
    }
}
