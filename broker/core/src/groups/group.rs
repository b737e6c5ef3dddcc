//! One group of any kind, as far as the kinds are alike: committed offsets, expiry, deletion and
//! description do not ask which protocol its members speak.

use rustmq_model::Instant;

use super::classic::{ClassicGroup, GroupAction};
use super::error::GroupError;
use super::identity::GroupId;
use super::offsets::RetentionStart;
use super::request::{GroupDescription, GroupListing, OffsetCommitRequest};
use super::state::ClassicState;
use crate::coordinator::Now;

/// A group, by the protocol that its members speak.
#[derive(Debug)]
pub(crate) enum Group {
    /// JoinGroup and SyncGroup; also the owner of offsets that are committed without membership.
    Classic(ClassicGroup),
}

impl Group {
    pub(crate) fn id(&self) -> &GroupId {
        let Self::Classic(group) = self;
        group.id()
    }

    pub(crate) fn state(&self) -> ClassicState {
        let Self::Classic(group) = self;
        group.state()
    }

    /// No member, and no member id that was handed out.
    pub(crate) fn is_unused(&self) -> bool {
        let Self::Classic(group) = self;
        group.is_unused()
    }

    /// Unused, and without a generation so far.
    pub(crate) fn is_blank(&self) -> bool {
        let Self::Classic(group) = self;
        group.is_unused() && group.generation() == 0
    }

    pub(crate) fn member_count(&self) -> usize {
        let Self::Classic(group) = self;
        group.member_count()
    }

    /// The log is replayed: the clocks start.
    pub(crate) fn activate(&mut self, now: Now) {
        let Self::Classic(group) = self;
        group.activate(now);
    }

    pub(crate) fn poll_action(&mut self) -> Option<GroupAction> {
        let Self::Classic(group) = self;
        group.poll_action()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        let Self::Classic(group) = self;
        group.poll_timeout()
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        let Self::Classic(group) = self;
        group.handle_timeout(now);
    }

    /// Whether this commit of offsets is one of the group's.
    pub(crate) fn validate_commit(&mut self, now: Now, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        let Self::Classic(group) = self;
        group.validate_commit(now, request)
    }

    /// Whether single offsets may be deleted.
    pub(crate) fn validate_offset_delete(&self) -> Result<(), GroupError> {
        let Self::Classic(group) = self;
        group.validate_offset_delete()
    }

    /// Whether some member reads this topic.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        let Self::Classic(group) = self;
        group.is_subscribed_to(topic)
    }

    /// From when the retention of its offsets counts; none while it does not (KIP-211).
    pub(crate) fn retention_start(&self) -> Option<RetentionStart> {
        let Self::Classic(group) = self;
        group.retention_start()
    }

    /// Starts the deletion of a group without members.
    pub(crate) fn begin_deletion(&mut self, now: Now) -> Result<(), GroupError> {
        let Self::Classic(group) = self;
        group.begin_deletion(now)
    }

    /// The group's tombstone could not be stored.
    pub(crate) fn undo_deletion(&mut self, now: Now) {
        let Self::Classic(group) = self;
        group.undo_deletion(now);
    }

    pub(crate) fn description(&self) -> GroupDescription {
        let Self::Classic(group) = self;
        group.description()
    }

    pub(crate) fn listing(&self) -> GroupListing {
        let Self::Classic(group) = self;
        group.listing()
    }

    pub(crate) fn check_invariants(&self) {
        let Self::Classic(group) = self;
        group.check_invariants();
    }
}
