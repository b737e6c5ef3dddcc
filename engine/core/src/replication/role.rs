//! The role of a replica in the current leader epoch.

use rustmq_model::Instant;

use super::follower::{Follower, FollowerState};
use super::leader::Leader;

#[derive(Debug)]
pub(super) enum Role {
    Idle,
    /// The controller has refused a proposal because this epoch is over. The next epoch has not
    /// arrived yet.
    Fenced,
    Leader(Leader),
    Follower(Follower),
}

/// The role of a replica, as seen from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RoleName {
    Idle,
    Fenced,
    Leader,
    Handshaking,
    Truncating,
    Resetting,
    Following,
}

impl Role {
    pub(super) const fn name(&self) -> RoleName {
        match self {
            Self::Idle => RoleName::Idle,
            Self::Fenced => RoleName::Fenced,
            Self::Leader(_) => RoleName::Leader,
            Self::Follower(follower) => match follower.state {
                FollowerState::Handshaking { .. } => RoleName::Handshaking,
                FollowerState::Truncating => RoleName::Truncating,
                FollowerState::Resetting => RoleName::Resetting,
                FollowerState::Following => RoleName::Following,
            },
        }
    }

    /// Whether the role waits for a change of the log. The change in flight may belong to an
    /// earlier role.
    pub(super) const fn is_changing(&self) -> bool {
        matches!(self.name(), RoleName::Truncating | RoleName::Resetting)
    }

    pub(super) fn due_at(&self) -> Option<Instant> {
        match self {
            Self::Idle | Self::Fenced => None,
            Self::Leader(leader) => leader.due_at(),
            Self::Follower(follower) => follower.due_at(),
        }
    }
}
