//! One deadline for each member, with the earliest at hand.

use std::collections::{BTreeMap, BTreeSet};

use rustmq_model::Instant;

use crate::groups::identity::MemberId;

#[derive(Debug, Default)]
pub(super) struct Deadlines {
    by_member: BTreeMap<MemberId, Instant>,
    by_time: BTreeSet<(Instant, MemberId)>,
}

impl Deadlines {
    pub(super) fn set(&mut self, member: &MemberId, at: Instant) {
        self.clear(member);
        self.by_member.insert(member.clone(), at);
        self.by_time.insert((at, member.clone()));
    }

    pub(super) fn clear(&mut self, member: &MemberId) {
        if let Some((member, at)) = self.by_member.remove_entry(member) {
            self.by_time.remove(&(at, member));
        }
    }

    /// Moves the deadline of a member, if it has one that is earlier.
    pub(super) fn postpone(&mut self, member: &MemberId, at: Instant) {
        if self.by_member.get(member).is_some_and(|before| *before < at) {
            self.set(member, at);
        }
    }

    pub(super) fn first(&self) -> Option<Instant> {
        self.by_time.first().map(|(at, _)| *at)
    }

    pub(super) fn has(&self, member: &MemberId) -> bool {
        self.by_member.contains_key(member)
    }

    /// The members whose deadline is over.
    pub(super) fn due(&self, now: Instant) -> Vec<MemberId> {
        self.by_time.iter().take_while(|(at, _)| *at <= now).map(|(_, member)| member.clone()).collect()
    }

    pub(super) fn members(&self) -> impl Iterator<Item = &MemberId> {
        self.by_member.keys()
    }
}
