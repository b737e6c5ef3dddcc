//! Clients depend on codes, and people on texts: both stay as they are. Kinds agree with codes.

mod pins;

use std::io;

use rustmq_broker_service::groups::{GroupError, MemberId};
use rustmq_broker_service::transactions::TransactionError;
use rustmq_broker_service::{
    AlterConfigsError, AutoCreationError, BatchRefusal, CommandError, CreatePartitionsError, CreateTopicsError,
    DeleteRecordsError, DeleteTopicsError, DescribeConfigsError, ErrorKind, FaultReason, FetchError,
    FindCoordinatorError, GroupOffsetError, InvalidBatch, InvalidBrokerId, InvalidGroupName, InvalidUpdateReason,
    ListOffsetsError, LocateError, MetadataError, OffsetOutOfRange, ProduceError, RecordFault, Rejection, StorageError,
    UnknownPartition, UnknownTopic, UnreadableError, UpdateFeaturesError,
};
use rustmq_broker_service::{
    DescribeProducersError, ListTransactionsError, MarkerError, OffsetFetchError, TransactionPartitionError,
    TransactionalOffsetError,
};
use rustmq_controller_api::SubmitError;
use rustmq_engine_api::{AppendError, BatchRejection, ReadFailure, ReadFailureCause, TransactionRejection, WalFailure};
use rustmq_kafka_codec_messages::ApiKey;
use rustmq_model::TransactionalIdError;
use rustmq_model::batch::{BatchError, Codec};
use rustmq_model::{
    BrokerId, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId, TopicName,
    TopicNameError,
};

use super::{code, code_in};
use pins::PINS;

/// The codes whose exceptions in Kafka's Java client (4.4.0) are `RetriableException`s.
const RETRIABLE: &[i16] = &[
    2, 3, 5, 6, 7, 9, 13, 14, 15, 16, 19, 20, 41, 51, 56, 70, 71, 72, 74, 75, 78, 80, 83, 84, 88, 89, 100, 103, 106,
    122, 123, 133,
];

/// Errors whose code says that the same request may succeed, and whose kind denies it: by their
/// name, with the reason.
const EXCEPTIONS: &[(&str, &str)] = &[
    ("damaged records", "Kafka has no code for lost records that lets a consumer stay where it is until it is moved"),
    ("another outcome", "the command may have taken effect, and of the codes only a timeout says so"),
];

/// One error as a client is told of it, and its kind.
struct Sample {
    name: &'static str,
    code: i16,
    text: String,
    kind: ErrorKind,
}

/// Samples of an enum, by the name of their pin. A variant without a sample does not compile.
macro_rules! every {
    ($type:ty, $kind:expr, { $($pattern:pat => $name:literal, $error:expr;)* }) => {{
        let _exhaustive: fn(&$type) = |error| match error { $($pattern => {})* };
        let kind: fn(&$type) -> ErrorKind = $kind;
        let samples = [$({
            let error: $type = $error;
            assert!(matches!(&error, $pattern), "{}: {error:?} is a sample of another variant", $name);
            Sample { name: $name, code: code(&error), text: error.to_string(), kind: kind(&error) }
        }),*];
        Vec::from(samples)
    }};
}

fn orders() -> TopicName {
    TopicName::new("orders").expect("a legal name")
}

fn unknown_name() -> UnknownTopic {
    UnknownTopic::Name("orders".to_owned())
}

fn unknown_partition() -> UnknownPartition {
    UnknownPartition { topic: orders(), partition: PartitionId(7) }
}

fn not_leader() -> LocateError {
    LocateError::NotLeader { topic: orders(), partition: PartitionId(7) }
}

fn out_of_range() -> OffsetOutOfRange {
    let (requested, log_start, end) = (Offset(9), Offset(3), Offset(6));
    OffsetOutOfRange { requested, log_start, end, high_watermark: end }
}

fn shared() -> Vec<Sample> {
    let (given, current) = (LeaderEpoch(2), LeaderEpoch(5));
    let failed = WalFailure::Disk { kind: io::ErrorKind::Other, detail: "cannot sync slot 3".to_owned() };
    let unreadable = ReadFailure { cause: ReadFailureCause::Device, detail: "cannot read slot 3".to_owned() };
    let mut samples = every!(UnknownTopic, UnknownTopic::kind, {
        UnknownTopic::Name(_) => "unknown name", unknown_name();
        UnknownTopic::Id(_) => "unknown id", UnknownTopic::Id(TopicId(7));
    });
    samples.extend(every!(LocateError, LocateError::kind, {
        LocateError::UnknownTopic(_) => "unknown id", UnknownTopic::Id(TopicId(7)).into();
        LocateError::UnknownPartition(_) => "unknown partition", unknown_partition().into();
        LocateError::NotLeader { .. } => "not leader", not_leader();
        LocateError::FencedLeaderEpoch { .. } =>
            "fenced leader epoch", LocateError::FencedLeaderEpoch { given, current };
        LocateError::UnknownLeaderEpoch { .. } =>
            "unknown leader epoch", LocateError::UnknownLeaderEpoch { given, current };
        LocateError::NotOpened(_) => "log full", LocateError::NotOpened(StorageError::Full);
    }));
    samples.extend(every!(StorageError, StorageError::kind, {
        StorageError::Full => "log full", StorageError::Full;
        StorageError::Failed(_) => "log failed", StorageError::Failed(failed);
        StorageError::Stopping => "stopping", StorageError::Stopping;
    }));
    samples.extend(every!(UnreadableError, UnreadableError::kind, {
        UnreadableError::Damaged { .. } =>
            "damaged records", UnreadableError::Damaged { first: Offset(3), end: Offset(6) };
        UnreadableError::Failed(_) => "unreadable", UnreadableError::Failed(unreadable);
    }));
    samples.extend(every!(CommandError, CommandError::kind, {
        CommandError::Rejected(_) => "topic exists", Rejection::TopicAlreadyExists { name: orders() }.into();
        CommandError::Unavailable(_) => "no controller", SubmitError::NotLeader.into();
        CommandError::UnexpectedOutcome => "another outcome", CommandError::UnexpectedOutcome;
        CommandError::Stopping => "stopping", CommandError::Stopping;
    }));
    samples
}

fn produce() -> Vec<Sample> {
    let (topic, partition, producer) = (orders(), PartitionId(7), ProducerId(7));
    let (expected, sequence) = (Sequence(3), Sequence(4));
    let (current, epoch) = (ProducerEpoch(1), ProducerEpoch(0));
    let transaction = TransactionRejection::OutsideTransaction { producer_id: producer };
    every!(ProduceError, ProduceError::kind, {
        ProduceError::Locate(_) => "not leader", not_leader().into();
        ProduceError::InternalTopic { .. } => "internal topic", ProduceError::InternalTopic { topic };
        ProduceError::NotEnoughReplicas { .. } => "not enough replicas",
            ProduceError::NotEnoughReplicas { topic: orders(), partition, isr: 1, min: 2 };
        ProduceError::Batch(_) => "claims append time", BatchRefusal::ClaimsAppendTime.into();
        ProduceError::NotForTheLog(_) => "not for the log", ProduceError::NotForTheLog(BatchRejection::ControlBatch);
        ProduceError::OutOfOrderSequence { .. } => "out of order",
            ProduceError::OutOfOrderSequence { producer, expected, got: sequence };
        ProduceError::InvalidProducerEpoch { .. } => "producer epoch",
            ProduceError::InvalidProducerEpoch { producer, current, got: epoch };
        ProduceError::InvalidTransaction(_) => "transaction", ProduceError::InvalidTransaction(transaction);
        ProduceError::NoTransactionalId => "no transactional id", ProduceError::NoTransactionalId;
        ProduceError::Transaction(_) => "produced by a fenced producer", TransactionError::ProducerFenced.into();
        ProduceError::TooManyProducers { .. } => "too many producers", ProduceError::TooManyProducers { limit: 2 };
        ProduceError::TimedOut => "not stored in time", ProduceError::TimedOut;
        ProduceError::Storage(_) => "log full", StorageError::Full.into();
    })
}

fn batches() -> Vec<Sample> {
    let reason = FaultReason::Timestamp { timestamp: Timestamp(9), earliest: 1, latest: 5 };
    let records = vec![RecordFault { index: 0, reason }];
    let (kind, detail) = (io::ErrorKind::UnexpectedEof, "unexpected end of file".to_owned());
    every!(BatchRefusal, BatchRefusal::kind, {
        BatchRefusal::Damaged(_) => "damaged batch", BatchError::Truncated { available: 20 }.into();
        BatchRefusal::UnknownCodec { .. } => "unknown codec", BatchError::Codec { code: 6 }.into();
        BatchRefusal::Undecodable { .. } => "undecodable", BatchRefusal::Undecodable { codec: Codec::Lz4, kind, detail };
        BatchRefusal::DecompressedTooLarge { .. } =>
            "decompressed too large", BatchRefusal::DecompressedTooLarge { max: 70 };
        BatchRefusal::TooLarge { .. } => "too large", BatchRefusal::TooLarge { size: 90, max: 70 };
        BatchRefusal::Invalid(_) => "not one batch", InvalidBatch::NotOneBatch.into();
        BatchRefusal::ClaimsAppendTime => "claims append time", BatchRefusal::ClaimsAppendTime;
        BatchRefusal::TimestampsOutOfRange { .. } => "timestamps", BatchRefusal::TimestampsOutOfRange { records };
    })
}

fn records() -> Vec<Sample> {
    let damaged = || UnreadableError::Damaged { first: Offset(3), end: Offset(6) };
    let mut samples = every!(FetchError, FetchError::kind, {
        FetchError::Locate(_) => "not leader", not_leader().into();
        FetchError::OffsetOutOfRange(_) => "out of range", out_of_range().into();
        FetchError::Unreadable(_) => "damaged records", damaged().into();
    });
    samples.extend(every!(ListOffsetsError, ListOffsetsError::kind, {
        ListOffsetsError::Locate(_) => "not leader", not_leader().into();
        ListOffsetsError::OffsetOutOfRange(_) => "out of range", out_of_range().into();
        ListOffsetsError::Busy => "busy", ListOffsetsError::Busy;
        ListOffsetsError::Unreadable(_) => "damaged records", damaged().into();
    }));
    samples.extend(every!(DeleteRecordsError, DeleteRecordsError::kind, {
        DeleteRecordsError::Locate(_) => "not leader", not_leader().into();
        DeleteRecordsError::InternalTopic { .. } =>
            "internal topic", DeleteRecordsError::InternalTopic { topic: orders() };
        DeleteRecordsError::NotDeletable { .. } => "not deletable", DeleteRecordsError::NotDeletable { topic: orders() };
        DeleteRecordsError::OffsetOutOfRange(_) => "out of range", out_of_range().into();
        DeleteRecordsError::Storage(_) => "stopping", StorageError::Stopping.into();
    }));
    samples
}

fn topics() -> Vec<Sample> {
    let mut samples = every!(CreateTopicsError, CreateTopicsError::kind, {
        CreateTopicsError::ReservedName { .. } =>
            "reserved name", CreateTopicsError::ReservedName { name: "orders".to_owned() };
        CreateTopicsError::TooManyPartitions => "many partitions", CreateTopicsError::TooManyPartitions;
        CreateTopicsError::NotBegun => "creation not begun", CreateTopicsError::NotBegun;
        CreateTopicsError::Command(_) => "stopping", CommandError::Stopping.into();
    });
    samples.extend(every!(AutoCreationError, AutoCreationError::kind, {
        AutoCreationError::TimedOut => "not created in time", AutoCreationError::TimedOut;
        AutoCreationError::Refused(_) => "creation not begun", CreateTopicsError::NotBegun.into();
    }));
    samples.extend(every!(CreatePartitionsError, CreatePartitionsError::kind, {
        CreatePartitionsError::CoordinatorTopic { .. } => "coordinator topic",
            CreatePartitionsError::CoordinatorTopic { topic: "__consumer_offsets" };
        CreatePartitionsError::NotBegun => "extension not begun", CreatePartitionsError::NotBegun;
        CreatePartitionsError::Command(_) => "stopping", CommandError::Stopping.into();
    }));
    samples.extend(every!(DeleteTopicsError, DeleteTopicsError::kind, {
        DeleteTopicsError::Disabled => "deletion disabled", DeleteTopicsError::Disabled;
        DeleteTopicsError::NotBegun => "deletion not begun", DeleteTopicsError::NotBegun;
        DeleteTopicsError::Command(_) => "stopping", CommandError::Stopping.into();
    }));
    samples.extend(every!(MetadataError, MetadataError::kind, {
        MetadataError::InvalidTopicName(_) => "illegal name", TopicNameError::Empty.into();
        MetadataError::UnknownTopic(_) => "unknown name", unknown_name().into();
        MetadataError::NotCreated(_) => "not created in time", AutoCreationError::TimedOut.into();
    }));
    samples
}

fn configs() -> Vec<Sample> {
    let no_id = || InvalidBrokerId { name: "one".to_owned() };
    let mut samples = every!(DescribeConfigsError, DescribeConfigsError::kind, {
        DescribeConfigsError::InvalidTopicName(_) => "illegal name", TopicNameError::Empty.into();
        DescribeConfigsError::UnknownTopic(_) => "unknown name", unknown_name().into();
        DescribeConfigsError::InvalidBrokerId(_) => "no broker id", no_id().into();
        DescribeConfigsError::InvalidGroupName(_) => "long group name",
            InvalidGroupName::TooLong { bytes: 2_000, bytes_max: 1_024 }.into();
        DescribeConfigsError::AnotherBroker { .. } => "another broker",
            DescribeConfigsError::AnotherBroker { asked: BrokerId(2), this: BrokerId(1) };
    });
    samples.extend(every!(AlterConfigsError, AlterConfigsError::kind, {
        AlterConfigsError::InvalidTopicName(_) => "illegal name", TopicNameError::Empty.into();
        AlterConfigsError::InvalidBrokerId(_) => "no broker id", no_id().into();
        AlterConfigsError::InvalidGroupName(_) => "no group name", InvalidGroupName::Empty.into();
        AlterConfigsError::Command(_) => "stopping", CommandError::Stopping.into();
    }));
    samples.extend(every!(UpdateFeaturesError, UpdateFeaturesError::kind, {
        UpdateFeaturesError::UnknownFeature { .. } => "unknown feature",
            UpdateFeaturesError::UnknownFeature { feature: "group.version".to_owned() };
        UpdateFeaturesError::UnsupportedLevel { .. } => "unsupported level",
            UpdateFeaturesError::UnsupportedLevel { feature: "group.version", level: 2, min: 0, max: 1 };
        UpdateFeaturesError::Command(_) => "stopping", CommandError::Stopping.into();
    }));
    samples
}

fn rejections() -> Vec<Sample> {
    let (name, id) = (orders(), TopicId(7));
    let text = |text: &str| text.to_owned();
    // The controller has no kinds: the broker gives them.
    let kind = |rejection: &Rejection| CommandError::from(rejection.clone()).kind();
    every!(Rejection, kind, {
        Rejection::InvalidTopicName { .. } => "rejected name",
            Rejection::InvalidTopicName { name: String::new(), reason: text("a topic name must not be empty") };
        Rejection::TopicAlreadyExists { .. } => "topic exists", Rejection::TopicAlreadyExists { name: name.clone() };
        Rejection::NameCollision { .. } =>
            "name collision", Rejection::NameCollision { name: name.clone(), existing: name.clone() };
        Rejection::TopicIdInUse { .. } => "id in use", Rejection::TopicIdInUse { id };
        Rejection::UnknownTopic { .. } =>
            "rejected unknown name", Rejection::UnknownTopic { name: text("orders") };
        Rejection::UnknownTopicId { .. } => "rejected unknown id", Rejection::UnknownTopicId { id };
        Rejection::DuplicateItem { .. } => "named twice", Rejection::DuplicateItem { name: text("orders") };
        Rejection::InvalidPartitions { .. } => "no partitions", Rejection::InvalidPartitions { wanted: 0 };
        Rejection::NotAnIncrease { .. } => "no increase", Rejection::NotAnIncrease { name, current: 3, wanted: 2 };
        Rejection::TooManyPartitionsInTopic { .. } =>
            "topic too wide", Rejection::TooManyPartitionsInTopic { wanted: 9, max: 8 };
        Rejection::TooManyPartitionsInCluster { .. } =>
            "cluster too wide", Rejection::TooManyPartitionsInCluster { wanted: 9, max: 8 };
        Rejection::InvalidReplicationFactor { .. } =>
            "replication factor", Rejection::InvalidReplicationFactor { wanted: 2, brokers: 1 };
        Rejection::InvalidReplicaAssignment { .. } => "replica assignment",
            Rejection::InvalidReplicaAssignment { partition: 7, reason: text("it is empty") };
        Rejection::InvalidConfig { .. } => "config", Rejection::InvalidConfig {
            name: text("retention.ms"),
            value: Some(text("none")),
            reason: text("not a number"),
        };
        Rejection::InvalidBrokerConfig { .. } => "broker config", Rejection::InvalidBrokerConfig {
            name: text("log.retention.ms"),
            value: None,
            reason: text("not a number"),
        };
        Rejection::TooManyConfiguredGroups { .. } =>
            "too many configured groups", Rejection::TooManyConfiguredGroups { max: 8 };
        Rejection::UnknownBroker { .. } => "unknown broker", Rejection::UnknownBroker { broker: BrokerId(2) };
        Rejection::NotBootstrapped => "not bootstrapped", Rejection::NotBootstrapped;
        Rejection::InvalidFeatureUpdate { .. } => "feature level", Rejection::InvalidFeatureUpdate {
            feature: text("group.version"),
            level: 0,
            reason: InvalidUpdateReason::NoUpgrade { current: 1 },
        };
        Rejection::BrokerIdsExhausted => "broker ids", Rejection::BrokerIdsExhausted;
        Rejection::ProducerIdsExhausted => "producer ids", Rejection::ProducerIdsExhausted;
    })
}

/// Errors of transactions that have another code than the sample of their variant.
fn of_transactions_beside_their_samples() -> Vec<Sample> {
    let early = ProduceError::InvalidTransaction(TransactionRejection::EarlierOpen { producer_id: ProducerId(7) });
    let unconfirmed = ProduceError::Transaction(TransactionError::CoordinatorNotAvailable);
    let unverified = ProduceError::InvalidTransaction(TransactionRejection::Unverified { producer_id: ProducerId(7) });
    let sample =
        |name, error: &ProduceError| Sample { name, code: code(error), text: error.to_string(), kind: error.kind() };
    let id = |name, error: TransactionalIdError| Sample {
        name,
        code: code(&error),
        text: error.to_string(),
        kind: ErrorKind::Invalid,
    };
    vec![
        sample("early batch", &early),
        sample("unverified for lack of a coordinator", &unconfirmed),
        sample("unverified", &unverified),
        id("empty transactional id", TransactionalIdError::Empty),
        id("long transactional id", TransactionalIdError::TooLong { length: 40_000 }),
    ]
}

fn transactions() -> Vec<Sample> {
    let kind = |error: &TransactionError| error.kind();
    let mut samples = every!(TransactionError, kind, {
        TransactionError::InvalidTransactionTimeout { .. } => "transaction timeout",
            TransactionError::InvalidTransactionTimeout { timeout_ms: 0, max_ms: 9 };
        TransactionError::InvalidProducerIdMapping => "producer id mapping", TransactionError::InvalidProducerIdMapping;
        TransactionError::ProducerFenced => "fenced producer", TransactionError::ProducerFenced;
        TransactionError::InvalidTransactionState => "transaction state", TransactionError::InvalidTransactionState;
        TransactionError::ConcurrentTransactions =>
            "concurrent transactions", TransactionError::ConcurrentTransactions;
        TransactionError::NotInTransaction => "not in the transaction", TransactionError::NotInTransaction;
        TransactionError::TooManyPartitions => "transaction too large", TransactionError::TooManyPartitions;
        TransactionError::TransactionalIdNotFound =>
            "no transactional id of this name", TransactionError::TransactionalIdNotFound;
        TransactionError::CoordinatorLoadInProgress =>
            "loading transactions", TransactionError::CoordinatorLoadInProgress;
        TransactionError::NotCoordinator => "not the transaction coordinator", TransactionError::NotCoordinator;
        TransactionError::CoordinatorNotAvailable =>
            "no transaction coordinator", TransactionError::CoordinatorNotAvailable;
    });
    samples.extend(every!(TransactionPartitionError, TransactionPartitionError::kind, {
        TransactionPartitionError::UnknownTopic(_) => "unknown name", unknown_name().into();
        TransactionPartitionError::UnknownPartition(_) => "unknown partition", unknown_partition().into();
        TransactionPartitionError::InternalTopic { .. } => "internal topic in a transaction",
            TransactionPartitionError::InternalTopic { topic: "orders".to_owned() };
        TransactionPartitionError::NotAttempted => "partition not attempted", TransactionPartitionError::NotAttempted;
        TransactionPartitionError::Transaction(_) => "transaction state",
            TransactionError::InvalidTransactionState.into();
    }));
    samples.extend(every!(ListTransactionsError, ListTransactionsError::kind, {
        ListTransactionsError::InvalidPattern { .. } => "pattern of ids",
            ListTransactionsError::InvalidPattern { reason: "none".to_owned() };
        ListTransactionsError::Transaction(_) => "loading transactions",
            TransactionError::CoordinatorLoadInProgress.into();
    }));
    samples.extend(every!(DescribeProducersError, DescribeProducersError::kind, {
        DescribeProducersError::InvalidTopicName(_) => "illegal name", TopicNameError::Empty.into();
        DescribeProducersError::Locate(_) => "not leader", not_leader().into();
    }));
    let (current, got, producer) = (ProducerEpoch(1), ProducerEpoch(0), ProducerId(7));
    samples.extend(every!(MarkerError, MarkerError::kind, {
        MarkerError::Locate(_) => "not leader", not_leader().into();
        MarkerError::InternalTopic { .. } => "marker in an internal topic",
            MarkerError::InternalTopic { topic: orders() };
        MarkerError::InvalidProducerEpoch { .. } => "marker of an old epoch",
            MarkerError::InvalidProducerEpoch { producer, current, got };
        MarkerError::FencedCoordinator { .. } => "marker of an old coordinator",
            MarkerError::FencedCoordinator { current: 2, got: 1 };
        MarkerError::UnknownCoordinatorEpoch { .. } => "marker of a coordinator to come",
            MarkerError::UnknownCoordinatorEpoch { got: 2, newest: 1 };
        MarkerError::TimedOut => "marker not stored in time", MarkerError::TimedOut;
        MarkerError::Storage(_) => "log full", StorageError::Full.into();
        MarkerError::Group(_) => "marker to a group coordinator", MarkerError::Group(GroupError::CoordinatorLoadInProgress);
        MarkerError::Refused(_) => "marker refused", MarkerError::Refused(AppendError::ProducerLimit { limit: 2 });
    }));
    samples
}

fn groups() -> Vec<Sample> {
    let member_id = MemberId::new("one");
    let mut samples = every!(GroupError, GroupError::kind, {
        GroupError::UnknownMemberId => "unknown member", GroupError::UnknownMemberId;
        GroupError::IllegalGeneration => "generation", GroupError::IllegalGeneration;
        GroupError::RebalanceInProgress => "rebalance", GroupError::RebalanceInProgress;
        GroupError::InconsistentGroupProtocol => "group protocol", GroupError::InconsistentGroupProtocol;
        GroupError::InvalidSessionTimeout { .. } => "session timeout",
            GroupError::InvalidSessionTimeout { session_timeout_ms: 1, min_ms: 2, max_ms: 3 };
        GroupError::MemberIdRequired { .. } => "member id", GroupError::MemberIdRequired { member_id };
        GroupError::FencedInstanceId => "fenced instance", GroupError::FencedInstanceId;
        GroupError::GroupMaxSizeReached { .. } => "group size", GroupError::GroupMaxSizeReached { size_max: 8 };
        GroupError::InvalidGroupId => "group id", GroupError::InvalidGroupId;
        GroupError::GroupIdNotFound => "no group", GroupError::GroupIdNotFound;
        GroupError::NonEmptyGroup => "group has members", GroupError::NonEmptyGroup;
        GroupError::GroupSubscribedToTopic => "group subscribed", GroupError::GroupSubscribedToTopic;
        GroupError::OffsetMetadataTooLarge { .. } =>
            "offset metadata", GroupError::OffsetMetadataTooLarge { length: 9, length_max: 8 };
        GroupError::InvalidProducerEpoch => "group's producer", GroupError::InvalidProducerEpoch;
        GroupError::FencedMemberEpoch => "fenced member", GroupError::FencedMemberEpoch;
        GroupError::StaleMemberEpoch => "stale member", GroupError::StaleMemberEpoch;
        GroupError::UnreleasedInstanceId => "unreleased instance", GroupError::UnreleasedInstanceId;
        GroupError::UnsupportedAssignor { .. } =>
            "assignor", GroupError::UnsupportedAssignor { supported: "uniform, range".to_owned() };
        GroupError::InvalidRegularExpression { .. } =>
            "pattern", GroupError::InvalidRegularExpression { reason: "unclosed group".to_owned() };
        GroupError::InvalidHeartbeat { .. } =>
            "heartbeat", GroupError::InvalidHeartbeat { reason: "MemberEpoch is invalid." };
        GroupError::UnsupportedVersion => "group version", GroupError::UnsupportedVersion;
        GroupError::CoordinatorLoadInProgress => "loading", GroupError::CoordinatorLoadInProgress;
        GroupError::NotCoordinator => "not coordinator", GroupError::NotCoordinator;
        GroupError::CoordinatorNotAvailable => "no coordinator", GroupError::CoordinatorNotAvailable;
        GroupError::RecordTooLarge => "group record", GroupError::RecordTooLarge;
    });
    samples.extend(every!(GroupOffsetError, GroupOffsetError::kind, {
        GroupOffsetError::UnknownTopic(_) => "unknown name", unknown_name().into();
        GroupOffsetError::UnknownPartition(_) => "unknown partition", unknown_partition().into();
        GroupOffsetError::Group(_) => "generation", GroupError::IllegalGeneration.into();
    }));
    samples.extend(every!(OffsetFetchError, OffsetFetchError::kind, {
        OffsetFetchError::UnknownTopic(_) => "unknown name", unknown_name().into();
        OffsetFetchError::Unstable => "unstable offset", OffsetFetchError::Unstable;
    }));
    samples.extend(every!(TransactionalOffsetError, TransactionalOffsetError::kind, {
        TransactionalOffsetError::Offset(_) => "generation", GroupError::IllegalGeneration.into();
        TransactionalOffsetError::Transaction(_) => "transaction state",
            TransactionError::InvalidTransactionState.into();
    }));
    samples
}

/// The samples whose text and code are pinned.
fn samples() -> Vec<Sample> {
    let parts = [
        shared(),
        produce(),
        batches(),
        records(),
        topics(),
        configs(),
        rejections(),
        groups(),
        transactions(),
        of_transactions_beside_their_samples(),
    ];
    parts.into_iter().flatten().collect()
}

#[test]
fn codes_and_texts_are_as_clients_know_them() {
    let samples = samples();
    for Sample { name, code, text, .. } in &samples {
        let pin = PINS.iter().find(|pin| pin.name == *name).unwrap_or_else(|| panic!("{name} has no pin"));
        assert_eq!((*code, text.as_str()), (pin.code, pin.text), "{name}");
    }
    for pin in PINS {
        assert!(samples.iter().any(|sample| sample.name == pin.name), "{} is no error's", pin.name);
    }
}

#[test]
fn clients_ask_for_a_coordinator_again_whatever_keeps_it_from_them() {
    let samples = every!(FindCoordinatorError, FindCoordinatorError::kind, {
        FindCoordinatorError::NoTopic(_) => "no topic of coordinators",
            FindCoordinatorError::NoTopic(CreateTopicsError::TooManyPartitions.into());
        FindCoordinatorError::NotAvailable => "no coordinator", FindCoordinatorError::NotAvailable;
    });
    for Sample { name, code, kind, .. } in samples {
        assert_eq!((code, kind), (15, ErrorKind::Unavailable), "{name}");
    }
}

#[test]
fn kinds_agree_with_what_clients_do_on_the_code() {
    for Sample { name, code, kind, .. } in samples() {
        let agrees = kind.is_retriable() == RETRIABLE.contains(&code);
        let is_exception = EXCEPTIONS.iter().any(|(exception, _)| *exception == name);
        assert!(agrees != is_exception, "{name}: code {code} and kind {kind:?}");
    }
    for (name, reason) in EXCEPTIONS {
        assert!(!reason.is_empty() && PINS.iter().any(|pin| pin.name == *name), "{name} is no error's");
    }
}

#[test]
fn older_clients_get_the_codes_that_they_know() {
    use ApiKey::{AddOffsetsToTxn, AddPartitionsToTxn, EndTxn, InitProducerId, Produce, TxnOffsetCommit};
    let check = |api, error: TransactionError, first, (before, since): (i16, i16)| {
        for version in 0..=13 {
            let expected = if version < first { before } else { since };
            assert_eq!(code_in(api, version, &error), expected, "{error} for {api} {version}");
        }
    };
    let fenced = (47, 90);
    check(InitProducerId, TransactionError::ProducerFenced, 4, fenced);
    check(AddPartitionsToTxn, TransactionError::ProducerFenced, 2, fenced);
    check(AddOffsetsToTxn, TransactionError::ProducerFenced, 2, fenced);
    check(EndTxn, TransactionError::ProducerFenced, 2, fenced);
    let abortable = (48, 120);
    check(InitProducerId, TransactionError::NotInTransaction, 5, abortable);
    check(AddPartitionsToTxn, TransactionError::NotInTransaction, 5, abortable);
    check(AddOffsetsToTxn, TransactionError::NotInTransaction, 4, abortable);
    check(EndTxn, TransactionError::NotInTransaction, 4, abortable);
    check(TxnOffsetCommit, TransactionError::NotInTransaction, 4, abortable);
    check(Produce, TransactionError::NotInTransaction, 11, abortable);
    check(Produce, TransactionError::ConcurrentTransactions, 12, (19, 51));
    check(EndTxn, TransactionError::ConcurrentTransactions, 0, (0, 51));
    check(TxnOffsetCommit, TransactionError::ProducerFenced, 0, (0, 47));
    check(TxnOffsetCommit, TransactionError::CoordinatorLoadInProgress, 2, (15, 14));
    for (error, first, (before, since)) in
        [(GroupError::GroupIdNotFound, 6, (22, 69)), (GroupError::StaleMemberEpoch, 6, (22, 113))]
    {
        for version in 0..=6 {
            let expected = if version < first { before } else { since };
            let error = TransactionalOffsetError::from(error.clone());
            assert_eq!(code_in(TxnOffsetCommit, version, &error), expected, "{error} for {version}");
        }
    }
    for error in [
        TransactionError::CoordinatorLoadInProgress,
        TransactionError::CoordinatorNotAvailable,
        TransactionError::NotCoordinator,
    ] {
        assert_eq!(code(&ProduceError::Transaction(error)), 19, "{error}");
    }
}
