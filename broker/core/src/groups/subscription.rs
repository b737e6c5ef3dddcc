//! Decodes the topics of a member's subscription. The coordinator needs no other part of the
//! consumer protocol.
//!
//! These bytes are messages between the members: the coordinator never changes them, and never
//! refuses a member because it cannot decode them.

use std::collections::BTreeSet;

use super::records::{Reader, RecordError};

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
    fn every_cut_and_absurd_counts_are_errors() {
        for length in 0..16 {
            assert!(subscribed_topics(&SUBSCRIPTION[..length.min(13)]).is_err(), "{length}");
        }
        assert!(subscribed_topics(b"\x00\x00\x7f\xff\xff\xff\x00\x01a").is_err());
        assert!(subscribed_topics(b"\xff\xff\x00\x00\x00\x00").is_err());
    }
}
