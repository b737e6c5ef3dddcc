//! A group of any kind, with the operations that do not depend on the protocol of its members:
//! committed offsets, expiry, deletion and description.

use rustmq_model::Instant;

use super::classic::{ClassicGroup, GroupAction};
use super::consumer::ConsumerGroup;
use super::error::GroupError;
use super::identity::GroupId;
use super::offsets::RetentionStart;
use super::records::encode_group_metadata_key;
use super::request::{GroupDescription, GroupListing, OffsetCommitRequest};
use super::state::GroupState;
use super::subscription::CONSUMER_PROTOCOL_TYPE;
use crate::coordinator::{CoordinatorRecord, Now};

/// A group, by the protocol of its members.
#[derive(Debug)]
pub(crate) enum Group {
    /// JoinGroup and SyncGroup; also the owner of offsets that are committed without membership.
    Classic(ClassicGroup),
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer(ConsumerGroup),
}

impl Group {
    pub(crate) fn id(&self) -> &GroupId {
        match self {
            Self::Classic(group) => group.id(),
            Self::Consumer(group) => group.id(),
        }
    }

    pub(crate) fn state(&self) -> GroupState {
        match self {
            Self::Classic(group) => GroupState::Classic(group.state()),
            Self::Consumer(group) => GroupState::Consumer(group.state()),
        }
    }

    /// Whether the group has no members, and none on their way.
    pub(crate) fn is_unused(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_unused(),
            Self::Consumer(group) => group.is_unused(),
        }
    }

    /// Whether nothing depends on the group: it may be forgotten without a trace.
    pub(crate) fn is_blank(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_unused() && group.generation() == 0,
            Self::Consumer(group) => group.is_blank(),
        }
    }

    pub(crate) fn member_count(&self) -> usize {
        match self {
            Self::Classic(group) => group.member_count(),
            Self::Consumer(group) => group.image().members().len(),
        }
    }

    /// Starts the timers when the log is replayed.
    pub(crate) fn activate(&mut self, now: Now) {
        match self {
            Self::Classic(group) => group.activate(now),
            Self::Consumer(group) => group.activate(now),
        }
    }

    pub(crate) fn poll_action(&mut self) -> Option<GroupAction> {
        match self {
            Self::Classic(group) => group.poll_action(),
            Self::Consumer(group) => group.poll_action(),
        }
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        match self {
            Self::Classic(group) => group.poll_timeout(),
            Self::Consumer(group) => group.poll_timeout(),
        }
    }

    pub(crate) fn handle_timeout(&mut self, now: Now) {
        match self {
            Self::Classic(group) => group.handle_timeout(now),
            Self::Consumer(group) => group.handle_timeout(now),
        }
    }

    /// Checks a commit of offsets against the group's members and generation.
    pub(crate) fn validate_commit(&mut self, now: Now, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        match self {
            Self::Classic(group) => group.validate_commit(now, request),
            Self::Consumer(group) => group.validate_commit(request),
        }
    }

    /// Checks a commit of a transaction against the group's members and generation.
    pub(crate) fn validate_transactional_commit(&self, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        match self {
            Self::Classic(group) => group.validate_transactional_commit(request),
            Self::Consumer(group) => group.validate_transactional_commit(request),
        }
    }

    /// Checks whether single offsets may be deleted.
    pub(crate) fn validate_offset_delete(&self) -> Result<(), GroupError> {
        match self {
            Self::Classic(group) => group.validate_offset_delete(),
            Self::Consumer(group) if group.is_deleting() => Err(GroupError::GroupIdNotFound),
            Self::Consumer(_) => Ok(()),
        }
    }

    /// Whether some member reads this topic.
    pub(crate) fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// The start of the retention time of the group's offsets; none while no offset expires
    /// (KIP-211).
    pub(crate) fn retention_start(&self) -> Option<RetentionStart> {
        match self {
            Self::Classic(group) => group.retention_start(),
            // The tombstones are pending already.
            Self::Consumer(group) if group.is_deleting() => None,
            // Offsets of topics that members read stay besides.
            Self::Consumer(_) => Some(RetentionStart::Commit),
        }
    }

    /// Starts the deletion of a group without members. Returns its tombstones.
    pub(crate) fn begin_deletion(&mut self, now: Now) -> Result<Vec<CoordinatorRecord>, GroupError> {
        match self {
            Self::Classic(group) => {
                group.begin_deletion(now)?;
                let key = encode_group_metadata_key(group.id().as_str()).map_err(|_| GroupError::InvalidGroupId)?;
                Ok(vec![CoordinatorRecord { key, value: None }])
            }
            Self::Consumer(group) => group.begin_deletion(),
        }
    }

    /// The group's tombstone could not be stored.
    pub(crate) fn undo_deletion(&mut self, now: Now) {
        match self {
            Self::Classic(group) => group.undo_deletion(now),
            Self::Consumer(group) => group.undo_deletion(),
        }
    }

    /// DescribeGroups knows classic groups only: a consumer group is shown as one that is dead.
    pub(crate) fn description(&self) -> GroupDescription {
        match self {
            Self::Classic(group) => group.description(),
            Self::Consumer(group) => GroupDescription::dead(group.id()),
        }
    }

    pub(crate) fn listing(&self) -> GroupListing {
        match self {
            Self::Classic(group) => group.listing(),
            Self::Consumer(group) => GroupListing {
                group: group.id().clone(),
                protocol_type: CONSUMER_PROTOCOL_TYPE.to_owned(),
                state: GroupState::Consumer(group.state()),
            },
        }
    }

    /// The number of its members' requests that wait.
    pub(crate) fn waiting_count(&self) -> usize {
        match self {
            Self::Classic(group) => group.waiting_count(),
            Self::Consumer(group) => group.waiting_count(),
        }
    }

    pub(crate) fn check_invariants(&self) {
        match self {
            Self::Classic(group) => group.check_invariants(),
            Self::Consumer(group) => group.check_invariants(),
        }
    }
}
