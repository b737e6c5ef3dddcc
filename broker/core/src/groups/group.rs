//! A group of any kind, with the operations that do not depend on the protocol of its members:
//! committed offsets, expiry, deletion and description.

use rustmq_model::Instant;

use super::classic::{ClassicGroup, GroupAction};
use super::error::GroupError;
use super::identity::GroupId;
use super::offsets::RetentionStart;
use super::request::{GroupDescription, GroupListing, OffsetCommitRequest};
use super::state::ClassicState;
use crate::coordinator::Now;

/// A group, by the protocol of its members.
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

    /// Whether the group has no members, and has handed out no member ids.
    pub(crate) fn is_unused(&self) -> bool {
        let Self::Classic(group) = self;
        group.is_unused()
    }

    /// Whether the group is unused and has had no generation.
    pub(crate) fn is_blank(&self) -> bool {
        let Self::Classic(group) = self;
        group.is_unused() && group.generation() == 0
    }

    pub(crate) fn member_count(&self) -> usize {
        let Self::Classic(group) = self;
        group.member_count()
    }

    /// Starts the timers when the log is replayed.
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

    /// Checks a commit of offsets against the group's members and generation.
    pub(crate) fn validate_commit(&mut self, now: Now, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        let Self::Classic(group) = self;
        group.validate_commit(now, request)
    }

    /// Checks a commit of a transaction against the group's members and generation.
    pub(crate) fn validate_transactional_commit(&self, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        let Self::Classic(group) = self;
        group.validate_transactional_commit(request)
    }

    /// Checks whether single offsets may be deleted.
    pub(crate) fn validate_offset_delete(&self) -> Result<(), GroupError> {
        let Self::Classic(group) = self;
        group.validate_offset_delete()
    }

    /// Whether some member reads this topic.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        let Self::Classic(group) = self;
        group.is_subscribed_to(topic)
    }

    /// The start of the retention time of the group's offsets; none while no offset expires
    /// (KIP-211).
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

    /// The number of its members' requests that wait.
    pub(crate) fn waiting_count(&self) -> usize {
        let Self::Classic(group) = self;
        group.waiting_count()
    }

    pub(crate) fn check_invariants(&self) {
        let Self::Classic(group) = self;
        group.check_invariants();
    }
}
