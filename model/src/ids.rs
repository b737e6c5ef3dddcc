//! Identifiers and positions. Each is its own type, so that an offset is never mistaken for an
//! epoch or a sequence.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// The position of a record in a partition, counted from 0. An end is an offset, too: one past the
/// last record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Offset(pub i64);

impl Offset {
    pub const ZERO: Self = Self(0);

    /// The offset `count` records later. Saturates at the largest offset, which no log reaches.
    #[must_use]
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

/// The number of a partition's leadership; the controller raises it at each change of leader
/// (KIP-101). Never negative in the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaderEpoch(pub i32);

impl LeaderEpoch {
    /// No leadership.
    pub const NONE: Self = Self(-1);
}

/// The index of a partition within its topic, counted from 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct PartitionId(pub i32);

/// The numeric id of a broker. The controller assigns it at the first registration and never reuses
/// it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BrokerId(pub i32);

/// The id of an idempotent or transactional producer (KIP-98). [`ProducerId::NONE`] marks a batch
/// of any other producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProducerId(pub i64);

impl ProducerId {
    pub const NONE: Self = Self(-1);
}

/// The incarnation of a producer id: a higher epoch fences the lower ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ProducerEpoch(pub i16);

impl ProducerEpoch {
    pub const NONE: Self = Self(-1);
    /// The last epoch of a producer id.
    pub const MAX: Self = Self(i16::MAX);
}

/// The sequence number of a record within its producer and partition. As in Kafka, it wraps from
/// `i32::MAX` to 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sequence(pub i32);

impl Sequence {
    pub const NONE: Self = Self(-1);

    /// The sequence `count` records later; `count` is not negative.
    #[must_use]
    pub fn plus(self, count: i32) -> Self {
        let sum = (i64::from(self.0) + i64::from(count)) % (i64::from(i32::MAX) + 1);
        Self(i32::try_from(sum).expect("a remainder below 2^31 fits an i32"))
    }
}

/// Shows the number alone: the text around it names its kind.
macro_rules! shown_as_its_number {
    ($($name:ident),*) => {
        $(impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        })*
    };
}

shown_as_its_number!(Offset, LeaderEpoch, PartitionId, BrokerId, ProducerId, ProducerEpoch, Sequence);

/// The immutable id of a topic (KIP-516). It is a UUID, so that a topic that is created again under
/// an old name is another topic.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct TopicId(pub u128);

impl TopicId {
    /// Stands for an unknown topic on the wire.
    pub const ZERO: Self = Self(0);

    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A partition by its topic's id. The engine stores partitions under it, so that a topic that was
/// created again does not see the old one's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicIdPartition {
    pub topic_id: TopicId,
    pub partition: PartitionId,
}

impl fmt::Display for TopicIdPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic_id, self.partition)
    }
}

/// A partition by its topic's name, as clients and coordinators address it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct TopicPartition {
    pub topic: TopicName,
    pub partition: PartitionId,
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// A legal topic name: 1 to 249 characters of `a-z A-Z 0-9 . _ -`, but neither `.` nor `..`
/// (Kafka's rule). Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TopicName(Arc<str>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TopicNameError {
    #[error("a topic name must not be empty")]
    Empty,
    #[error("topic name '{name}' is illegal: it must not be '.' or '..'")]
    Dots { name: String },
    #[error("a topic name has at most {max} characters; this one has {length}", max = TopicName::LENGTH_MAX)]
    TooLong { length: usize },
    #[error("topic name '{name}' is illegal: only ASCII letters, digits, '.', '_' and '-' are allowed")]
    IllegalCharacter { name: String },
}

impl TopicName {
    /// The longest legal name, in characters.
    pub const LENGTH_MAX: usize = 249;

    /// # Errors
    /// [`TopicNameError`] says which part of the rule `name` breaks.
    pub fn new(name: &str) -> Result<Self, TopicNameError> {
        if name.is_empty() {
            return Err(TopicNameError::Empty);
        }
        if name == "." || name == ".." {
            return Err(TopicNameError::Dots { name: name.to_owned() });
        }
        if name.len() > Self::LENGTH_MAX {
            return Err(TopicNameError::TooLong { length: name.len() });
        }
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-')) {
            return Err(TopicNameError::IllegalCharacter { name: name.to_owned() });
        }
        Ok(Self(Arc::from(name)))
    }

    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name as metrics show it, with `_` for each `.`, or `None` if it contains neither: such a
    /// name collides with no other. Kafka refuses a topic whose unified name equals that of
    /// another.
    #[must_use]
    pub fn unified(&self) -> Option<String> {
        self.0.contains(['.', '_']).then(|| self.0.replace('.', "_"))
    }
}

impl fmt::Display for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for TopicName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

impl Borrow<str> for TopicName {
    fn borrow(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TopicName {
    type Error = TopicNameError;

    fn try_from(name: String) -> Result<Self, TopicNameError> {
        Self::new(&name)
    }
}

impl From<TopicName> for String {
    fn from(name: TopicName) -> Self {
        name.0.as_ref().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::{Sequence, TopicName};

    #[test]
    fn topic_names_follow_kafkas_rule() {
        let check = |name: &str, legal: bool| assert_eq!(TopicName::new(name).is_ok(), legal, "{name:?}");
        check("orders", true);
        check("a.b_c-9", true);
        check(&"x".repeat(249), true);
        check("", false);
        check(".", false);
        check("..", false);
        check("a b", false);
        check("é", false);
        check(&"x".repeat(250), false);
    }

    #[test]
    fn names_that_differ_in_dots_and_underscores_collide() {
        let name = |text| TopicName::new(text).expect("a legal name");
        assert_eq!(name("a.b_c").unified(), name("a_b.c").unified());
        assert_ne!(name("a.b").unified(), name("a_c").unified());
        assert_eq!(name("a-b").unified(), None);
    }

    #[test]
    fn sequences_wrap_to_zero() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(3), Sequence(1));
        assert_eq!(Sequence(7).plus(0), Sequence(7));
    }
}
