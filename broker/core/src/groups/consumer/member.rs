//! One member of a consumer group: its subscription and its current assignment, as the log keeps
//! them.
//!
//! These are plain records. The group makes the decisions about them.

use std::collections::BTreeSet;
use std::time::Duration;

use super::partitions::OwnedPartitions;
use crate::groups::identity::InstanceId;
use crate::groups::request::{ClientIdentity, Protocol};

/// The data that a member states about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberSubscription {
    pub instance: Option<InstanceId>,
    /// Kept and described; no assignor reads it.
    pub rack: Option<String>,
    pub client: ClientIdentity,
    pub topics: BTreeSet<String>,
    /// A pattern for further topics, in the syntax of RE2. It matches whole names.
    pub regex: Option<String>,
    /// The time in which the member must revoke partitions, in milliseconds.
    pub rebalance_timeout_ms: i32,
    /// The assignor that the member asks for.
    pub assignor: Option<String>,
    /// Set for a member that uses the classic protocol.
    pub classic: Option<ClassicSubscription>,
}

/// The data of a member that uses the classic protocol in a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicSubscription {
    pub session_timeout_ms: i32,
    pub protocols: Vec<Protocol>,
}

impl MemberSubscription {
    /// The time in which the member must take its next step.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        milliseconds(self.rebalance_timeout_ms)
    }
}

impl ClassicSubscription {
    pub(super) fn session_timeout(&self) -> Duration {
        milliseconds(self.session_timeout_ms)
    }
}

fn milliseconds(count: i32) -> Duration {
    Duration::from_millis(u64::try_from(count).unwrap_or(0))
}

/// The progress of a member towards its target assignment.
///
/// ```text
///             +------ the target takes partitions away ----> UnrevokedPartitions
///             |                                                      |
///          Stable <---- revoked, all of the target is free ----------+
///             |  ^                                                   |
///             |  '-- the last partition is free --+                  | revoked, some of the target
///             |                                   |                  | has another owner
///             +-- some of the target has ---> UnreleasedPartitions <-+
///                 another owner
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MemberState {
    /// The member has its whole target.
    Stable,
    /// The member was told to revoke partitions, and has not confirmed it.
    UnrevokedPartitions,
    /// The member waits for partitions that other members have not released.
    UnreleasedPartitions,
    /// A state of a newer version. The member must join again without partitions.
    Unknown,
}

impl MemberState {
    /// The number of the state in records.
    pub const fn number(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }

    pub const fn from_number(number: i8) -> Self {
        match number {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }
}

/// The member epoch of a static member that has left for a while (KIP-345).
pub const LEFT_STATIC_EPOCH: i32 = -2;

/// The partitions that a member has, and its epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CurrentAssignment {
    pub epoch: i32,
    /// A member that has not received the answer with its new epoch sends this one again.
    pub previous_epoch: i32,
    pub state: MemberState,
    pub assigned: OwnedPartitions,
    /// The member was told to revoke these; no other member gets them before it has.
    pub revoking: OwnedPartitions,
}

impl CurrentAssignment {
    /// The assignment of a member that joins: epoch 0, no partitions.
    #[must_use]
    pub fn joining() -> Self {
        Self {
            epoch: 0,
            previous_epoch: 0,
            state: MemberState::Stable,
            assigned: OwnedPartitions::default(),
            revoking: OwnedPartitions::default(),
        }
    }
}
