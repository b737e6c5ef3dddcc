//! The settings of the group coordinator. They are resolved and bounded: the caller that builds
//! them checks each value.
//!
//! The defaults are those of Apache Kafka 4.3. The process parses the names of settings.

use std::time::Duration;

use super::consumer::assignor::Assignor;

/// The number of protocols of a member that bounds on memory allow for. Clients offer one or two,
/// and one more while they change to another one.
pub const PROTOCOLS_PER_MEMBER: usize = 4;

/// The settings that hold for all groups of a coordinator.
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
    /// The longest wait of a new member in its first join; then it is dropped. Default 5 min, which
    /// is fixed in Kafka.
    pub new_member_join_timeout: Duration,
    /// The most members of a group that have got an id and not joined with it yet. Default 10,000.
    pub pending_members_max: usize,
    /// The most groups of a coordinator. A request that would make one more is refused as
    /// retriable. Default 100,000.
    pub groups_max: usize,
    /// `offsets.retention.minutes`. Default 7 days.
    pub offsets_retention: Duration,
    /// `offsets.retention.check.interval.ms`. Default 10 min.
    pub offsets_retention_check_interval: Duration,
    /// The most bytes of the protocols that all members of a group offer: a join that would exceed
    /// it is refused. A group's record holds one protocol of each member, and must fit into a batch
    /// of the log. Default 4 MiB.
    pub protocol_bytes_max: usize,
    /// The most memory of the offsets of open transactions, in bytes. A commit that would exceed it
    /// is refused as retriable. Default 64 MiB.
    pub pending_offset_bytes_max: usize,
    /// The most bytes of one append: the limit of the log on batches. Default 1 MiB.
    pub batch_bytes_max: usize,
    /// The settings of consumer groups (KIP-848).
    pub consumer: ConsumerGroupConfig,
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
            pending_offset_bytes_max: 64 << 20,
            batch_bytes_max: 1 << 20,
            consumer: ConsumerGroupConfig::default(),
            offset_metadata_length_max: 4096,
        }
    }
}

/// The settings of consumer groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroupConfig {
    /// `group.consumer.session.timeout.ms`. Default 45 s.
    pub session_timeout: Duration,
    /// `group.consumer.heartbeat.interval.ms`. Default 5 s.
    pub heartbeat_interval: Duration,
    /// `group.consumer.max.size`: members per group. Kafka's default is 2,147,483,647.
    pub size_max: usize,
    /// `group.consumer.assignors`: the first one serves groups whose members ask for none. Default
    /// uniform, range.
    pub assignors: Vec<Assignor>,
}

impl Default for ConsumerGroupConfig {
    fn default() -> Self {
        Self {
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(5),
            size_max: 2_147_483_647,
            assignors: Assignor::ALL.to_vec(),
        }
    }
}
