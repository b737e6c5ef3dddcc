//! The consumer protocol that is embedded in JoinGroup and SyncGroup: subscriptions and assignments
//! of members.
//!
//! In a classic group these bytes are messages between the members: the coordinator reads the
//! topics only, never changes the bytes, and never refuses a member because it cannot decode them.
//! In a consumer group the coordinator reads the subscriptions of classic members, and writes their
//! assignments.

use std::collections::{BTreeMap, BTreeSet};

use bytes::{BufMut, Bytes, BytesMut};
use rustmq_model::PartitionId;

use super::records::{Reader, RecordError};

/// The newest version of the embedded protocol. A newer one begins as this one does.
const VERSION_MAX: i16 = 3;

/// The protocol type of Kafka consumers: only groups of this type have subscriptions.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// The topics of a subscription. All versions begin as version 0 does: with the version number and
/// the topics.
///
/// # Errors
/// [`RecordError`] for a negative version, and for bytes that do not follow the schema.
pub fn subscribed_topics(subscription: &[u8]) -> Result<BTreeSet<String>, RecordError> {
    let mut reader = Reader::new(subscription);
    let version = reader.i16()?;
    if version < 0 {
        return Err(RecordError::UnknownVersion { schema: "ConsumerProtocol", version });
    }
    let count = reader.count(2)?;
    (0..count).map(|_| reader.string().map(str::to_owned)).collect()
}

/// The parts of a subscription that a consumer group needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscription {
    /// The version in which the member reads its assignment.
    pub version: i16,
    pub topics: BTreeSet<String>,
    /// The partitions that the member has. Version 0 has none: such members give up all partitions
    /// before they join.
    pub owned: BTreeMap<String, Vec<PartitionId>>,
    pub rack: Option<String>,
}

/// Decodes a subscription of any version.
///
/// # Errors
/// As [`subscribed_topics`].
pub fn decode_subscription(subscription: &[u8]) -> Result<Subscription, RecordError> {
    let mut reader = Reader::new(subscription);
    let version = reader.i16()?;
    if version < 0 {
        return Err(RecordError::UnknownVersion { schema: "ConsumerProtocol", version });
    }
    let count = reader.count(2)?;
    let topics = (0..count).map(|_| reader.string().map(str::to_owned)).collect::<Result<_, _>>()?;
    reader.skip_nullable_bytes()?;
    let mut owned: BTreeMap<String, Vec<PartitionId>> = BTreeMap::new();
    if version >= 1 {
        for _ in 0..reader.count(6)? {
            let partitions = owned.entry(reader.string()?.to_owned()).or_default();
            for _ in 0..reader.count(4)? {
                partitions.push(PartitionId(reader.i32()?));
            }
        }
    }
    if version >= 2 {
        // The generation in which the member got its partitions.
        reader.i32()?;
    }
    let rack = if version >= 3 { reader.nullable_string()?.map(str::to_owned) } else { None };
    Ok(Subscription { version: version.min(VERSION_MAX), topics, owned, rack })
}

/// The version of a subscription; 0 for one that cannot be decoded.
#[must_use]
pub fn subscription_version(subscription: &[u8]) -> i16 {
    Reader::new(subscription).i16().unwrap_or(0).clamp(0, VERSION_MAX)
}

/// Encodes an assignment without user data. All versions are alike but for their number.
///
/// # Panics
/// If a topic's name has more than 32,767 bytes: no topic has.
#[must_use]
pub fn encode_assignment(version: i16, topics: &[(&str, Vec<PartitionId>)]) -> Bytes {
    let count = |count: usize| i32::try_from(count).expect("a cluster has fewer partitions");
    let mut into = BytesMut::new();
    into.put_i16(version);
    into.put_i32(count(topics.len()));
    for (name, partitions) in topics {
        into.put_i16(i16::try_from(name.len()).expect("names of topics are short"));
        into.put_slice(name.as_bytes());
        into.put_i32(count(partitions.len()));
        partitions.iter().for_each(|partition| into.put_i32(partition.0));
    }
    into.put_i32(-1);
    into.freeze()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Version 3, one topic, no user data, no owned partitions, generation -1, no rack: as a Java
    /// consumer of 4.3.1 sends it.
    const SUBSCRIPTION: &[u8] =
        b"\x00\x03\x00\x00\x00\x01\x00\x06orders\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff";

    #[test]
    fn topics_of_a_java_consumer_are_found() {
        let topics = subscribed_topics(SUBSCRIPTION).unwrap();
        assert_eq!(topics, BTreeSet::from(["orders".to_owned()]));
    }

    #[test]
    fn all_versions_of_a_subscription_are_read() {
        let java = decode_subscription(SUBSCRIPTION).unwrap();
        assert_eq!((java.version, java.owned.len(), java.rack), (3, 0, None));
        let whole: &[u8] = b"\x00\x00\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x02xx\
            \x00\x00\x00\x01\x00\x01t\x00\x00\x00\x02\x00\x00\x00\x04\x00\x00\x00\x07\
            \x00\x00\x00\x05\x00\x01r";
        let (owned, lengths) =
            (BTreeMap::from([("t".to_owned(), vec![PartitionId(4), PartitionId(7)])]), [15, 34, 38, 41]);
        for (version, length) in (0_u8..).zip(lengths) {
            let bytes = [&[0, version][..], &whole[2..length]].concat();
            let read = decode_subscription(&bytes).unwrap();
            let expected = Subscription {
                version: i16::from(version),
                topics: BTreeSet::from(["t".to_owned()]),
                owned: if version == 0 { BTreeMap::new() } else { owned.clone() },
                rack: (version == 3).then(|| "r".to_owned()),
            };
            assert_eq!(read, expected);
            assert!(decode_subscription(&bytes[..length - 1]).is_err(), "{version}");
        }
        assert_eq!(decode_subscription(&[&[0, 9][..], &whole[2..]].concat()).unwrap().version, 3);
        assert!(decode_subscription(b"\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff").is_err());
    }

    #[test]
    fn an_assignment_is_written_as_consumers_read_it() {
        let bytes = encode_assignment(2, &[("t", vec![PartitionId(1), PartitionId(3)])]);
        let expected: &[u8] = b"\x00\x02\x00\x00\x00\x01\x00\x01t\x00\x00\x00\x02\
            \x00\x00\x00\x01\x00\x00\x00\x03\xff\xff\xff\xff";
        assert_eq!(bytes, expected);
        assert_eq!(encode_assignment(0, &[]), &b"\x00\x00\x00\x00\x00\x00\xff\xff\xff\xff"[..]);
    }

    #[test]
    fn every_cut_and_absurd_counts_are_errors() {
        for length in 0..16 {
            assert!(subscribed_topics(&SUBSCRIPTION[..length.min(13)]).is_err(), "{length}");
        }
        assert!(subscribed_topics(b"\x00\x00\x7f\xff\xff\xff\x00\x01a").is_err());
        assert!(subscribed_topics(b"\xff\xff\x00\x00\x00\x00").is_err());
    }
}
