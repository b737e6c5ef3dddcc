//! The protocol-neutral broker: what every front end offers, decided once. Requests and results are
//! plain structs in its own words; Kafka's request types and codes are the gateway's business.
//!
//! Reading order: [`Broker`] in `broker` (what it holds, start and end), `view` and
//! `metadata_follower` (what it knows of the cluster), then one file per capability: `metadata`,
//! `produce` with `validation`, `fetch`, `offsets`, `records`, `topics`, `configs`,
//! `group_requests` over `coordination`, `producer_ids`, `log_dirs`. Nothing here stores records or
//! orders metadata: the engine and the controller do.

mod broker;
mod clock;
mod config;
mod configs;
mod coordination;
mod error;
mod failure;
mod fetch;
mod group_requests;
mod log_dirs;
mod metadata;
mod metadata_follower;
mod metrics;
mod offsets;
mod produce;
mod producer_ids;
mod records;
mod topics;
mod validation;
mod view;

pub use broker::Broker;
pub use config::{BrokerConfig, BrokerLimits};
pub use configs::{ConfigQuery, ResourceAlteration, ResourceKind, ResourceName};
pub use coordination::GroupWait;
pub use error::{BrokerError, RecordFault, StartError};
pub use failure::FailureNotice;
pub use fetch::{FetchPartition, FetchRequest, FetchedPartition};
pub use group_requests::{CommitEntry, FetchedOffset, GroupCommit, OffsetsWanted};
pub use log_dirs::{LogDir, LogDirSelection};
pub use metadata::{
    AutoCreation, BrokerNode, ClusterMetadata, PartitionMetadata, TopicAnswer, TopicMetadata, TopicSelection,
};
pub use offsets::{EpochEnd, EpochQuery, OffsetAt, OffsetQuery};
pub use produce::{Acks, ProducePartition, ProduceRequest, ProduceWait, Produced};
pub use producer_ids::ProducerIdRequest;
pub use records::{DeleteBefore, RecordDeletion};
pub use topics::{Mode, TopicCreation, TopicPlacement};
pub use validation::CompressedRecords;
pub use view::TopicRef;

/// Words of the layers below that requests and results are made of.
pub use rustmq_broker_core::groups;
pub use rustmq_controller_core::configs::{
    ConfigKind, ConfigSource, DescribedConfig, EffectiveBrokerConfig, EffectiveTopicConfig, StaticConfigs, Synonym,
};
pub use rustmq_controller_core::{
    ConfigChange, ConfigEdit, CreatedTopic, DeletedTopic, EditOperation, ExtendedTopic, MorePartitions, Rejection,
};
pub use rustmq_engine_api::{AbortedTransaction, FoundOffset, Isolation};
