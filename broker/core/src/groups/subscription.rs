//! Looks into the consumer protocol's bytes, only as far as the coordinator has to: which topics a member wants.
//!
//! Members talk to each other through these bytes; the coordinator never changes them and never refuses what it
//! cannot read.

use std::collections::BTreeSet;

use bytes::Bytes;

use super::records::{Reader, RecordError};

/// The protocol type of Kafka consumers: only groups of this type have subscriptions.
pub const CONSUMER_PROTOCOL_TYPE: &str = "consumer";

/// Topics in a subscription of any version: each starts as version 0 does, with its version and the topics.
pub fn subscribed_topics(subscription: Bytes) -> Result<BTreeSet<String>, RecordError> {
    let mut reader = Reader::new(subscription);
    let (_, topics) = version_and_topics(&mut reader)?;
    Ok(topics)
}

/// Partitions that a subscription of version 1 and up says the member still owns, by topic.
pub fn owned_partitions(subscription: Bytes) -> Result<Vec<(String, Vec<i32>)>, RecordError> {
    let mut reader = Reader::new(subscription);
    let (version, _) = version_and_topics(&mut reader)?;
    if version < 1 {
        return Ok(Vec::new());
    }
    // User data comes between the two.
    reader.nullable_bytes()?;
    partitions_by_topic(&mut reader)
}

/// Partitions in an assignment of any version, by topic. An empty one (nothing assigned yet) has none.
pub fn assigned_partitions(assignment: Bytes) -> Result<Vec<(String, Vec<i32>)>, RecordError> {
    if assignment.is_empty() {
        return Ok(Vec::new());
    }
    let mut reader = Reader::new(assignment);
    version(&mut reader)?;
    partitions_by_topic(&mut reader)
}

fn version(reader: &mut Reader) -> Result<i16, RecordError> {
    match reader.i16()? {
        version @ 0.. => Ok(version),
        version => Err(RecordError::UnknownVersion { schema: "ConsumerProtocol", version }),
    }
}

fn version_and_topics(reader: &mut Reader) -> Result<(i16, BTreeSet<String>), RecordError> {
    let version = version(reader)?;
    let count = reader.count(2)?;
    let topics = (0..count).map(|_| reader.string()).collect::<Result<_, _>>()?;
    Ok((version, topics))
}

fn partitions_by_topic(reader: &mut Reader) -> Result<Vec<(String, Vec<i32>)>, RecordError> {
    let topic_count = reader.count(6)?;
    (0..topic_count)
        .map(|_| {
            let topic = reader.string()?;
            let partition_count = reader.count(4)?;
            let partitions = (0..partition_count).map(|_| reader.i32()).collect::<Result<_, _>>()?;
            Ok((topic, partitions))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// Version 3, one topic, no user data, no owned partitions, generation -1, no rack: as a Java consumer of 4.3.1
    /// sends it.
    const SUBSCRIPTION: &[u8] =
        b"\x00\x03\x00\x00\x00\x01\x00\x06orders\xff\xff\xff\xff\x00\x00\x00\x00\xff\xff\xff\xff\xff\xff";
    /// Version 3, partitions 0 and 1 of one topic: as a Java consumer's range assignor makes it.
    const ASSIGNMENT: &[u8] =
        b"\x00\x03\x00\x00\x00\x01\x00\x06orders\x00\x00\x00\x02\x00\x00\x00\x00\x00\x00\x00\x01\xff\xff\xff\xff";

    #[test]
    fn topics_and_partitions_of_a_java_consumer_are_found() {
        let topics = subscribed_topics(Bytes::from_static(SUBSCRIPTION)).unwrap();
        assert_eq!(topics, BTreeSet::from(["orders".to_owned()]));
        assert_eq!(owned_partitions(Bytes::from_static(SUBSCRIPTION)).unwrap(), vec![]);
        let assigned = assigned_partitions(Bytes::from_static(ASSIGNMENT)).unwrap();
        assert_eq!(assigned, vec![("orders".to_owned(), vec![0, 1])]);
        assert_eq!(assigned_partitions(Bytes::new()).unwrap(), vec![]);
    }

    #[test]
    fn every_cut_and_absurd_counts_are_errors() {
        for length in 0..16 {
            assert!(subscribed_topics(Bytes::from_static(&SUBSCRIPTION[..length.min(13)])).is_err(), "{length}");
        }
        assert!(subscribed_topics(Bytes::from_static(b"\x00\x00\x7f\xff\xff\xff\x00\x01a")).is_err());
        assert!(subscribed_topics(Bytes::from_static(b"\xff\xff\x00\x00\x00\x00")).is_err());
        assert!(assigned_partitions(Bytes::from_static(b"\x00\x00\xff\xff\xff\xff")).is_err());
    }
}
