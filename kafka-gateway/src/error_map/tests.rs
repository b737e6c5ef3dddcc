//! Clients depend on codes, and people on texts: both stay as they are.

mod pins;

use rustmq_broker_service::groups::{GroupError, MemberId};
use rustmq_broker_service::{BrokerError, RecordFault, Rejection};
use rustmq_engine_api::{AppendError, ReadError};
use rustmq_model::{
    BrokerId, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, TopicId, TopicName,
};

use super::{code, group_code};
use pins::PINS;

fn orders() -> TopicName {
    TopicName::new("orders").expect("a legal name")
}

/// By the name of their pin.
fn errors() -> Vec<(&'static str, BrokerError)> {
    let (topic, partition) = (orders(), PartitionId(7));
    let (given, current) = (LeaderEpoch(2), LeaderEpoch(5));
    let text = |text: &str| text.to_owned();
    let records = vec![RecordFault { index: 0, reason: text("") }];
    let invalid = |reason: &str| BrokerError::InvalidRecord { reason: reason.to_owned(), records: Vec::new() };
    let request = |reason: &str| BrokerError::InvalidRequest { reason: reason.to_owned() };
    let policy = |reason: &str| BrokerError::PolicyViolation { reason: reason.to_owned() };
    vec![
        ("unknown name", BrokerError::UnknownTopic { name: text("orders") }),
        ("unknown id", BrokerError::UnknownTopicId { id: TopicId(7) }),
        ("unknown partition", BrokerError::UnknownPartition { topic: topic.clone(), partition }),
        ("not leader", BrokerError::NotLeader { topic: topic.clone(), partition }),
        ("fenced leader epoch", BrokerError::FencedLeaderEpoch { given, current }),
        ("unknown leader epoch", BrokerError::UnknownLeaderEpoch { given, current }),
        (
            "out of range",
            BrokerError::OffsetOutOfRange {
                requested: Offset(9),
                log_start: Offset(3),
                end: Offset(6),
                high_watermark: Offset(6),
            },
        ),
        ("illegal name", BrokerError::InvalidTopicName { reason: text("a topic name must not be empty") }),
        ("internal topic", BrokerError::InternalTopic { topic: topic.clone() }),
        ("log full", BrokerError::StorageFull),
        ("log failed", BrokerError::Storage { reason: text("cannot sync slot 3") }),
        ("stopping", BrokerError::Stopping),
        ("damaged records", BrokerError::from(ReadError::Damaged { first: Offset(3), end: Offset(6) })),
        ("unreadable", BrokerError::from(ReadError::Storage { reason: text("cannot read slot 3") })),
        ("busy", BrokerError::from(ReadError::Busy)),
        (
            "damaged batch",
            BrokerError::CorruptBatch { reason: text("a record batch has at least 61 bytes; 20 are there") },
        ),
        ("unknown codec", BrokerError::UnsupportedCompression { code: 6 }),
        (
            "undecodable",
            BrokerError::UndecodableRecords {
                reason: text("the records do not decompress as lz4: unexpected end of file"),
            },
        ),
        ("decompressed too large", BrokerError::DecompressedTooLarge { max: 70 }),
        ("too large", BrokerError::from(AppendError::TooLarge { size: 90, max: 70 })),
        ("not one batch", invalid("A produce request has exactly one record batch per partition.")),
        ("transactional batch", BrokerError::Unsupported { what: "A transactional batch" }),
        (
            "claims append time",
            BrokerError::InvalidTimestamp {
                reason: text("A producer must not claim LogAppendTime: the broker stamps it."),
                records: Vec::new(),
            },
        ),
        (
            "timestamps",
            BrokerError::InvalidTimestamp { reason: text("Timestamp 9 is outside the range from 1 to 5."), records },
        ),
        ("not enough replicas", BrokerError::NotEnoughReplicas { topic, partition, isr: 1, min: 2 }),
        (
            "not for the log",
            BrokerError::from(AppendError::InvalidBatch {
                reason: text("only a transaction coordinator writes control batches"),
            }),
        ),
        (
            "out of order",
            BrokerError::from(AppendError::OutOfOrderSequence {
                producer: ProducerId(7),
                expected: Sequence(3),
                got: Sequence(4),
            }),
        ),
        (
            "producer epoch",
            BrokerError::from(AppendError::InvalidProducerEpoch {
                producer: ProducerId(7),
                current: ProducerEpoch(1),
                got: ProducerEpoch(0),
            }),
        ),
        (
            "transaction",
            BrokerError::from(AppendError::InvalidTransaction {
                reason: text("producer 7 has a transaction open: a batch outside of it must wait for its end"),
            }),
        ),
        ("too many producers", BrokerError::from(AppendError::ProducerLimit { limit: 2 })),
        ("not stored in time", BrokerError::RequestTimedOut { operation: "Storing the records" }),
        (
            "not deletable",
            policy("Records of 'orders' cannot be deleted: its cleanup.policy does not contain 'delete'."),
        ),
        ("empty transactional id", request("A transactional id must not be empty.")),
        ("transactional producer", BrokerError::Unsupported { what: "A transactional producer" }),
        (
            "no controller",
            BrokerError::ControllerUnavailable { reason: text("this controller does not lead the metadata log") },
        ),
        (
            "another outcome",
            BrokerError::ControllerUnavailable { reason: text("it answered as if to another command") },
        ),
        ("reserved name", request("The topic orders is the cluster's own: clients cannot create it.")),
        ("many partitions", policy("Excessively large number of partitions per request: it may create 10000 of them.")),
        ("creation not begun", BrokerError::NotBegun { operation: "Creating topics" }),
        ("not created in time", BrokerError::RequestTimedOut { operation: "Creating the topic" }),
        ("deletion disabled", BrokerError::TopicDeletionDisabled),
        ("deletion not begun", BrokerError::NotBegun { operation: "Deleting topics" }),
        (
            "offsets topic",
            request(
                "The partitions of __consumer_offsets cannot be added to: groups are found by their number, and would lose their offsets.",
            ),
        ),
        ("extension not begun", BrokerError::NotBegun { operation: "Creating partitions" }),
        ("no broker id", request("'one' is not a broker id.")),
        ("another broker", request("Configs of broker 2 are asked of that broker; this is 1.")),
        ("configs of a group", BrokerError::Unsupported { what: "Altering the configs of a group" }),
    ]
}

fn rejections() -> Vec<(&'static str, Rejection)> {
    let (name, id) = (orders(), TopicId(7));
    let text = || "orders".to_owned();
    let reason = || "not a number".to_owned();
    vec![
        (
            "rejected name",
            Rejection::InvalidTopicName { name: String::new(), reason: "a topic name must not be empty".to_owned() },
        ),
        ("topic exists", Rejection::TopicAlreadyExists { name: name.clone() }),
        ("name collision", Rejection::NameCollision { name: name.clone(), existing: name.clone() }),
        ("id in use", Rejection::TopicIdInUse { id }),
        ("rejected unknown name", Rejection::UnknownTopic { name: text() }),
        ("rejected unknown id", Rejection::UnknownTopicId { id }),
        ("named twice", Rejection::DuplicateItem { name: text() }),
        ("no partitions", Rejection::InvalidPartitions { wanted: 0 }),
        ("no increase", Rejection::NotAnIncrease { name, current: 3, wanted: 2 }),
        ("topic too wide", Rejection::TooManyPartitionsInTopic { wanted: 9, max: 8 }),
        ("cluster too wide", Rejection::TooManyPartitionsInCluster { wanted: 9, max: 8 }),
        ("replication factor", Rejection::InvalidReplicationFactor { wanted: 2, brokers: 1 }),
        ("replica assignment", Rejection::InvalidReplicaAssignment { partition: 7, reason: "it is empty".to_owned() }),
        (
            "config",
            Rejection::InvalidConfig {
                name: "retention.ms".to_owned(),
                value: Some("none".to_owned()),
                reason: reason(),
            },
        ),
        (
            "broker config",
            Rejection::InvalidBrokerConfig { name: "log.retention.ms".to_owned(), value: None, reason: reason() },
        ),
        ("unknown broker", Rejection::UnknownBroker { broker: BrokerId(2) }),
        ("not bootstrapped", Rejection::NotBootstrapped),
        ("feature level", Rejection::InvalidFeatureLevel { feature: "group.version".to_owned(), level: -2 }),
        ("broker ids", Rejection::BrokerIdsExhausted),
        ("producer ids", Rejection::ProducerIdsExhausted),
    ]
}

fn group_errors() -> Vec<(&'static str, GroupError)> {
    vec![
        ("unknown member", GroupError::UnknownMemberId),
        ("generation", GroupError::IllegalGeneration),
        ("rebalance", GroupError::RebalanceInProgress),
        ("group protocol", GroupError::InconsistentGroupProtocol),
        ("session timeout", GroupError::InvalidSessionTimeout { session_timeout_ms: 1, min_ms: 2, max_ms: 3 }),
        ("member id", GroupError::MemberIdRequired { member_id: MemberId::new("one") }),
        ("fenced instance", GroupError::FencedInstanceId),
        ("group size", GroupError::GroupMaxSizeReached { size_max: 8 }),
        ("group id", GroupError::InvalidGroupId),
        ("no group", GroupError::GroupIdNotFound),
        ("group has members", GroupError::NonEmptyGroup),
        ("group subscribed", GroupError::GroupSubscribedToTopic),
        ("offset metadata", GroupError::OffsetMetadataTooLarge { length: 9, length_max: 8 }),
        ("loading", GroupError::CoordinatorLoadInProgress),
        ("not coordinator", GroupError::NotCoordinator),
        ("no coordinator", GroupError::CoordinatorNotAvailable),
        ("group record", GroupError::RecordTooLarge),
    ]
}

#[test]
fn codes_and_texts_are_as_clients_know_them() {
    let mut samples: Vec<(&str, i16, String)> = Vec::new();
    samples.extend(errors().into_iter().map(|(name, error)| (name, code(&error), error.to_string())));
    for (name, rejection) in rejections() {
        let error = BrokerError::from(rejection);
        samples.push((name, code(&error), error.to_string()));
    }
    for (name, error) in group_errors() {
        samples.push((name, group_code(&error), error.to_string()));
        assert_eq!(code(&BrokerError::from(error.clone())), group_code(&error), "{name}");
    }
    for (name, code, text) in &samples {
        let pin = PINS.iter().find(|pin| pin.name == *name).unwrap_or_else(|| panic!("{name} has no pin"));
        assert_eq!((*code, text.as_str()), (pin.code, pin.text), "{name}");
    }
    for pin in PINS {
        assert!(samples.iter().any(|(name, ..)| *name == pin.name), "{} is no error's", pin.name);
    }
}
