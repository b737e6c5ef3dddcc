//! The protocol-neutral broker: what every front end offers, decided once. Requests and results are
//! plain structs in its own words; Kafka's request types and codes are the gateway's business.
//!
//! Reading order: [`Broker`] in `broker` (what it holds, start and end), [`Session`] in `session`
//! (the caller, on whom each operation is called), `view` and
//! `metadata_follower` (what it knows of the cluster), then one file per capability: `metadata`,
//! `produce` with `validation`, `fetch`, `offsets`, `records`, `topics`, `configs`,
//! `group_requests` over `coordination`, `producer_ids`, `log_dirs`. Nothing here stores records or
//! orders metadata: the engine and the controller do.
//!
//! Each operation has an error of its own in its file, and each error a kind ([`ErrorKind`]): the
//! caller's next step. Errors that many operations share are in `view` ([`LocateError`]), `storage`
//! and `command`.

mod broker;
mod clock;
mod command;
mod config;
mod configs;
mod coordination;
mod failure;
mod fetch;
mod group_requests;
pub mod groups;
mod log_dirs;
mod metadata;
mod metadata_follower;
mod metrics;
mod offsets;
mod produce;
mod producer_ids;
mod records;
mod refusals;
mod session;
mod storage;
#[cfg(feature = "testing")]
pub mod testing;
mod topics;
mod validation;
mod view;

pub use broker::{Broker, StartError};
pub use command::CommandError;
pub use config::{BrokerConfig, BrokerLimits, BrokerSettings};
pub use configs::{
    AlterConfigsError, ConfigQuery, DescribeConfigsError, InvalidBrokerId, ResourceAlteration, ResourceKind,
    ResourceName,
};
pub use coordination::GroupWait;
pub use failure::FailureNotice;
pub use fetch::{Fetch, FetchError, FetchPartition, FetchedPartition};
pub use group_requests::{
    CommitEntry, FetchedOffset, FindCoordinatorError, GroupCommit, GroupOffsetError, OffsetsWanted,
};
pub use log_dirs::{LogDir, LogDirSelection};
pub use metadata::{
    AutoCreation, BrokerNode, ClusterMetadata, MetadataError, PartitionMetadata, TopicAnswer, TopicMetadata,
    TopicSelection,
};
pub use offsets::{EpochQuery, ListOffsetsError, OffsetAt, OffsetQuery};
pub use produce::{Acks, Produce, ProduceError, ProducePartition, ProduceWait, Produced};
pub use producer_ids::{ProducerIdError, ProducerIdRequest};
pub use records::{DeleteBefore, DeleteRecordsError, RecordDeletion};
pub use refusals::Refusals;
pub use session::{Caller, Principal, Session};
pub use storage::{OffsetOutOfRange, StorageError, UnreadableError};
pub use topics::{
    AutoCreationError, CreatePartitionsError, CreateTopicsError, DeleteTopicsError, Mode, TopicCreation, TopicPlacement,
};
pub use validation::{BatchRefusal, FaultReason, InvalidBatch, RecordFault};
pub use view::{LocateError, TopicRef, UnknownPartition, UnknownTopic};

/// Words of the layers below that requests and results are made of.
pub use rustmq_broker_core::ErrorKind;
pub use rustmq_controller_core::configs::{
    ConfigKind, ConfigSource, DescribedConfig, EffectiveBrokerConfig, EffectiveTopicConfig, StaticConfigs, Synonym,
};
pub use rustmq_controller_core::{
    ConfigChange, ConfigEdit, CreatedTopic, DeletedTopic, EditOperation, ExtendedTopic, NewPartitions, Rejection,
};
pub use rustmq_engine_api::{AbortedTransaction, EpochEnd, FoundOffset, Frontiers, Isolation};
