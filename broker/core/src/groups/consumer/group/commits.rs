//! Checks the offset commits and fetches of members.

use super::ConsumerGroup;
use crate::groups::error::GroupError;
use crate::groups::identity::MemberId;
use crate::groups::request::{OffsetCommit, OffsetCommitRequest};

impl ConsumerGroup {
    /// Checks a commit of offsets. A member may commit with the epoch in which it got the
    /// partition, so that a new epoch does not lose its commits (KIP-1251).
    ///
    /// # Errors
    /// [`GroupError`] for the whole request.
    pub(crate) fn validate_commit(&self, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        if self.is_deleting {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        if request.generation < 0 && self.is_empty() {
            return Ok(());
        }
        let member = self.image.members().get(&request.member);
        if member.is_some_and(|member| !member.is_classic()) && !request.supports_member_epochs {
            return Err(GroupError::UnsupportedVersion);
        }
        self.validate_member_epoch(request)
    }

    /// Checks a commit of a transaction. One that names no member comes from an old producer, and
    /// is accepted as its epoch fences it (KIP-447).
    ///
    /// # Errors
    /// As [`Self::validate_commit`], but in any version of the request.
    pub(crate) fn validate_transactional_commit(&self, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        if self.is_deleting {
            return Err(GroupError::CoordinatorNotAvailable);
        }
        let is_unnamed = request.member.is_empty() && request.instance.is_none();
        if request.generation < 0 && (self.is_empty() || is_unnamed) {
            return Ok(());
        }
        self.validate_member_epoch(request)
    }

    /// A member commits in its own epoch, or in an earlier one that is not below the epochs in
    /// which its partitions were assigned (KIP-1251).
    fn validate_member_epoch(&self, request: &OffsetCommitRequest) -> Result<(), GroupError> {
        let member = self.image.members().get(&request.member).ok_or(GroupError::UnknownMemberId)?;
        let current = member.current().ok_or(GroupError::UnknownMemberId)?;
        if request.generation == current.epoch {
            return Ok(());
        }
        if member.is_classic() {
            return Err(GroupError::IllegalGeneration);
        }
        let is_fresh = |commit: &OffsetCommit| {
            let partition = commit.partition.partition;
            let owned = current.assigned.epoch(commit.topic_id, partition);
            let assigned_in = owned.or_else(|| current.revoking.epoch(commit.topic_id, partition));
            assigned_in.is_some_and(|epoch| request.generation >= epoch)
        };
        if request.generation < current.epoch && request.offsets.iter().all(is_fresh) {
            Ok(())
        } else {
            Err(GroupError::StaleMemberEpoch)
        }
    }

    /// Checks a fetch of offsets by a member.
    ///
    /// # Errors
    /// [`GroupError::UnknownMemberId`], [`GroupError::StaleMemberEpoch`].
    pub(crate) fn validate_fetch(&self, member: &MemberId, epoch: i32) -> Result<(), GroupError> {
        let current = self.image.members().get(member).and_then(|member| member.current());
        let current = current.ok_or(GroupError::UnknownMemberId)?;
        if current.epoch == epoch { Ok(()) } else { Err(GroupError::StaleMemberEpoch) }
    }
}
