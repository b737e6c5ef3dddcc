//! The heartbeat of a member of a consumer group, and the checks that need no group.

use std::collections::BTreeSet;
use std::time::Duration;

use super::assignor::Assignor;
use super::member::{LEFT_STATIC_EPOCH, MemberSubscription};
use super::partitions::Assignment;
use crate::groups::config::ConsumerGroupConfig;
use crate::groups::error::GroupError;
use crate::groups::identity::{GroupId, InstanceId, MemberId};
use crate::groups::request::ClientIdentity;
use crate::pattern::Pattern;

/// The member epoch of a member that joins.
const JOIN_EPOCH: i32 = 0;

/// ConsumerGroupHeartbeat. A field that is none has not changed since the last heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeat {
    pub group: GroupId,
    pub member: MemberId,
    /// 0 to join, -1 to leave, -2 for a static member that leaves for a while.
    pub epoch: i32,
    pub instance: Option<InstanceId>,
    pub rack: Option<String>,
    pub client: ClientIdentity,
    /// In milliseconds.
    pub rebalance_timeout_ms: Option<i32>,
    pub topics: Option<BTreeSet<String>>,
    /// Empty for no pattern.
    pub regex: Option<String>,
    pub assignor: Option<String>,
    /// The partitions that the member has.
    pub owned: Option<Assignment>,
    /// The group's own timing; none for that of all groups. The caller resolves it for each
    /// heartbeat, so that a change of the group's configs needs no event.
    pub timing: Option<HeartbeatTiming>,
}

/// How often a member sends heartbeats, and how long it may be silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatTiming {
    pub interval: Duration,
    pub session_timeout: Duration,
}

/// The answer to a heartbeat.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerHeartbeatAnswer {
    pub member: MemberId,
    pub epoch: i32,
    /// The time until the next heartbeat.
    pub interval: Duration,
    /// The partitions that the member may use; none if they have not changed.
    pub assignment: Option<Assignment>,
}

impl ConsumerHeartbeat {
    pub(crate) fn timing(&self, config: &ConsumerGroupConfig) -> HeartbeatTiming {
        let of_all = HeartbeatTiming { interval: config.heartbeat_interval, session_timeout: config.session_timeout };
        self.timing.unwrap_or(of_all)
    }

    pub(crate) const fn is_join(&self) -> bool {
        self.epoch == JOIN_EPOCH
    }

    pub(super) const fn is_leave(&self) -> bool {
        self.epoch < JOIN_EPOCH
    }

    /// Whether the static member comes back.
    pub(super) const fn is_temporary_leave(&self) -> bool {
        self.epoch == LEFT_STATIC_EPOCH
    }

    /// Whether the heartbeat only says that the member lives.
    pub(crate) const fn is_keepalive(&self) -> bool {
        self.epoch > JOIN_EPOCH
            && self.rebalance_timeout_ms.is_none()
            && self.topics.is_none()
            && self.regex.is_none()
            && self.assignor.is_none()
            && self.owned.is_none()
    }

    /// Whether the member states everything, as it does after an error: it has lost track, and
    /// gets its whole assignment again.
    pub(super) const fn is_full(&self) -> bool {
        self.is_join()
            || (self.rebalance_timeout_ms.is_some()
                && (self.topics.is_some() || self.regex.is_some())
                && self.owned.is_some())
    }

    /// Checks that the heartbeat does not contradict itself.
    ///
    /// # Errors
    /// [`GroupError::InvalidHeartbeat`], [`GroupError::UnsupportedAssignor`], and
    /// [`GroupError::InvalidRegularExpression`].
    pub(crate) fn check(&self, assignors: &[Assignor]) -> Result<(), GroupError> {
        let invalid = |reason| Err(GroupError::InvalidHeartbeat { reason });
        if self.member.is_empty() {
            return invalid("MemberId can't be empty.");
        }
        if self.instance.as_ref().is_some_and(InstanceId::is_empty) {
            return invalid("InstanceId can't be empty.");
        }
        if self.rack.as_ref().is_some_and(String::is_empty) {
            return invalid("RackId can't be empty.");
        }
        match self.epoch {
            ..LEFT_STATIC_EPOCH => return invalid("MemberEpoch is invalid."),
            LEFT_STATIC_EPOCH if self.instance.is_none() => return invalid("InstanceId can't be null."),
            JOIN_EPOCH => {
                if self.rebalance_timeout_ms.is_none() {
                    return invalid("RebalanceTimeoutMs must be provided in first request.");
                }
                if self.owned.as_ref().is_none_or(|owned| !owned.is_empty()) {
                    return invalid("TopicPartitions must be empty when (re-)joining.");
                }
                if self.topics.is_none() && self.regex.is_none() {
                    return invalid(
                        "Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.",
                    );
                }
            }
            _ => {}
        }
        if let Some(wanted) = &self.assignor
            && !assignors.iter().any(|assignor| assignor.name() == wanted)
        {
            let supported = assignors.iter().map(|assignor| assignor.name()).collect::<Vec<_>>().join(", ");
            return Err(GroupError::UnsupportedAssignor { supported });
        }
        match self.regex.as_deref() {
            None | Some("") => Ok(()),
            Some(pattern) => Ok(Pattern::compile(pattern).map(|_| ())?),
        }
    }

    /// The member's data with the fields that this heartbeat states.
    pub(super) fn update(&self, before: &MemberSubscription) -> MemberSubscription {
        let mut after = before.clone();
        after.client.clone_from(&self.client);
        after.classic = None;
        if let Some(timeout) = self.rebalance_timeout_ms {
            after.rebalance_timeout_ms = timeout;
        }
        if let Some(topics) = &self.topics {
            after.topics.clone_from(topics);
        }
        if let Some(regex) = &self.regex {
            after.regex = Some(regex.clone()).filter(|regex| !regex.is_empty());
        }
        after.instance = self.instance.clone().or(after.instance);
        after.rack = self.rack.clone().or(after.rack);
        after.assignor = self.assignor.clone().or(after.assignor);
        after
    }
}
