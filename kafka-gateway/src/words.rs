//! Small translations that many handlers share: names, ids, epochs, timeouts, the numbers that
//! stand for "none", and the bit fields of authorized operations.

use std::collections::BTreeSet;
use std::time::Duration;

use rustmq_broker_service::{Isolation, Mode, TopicRef};
use rustmq_model::{BrokerId, LeaderEpoch, TopicId};
use uuid::Uuid;

/// Stands for no offset, or an unknown one.
pub const NO_OFFSET: i64 = -1;
/// Stands for no timestamp.
pub const NO_TIMESTAMP: i64 = -1;
/// Stands for no leader epoch, or an unknown one.
pub const NO_LEADER_EPOCH: i32 = -1;
/// Stands for no broker.
pub const NO_BROKER: i32 = -1;

/// Stands for operations that the client did not ask for, in a bit field of authorized operations.
pub const OPERATIONS_UNKNOWN: i32 = i32::MIN;

// One bit for each code of Kafka's `AclOperation`. Below them, the operations that apply to each
// kind of resource: without an authorizer, each client may perform all of them.
const READ: i32 = 1 << 3;
const WRITE: i32 = 1 << 4;
const CREATE: i32 = 1 << 5;
const DELETE: i32 = 1 << 6;
const ALTER: i32 = 1 << 7;
const DESCRIBE: i32 = 1 << 8;
const CLUSTER_ACTION: i32 = 1 << 9;
const DESCRIBE_CONFIGS: i32 = 1 << 10;
const ALTER_CONFIGS: i32 = 1 << 11;
const IDEMPOTENT_WRITE: i32 = 1 << 12;

pub const TOPIC_OPERATIONS: i32 = READ | WRITE | CREATE | DELETE | ALTER | DESCRIBE | DESCRIBE_CONFIGS | ALTER_CONFIGS;
pub const GROUP_OPERATIONS: i32 = READ | DELETE | DESCRIBE | DESCRIBE_CONFIGS | ALTER_CONFIGS;
pub const CLUSTER_OPERATIONS: i32 =
    CREATE | ALTER | DESCRIBE | CLUSTER_ACTION | DESCRIBE_CONFIGS | ALTER_CONFIGS | IDEMPOTENT_WRITE;

/// The bit field for `operations`, if the client asked for it.
pub const fn operations_if(asked: bool, operations: i32) -> i32 {
    if asked { operations } else { OPERATIONS_UNKNOWN }
}

pub fn uuid(id: TopicId) -> Uuid {
    Uuid::from_u128(id.0)
}

pub fn topic_id(id: Uuid) -> TopicId {
    TopicId(id.as_u128())
}

/// No topic has a longer name, in bytes.
const TOPIC_NAME_BYTES_MAX: usize = 249;

/// A topic's name, cut to 250 bytes, for requests that need a copy for each of its partitions. An
/// overlong name stays invalid, and a small request cannot demand a long copy for each partition.
pub fn topic_name(name: &str) -> String {
    name[..name.floor_char_boundary(TOPIC_NAME_BYTES_MAX + 1)].to_owned()
}

/// A topic by its name, which is cut as in [`topic_name`].
pub fn named(name: &str) -> TopicRef {
    TopicRef::Name(topic_name(name))
}

/// A topic by its name, or by its id if the request has one.
pub fn topic_ref(name: &str, id: TopicId) -> TopicRef {
    if id == TopicId::ZERO { named(name) } else { TopicRef::Id(id) }
}

/// A leader epoch of a request; a negative one stands for none ([`NO_LEADER_EPOCH`]).
pub fn leader_epoch(epoch: i32) -> Option<LeaderEpoch> {
    (epoch >= 0).then_some(LeaderEpoch(epoch))
}

/// The keys that occur more than once.
pub fn repeated<K: Ord + Copy>(keys: impl Iterator<Item = K>) -> BTreeSet<K> {
    let mut seen = BTreeSet::new();
    keys.filter(|key| !seen.insert(*key)).collect()
}

/// The first answer for each key: an item that a request names twice is refused, and answered once.
pub fn once<T, K: Ord>(answers: Vec<T>, key: impl Fn(&T) -> K) -> Vec<T> {
    let mut seen = BTreeSet::new();
    answers.into_iter().filter(|answer| seen.insert(key(answer))).collect()
}

/// A duration in milliseconds; a negative one counts as zero.
pub fn milliseconds(value: i32) -> Duration {
    Duration::from_millis(u64::try_from(value).unwrap_or(0))
}

/// A duration in milliseconds; a negative one stands for none.
pub fn unless_negative(value: i64) -> Option<Duration> {
    u64::try_from(value).ok().map(Duration::from_millis)
}

pub const fn mode(validate_only: bool) -> Mode {
    if validate_only { Mode::ValidateOnly } else { Mode::Apply }
}

pub const fn isolation(level: i8) -> Isolation {
    if level == 1 { Isolation::ReadCommitted } else { Isolation::ReadUncommitted }
}

/// Pairs the items of a request with their results.
///
/// # Panics
/// If there is not one result for each item.
pub fn paired<T, R>(items: Vec<T>, results: Vec<R>) -> impl Iterator<Item = (T, R)> {
    assert_eq!(items.len(), results.len(), "each item of a request has one result");
    items.into_iter().zip(results)
}

pub fn broker_ids(brokers: &[BrokerId]) -> Vec<i32> {
    brokers.iter().map(|broker| broker.0).collect()
}

#[cfg(test)]
mod tests {
    use super::topic_name;

    #[test]
    fn a_name_that_no_topic_can_have_is_copied_in_part_and_stays_one() {
        assert_eq!(topic_name(&"a".repeat(249)), "a".repeat(249));
        assert_eq!(topic_name(&"a".repeat(30_000)).len(), 250);
        assert!(rustmq_model::TopicName::new(&topic_name(&"a".repeat(30_000))).is_err());
        assert!(topic_name(&"\u{00e9}".repeat(30_000)).len() <= 250);
    }
}
