//! Configs for the broker's use: typed, and resolved through their layers.
//!
//! Values were checked when they were set. A value that does not parse nevertheless, because an
//! older catalogue accepted it, counts as the default.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::group::{self, BrokerValues};
use super::layers::ConfigLayers;
use super::rule::{bounds_of_addresses, keep_everybody_out};
use super::{broker_config, topic_config};

const PER_ADDRESS: &str = "max.connections.per.ip";

/// How old records are removed. If neither is set, they are not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    pub delete: bool,
    pub compact: bool,
}

/// The source of the records' timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    CreateTime,
    LogAppendTime,
}

/// A topic's configs in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveTopicConfig {
    pub cleanup_policy: CleanupPolicy,
    /// None keeps records for ever.
    pub retention_ms: Option<u64>,
    /// The most bytes of one partition. `None`: no limit.
    pub retention_bytes: Option<u64>,
    pub max_message_bytes: u32,
    pub message_timestamp_type: TimestampType,
    pub message_timestamp_before_max_ms: u64,
    pub message_timestamp_after_max_ms: u64,
    /// The configured value. A partition with fewer replicas needs all of them in sync.
    pub min_insync_replicas: u32,
}

impl EffectiveTopicConfig {
    #[must_use]
    pub fn resolve(layers: &ConfigLayers<'_>) -> Self {
        let text = |name: &str| {
            let (value, _) = layers.topic_value(name).expect("the name is in the catalogue");
            value.trim().to_owned()
        };
        let number = |name: &str| {
            let default = || topic_config(name).and_then(|config| config.entry.default?.parse::<i64>().ok());
            text(name).parse::<i64>().ok().or_else(default).expect("the catalogue's default is a number")
        };
        let policy = text("cleanup.policy");
        let has = |wanted: &str| policy.split(',').any(|item| item.trim() == wanted);
        Self {
            cleanup_policy: CleanupPolicy { delete: has("delete"), compact: has("compact") },
            retention_ms: u64::try_from(number("retention.ms")).ok(),
            retention_bytes: u64::try_from(number("retention.bytes")).ok(),
            max_message_bytes: u32::try_from(number("max.message.bytes")).unwrap_or(0),
            message_timestamp_type: match text("message.timestamp.type").as_str() {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            message_timestamp_before_max_ms: u64::try_from(number("message.timestamp.before.max.ms")).unwrap_or(0),
            message_timestamp_after_max_ms: u64::try_from(number("message.timestamp.after.max.ms")).unwrap_or(0),
            min_insync_replicas: u32::try_from(number("min.insync.replicas")).unwrap_or(1),
        }
    }
}

/// A group's configs in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EffectiveGroupConfig {
    pub assignment_interval_ms: u32,
    pub heartbeat_interval_ms: u32,
    pub session_timeout_ms: u32,
}

impl EffectiveGroupConfig {
    /// Resolves the layers of a group. Brings each value within the broker's bounds, as Kafka does:
    /// the bounds may have changed since the value was set.
    #[must_use]
    pub fn resolve(layers: &ConfigLayers<'_>) -> Self {
        let broker_values = layers.broker_values_for_groups();
        let value = |name: &str| {
            let value = BrokerValues(&broker_values).in_force(layers.own_configs(), name);
            u32::try_from(value).unwrap_or(0)
        };
        Self {
            assignment_interval_ms: value(group::ASSIGNMENT_INTERVAL),
            heartbeat_interval_ms: value(group::HEARTBEAT_INTERVAL),
            session_timeout_ms: value(group::SESSION_TIMEOUT),
        }
    }
}

/// The broker-wide configs in force, without those that are defaults of topic configs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EffectiveBrokerConfig {
    pub auto_create_topics: bool,
    pub delete_topics: bool,
    pub num_partitions: i32,
    pub default_replication_factor: i16,
    pub fetch_bytes_max: u32,
    pub fetch_sessions_max: u32,
    pub connections_max: u32,
    /// 0 only if the bounds of single addresses let some address connect.
    pub connections_per_address_max: u32,
    /// Addresses with a bound of their own.
    pub connections_of_addresses_max: BTreeMap<IpAddr, u32>,
    pub connection_idle_ms_max: Option<u64>,
    pub request_bytes_max: u32,
    pub described_partitions_max: u32,
    pub group_initial_rebalance_delay_ms: u32,
    pub group_session_timeout_ms_min: u32,
    pub group_session_timeout_ms_max: u32,
    pub group_members_max: u32,
    /// The names in the order of the setting. Unknown ones are passed over.
    pub consumer_group_assignors: Vec<String>,
    pub consumer_group_heartbeat_interval_ms: u32,
    pub consumer_group_members_max: u32,
    pub consumer_group_session_timeout_ms: u32,
    pub offset_metadata_bytes_max: u32,
    pub offsets_retention_minutes: u32,
    pub offsets_retention_check_ms: u64,
    pub offsets_topic_partitions: i32,
    pub offsets_topic_replication_factor: i16,
    pub producer_id_expiration_ms: u64,
    pub retention_check_ms: u64,
    pub transaction_timeout_ms_max: u32,
    pub transaction_topic_partitions: i32,
    pub transaction_topic_replication_factor: i16,
    pub transactional_id_expiration_ms: u32,
    pub transactional_id_expiration_check_ms: u32,
}

impl EffectiveBrokerConfig {
    #[must_use]
    pub fn resolve(layers: &ConfigLayers<'_>) -> Self {
        let flag =
            |name: &str| layers.broker_value(name).is_some_and(|value| value.trim().eq_ignore_ascii_case("true"));
        let number = |name: &str| {
            let default = || broker_config(name).and_then(|entry| entry.default?.parse::<i64>().ok());
            let value = layers.broker_value(name).and_then(|value| value.trim().parse::<i64>().ok());
            value.or_else(default).expect("the catalogue's default is a number")
        };
        let whole = |name: &str| u32::try_from(number(name)).unwrap_or(0);
        let (connections_per_address_max, connections_of_addresses_max) =
            bounds_of_connections(layers, whole(PER_ADDRESS));
        let long = |name: &str| u64::try_from(number(name)).unwrap_or(0);
        let factor = |name: &str| i16::try_from(number(name)).unwrap_or(i16::MAX);
        let list = |name: &str| -> Vec<String> {
            let value = layers.broker_value(name).unwrap_or_default();
            value.split(',').map(|item| item.trim().to_owned()).filter(|item| !item.is_empty()).collect()
        };
        let partitions = |name: &str| i32::try_from(number(name)).unwrap_or(i32::MAX);
        Self {
            auto_create_topics: flag("auto.create.topics.enable"),
            delete_topics: flag("delete.topic.enable"),
            num_partitions: partitions("num.partitions"),
            default_replication_factor: factor("default.replication.factor"),
            fetch_bytes_max: whole("fetch.max.bytes"),
            fetch_sessions_max: whole("max.incremental.fetch.session.cache.slots"),
            connections_max: whole("max.connections"),
            connections_per_address_max,
            connections_of_addresses_max,
            connection_idle_ms_max: u64::try_from(number("connections.max.idle.ms")).ok(),
            request_bytes_max: whole("socket.request.max.bytes"),
            described_partitions_max: whole("max.request.partition.size.limit"),
            group_initial_rebalance_delay_ms: whole("group.initial.rebalance.delay.ms"),
            group_session_timeout_ms_min: whole("group.min.session.timeout.ms"),
            group_session_timeout_ms_max: whole("group.max.session.timeout.ms"),
            group_members_max: whole("group.max.size"),
            consumer_group_assignors: list("group.consumer.assignors"),
            consumer_group_heartbeat_interval_ms: whole("group.consumer.heartbeat.interval.ms"),
            consumer_group_members_max: whole("group.consumer.max.size"),
            consumer_group_session_timeout_ms: whole("group.consumer.session.timeout.ms"),
            offset_metadata_bytes_max: whole("offset.metadata.max.bytes"),
            offsets_retention_minutes: whole("offsets.retention.minutes"),
            offsets_retention_check_ms: long("offsets.retention.check.interval.ms"),
            offsets_topic_partitions: partitions("offsets.topic.num.partitions"),
            offsets_topic_replication_factor: factor("offsets.topic.replication.factor"),
            producer_id_expiration_ms: long("producer.id.expiration.ms"),
            retention_check_ms: long("log.retention.check.interval.ms"),
            transaction_timeout_ms_max: whole("transaction.max.timeout.ms"),
            transaction_topic_partitions: partitions("transaction.state.log.num.partitions"),
            transaction_topic_replication_factor: factor("transaction.state.log.replication.factor"),
            transactional_id_expiration_ms: whole("transactional.id.expiration.ms"),
            transactional_id_expiration_check_ms: whole("transaction.remove.expired.transaction.cleanup.interval.ms"),
        }
    }
}

/// The bound of connections for every address, and those of single addresses. Each layer is checked
/// by itself when it is set, so that 0 in one layer can meet overrides in another that let no
/// address connect. No client could undo that, so the default bound holds then.
fn bounds_of_connections(layers: &ConfigLayers<'_>, per_address: u32) -> (u32, BTreeMap<IpAddr, u32>) {
    let of_addresses =
        layers.broker_value("max.connections.per.ip.overrides").map_or_else(BTreeMap::new, bounds_of_addresses);
    if !keep_everybody_out(per_address, &of_addresses) {
        return (per_address, of_addresses);
    }
    let default = broker_config(PER_ADDRESS).and_then(|entry| entry.default?.parse().ok());
    (default.expect("the catalogue's default is a number"), of_addresses)
}
