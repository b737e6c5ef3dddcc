//! The settings of the group coordinator, resolved: every value is bounded by the one who builds
//! it.
//!
//! The defaults are those of Apache Kafka 4.3. Parsing key names is the process's business.

use std::time::Duration;

/// Protocols that a member offers and that are counted on. Clients offer one or two, and one more
/// while they move to another.
pub const PROTOCOLS_PER_MEMBER: usize = 4;

/// What every group of a coordinator obeys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.initial.rebalance.delay.ms`: how long a new or empty group waits for more members.
    /// Default 3 s.
    pub initial_rebalance_delay: Duration,
    /// `group.min.session.timeout.ms`. Default 6 s.
    pub session_timeout_min: Duration,
    /// `group.max.session.timeout.ms`. Default 30 min.
    pub session_timeout_max: Duration,
    /// `group.max.size`: members per group. Kafka's default is 2,147,483,647.
    pub size_max: usize,
    /// How long a new member may wait in its first join before it is dropped. Kafka fixes it at 5
    /// min.
    pub new_member_join_timeout: Duration,
    /// Members per group that were given an id and have not joined with it yet.
    pub pending_members_max: usize,
    /// Groups per coordinator: a new group above it is told to try again later.
    pub groups_max: usize,
    /// `offsets.retention.minutes`. Default 7 days.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`. Default 10 min.
    pub offsets_retention_check_interval: Duration,
    /// Memory of what the members of a group offer: a join that would exceed it is refused. The
    /// group's record has one protocol of several, and must fit its log.
    pub protocol_bytes_max: usize,
    /// `offset.metadata.max.bytes`, in characters as Kafka counts it. Default 4096.
    pub offset_metadata_length_max: usize,
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            initial_rebalance_delay: Duration::from_secs(3),
            session_timeout_min: Duration::from_secs(6),
            session_timeout_max: Duration::from_secs(30 * 60),
            size_max: 2_147_483_647,
            new_member_join_timeout: Duration::from_secs(5 * 60),
            pending_members_max: 10_000,
            groups_max: 100_000,
            offsets_retention: Duration::from_secs(7 * 24 * 60 * 60),
            offsets_retention_check_interval: Duration::from_secs(10 * 60),
            protocol_bytes_max: PROTOCOLS_PER_MEMBER * (1 << 20),
            offset_metadata_length_max: 4096,
        }
    }
}
