//! The protocol-neutral broker: the operations that all front ends offer. Requests and results are
//! plain structs of its own; the gateway translates Kafka's request types and error codes.
//!
//! Reading order: [`Broker`] in `broker` (its parts, start and end), [`Session`] in `session` (the
//! caller of an operation; every operation is a method of it), `view` and `metadata_follower` (the
//! broker's copy of the metadata), then one file per capability: `metadata`, `produce` with
//! `validation` and `verification`, `fetch`, `offsets`, `records`, `topics`, `configs`,
//! `group_requests` and `transaction_requests` over `coordination`, `markers`, `producer_ids`,
//! `log_dirs`, `features`. Nothing here stores records or orders metadata: the engine and the
//! controller do.
//!
//! Each operation has an error of its own in its file, and each error a kind ([`ErrorKind`]): the
//! caller's next step. Errors that many operations share are in `view` ([`LocateError`]), `storage`
//! and `command`.
//!
//! A front end makes a session for each request, and calls an operation on it. This example uses
//! the broker in memory of the feature `testing`:
//!
//! ```
//! use rustmq_broker_service::testing::operations::{self, batch_of};
//! use rustmq_broker_service::testing::{InMemoryBroker, InMemoryBrokerOptions};
//! use rustmq_broker_service::{Acks, Produce, ProducePartition, TopicRef};
//! use rustmq_model::{Offset, PartitionId};
//!
//! # let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
//! # runtime.block_on(async {
//! let running = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
//! let session = operations::session(&running.broker);
//! operations::create(&session, "orders", 1, &[]).await;
//!
//! let topic = TopicRef::Name("orders".to_owned());
//! let batch = ProducePartition { topic, partition: PartitionId(0), records: batch_of(&["a value"]) };
//! let request = Produce { acks: Acks::All, transaction: None, partitions: vec![batch] };
//! // The first wait ends when the engine has the batch, the second when it is synced.
//! let results = session.produce(request).await.wait().await;
//! assert_eq!(results[0].as_ref().map(|produced| produced.base_offset), Ok(Offset(0)));
//! running.stop().await;
//! # });
//! ```

mod broker;
mod clock;
mod command;
mod config;
mod configs;
mod coordination;
mod failure;
mod features;
mod fetch;
mod group_requests;
pub mod groups;
mod log_dirs;
mod markers;
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
mod transaction_requests;
mod transactional_offsets;
pub mod transactions;
mod validation;
mod verification;
mod view;

pub use broker::{Broker, StartError};
pub use command::CommandError;
pub use config::{BrokerConfig, BrokerLimits, BrokerSettings};
pub use configs::{
    AlterConfigsError, ConfigQuery, DescribeConfigsError, InvalidBrokerId, InvalidGroupName, ResourceAlteration,
    ResourceKind, ResourceName,
};
pub use coordination::{GroupWait, TransactionWait};
pub use failure::FailureNotice;
pub use features::{ClusterFeatures, SupportedFeature, UpdateFeaturesError};
pub use fetch::{Fetch, FetchError, FetchPartition, FetchedPartition};
pub use group_requests::{
    CommitEntry, FetchedOffset, FindCoordinatorError, GroupCommit, GroupOffsetError, OffsetFetchError, OffsetsWanted,
};
pub use log_dirs::{LogDir, LogDirSelection};
pub use markers::MarkerError;
pub use metadata::{
    AutoCreation, BrokerNode, ClusterMetadata, MetadataError, PartitionMetadata, TopicAnswer, TopicMetadata,
    TopicSelection,
};
pub use offsets::{EpochQuery, ListOffsetsError, OffsetAt, OffsetQuery};
pub use produce::{Acks, Produce, ProduceError, ProducePartition, ProduceWait, Produced};
pub use records::{DeleteBefore, DeleteRecordsError, RecordDeletion};
pub use refusals::Refusals;
pub use session::{Caller, Principal, Session};
pub use storage::{OffsetOutOfRange, StorageError, UnreadableError};
pub use topics::{
    AutoCreationError, CreatePartitionsError, CreateTopicsError, DeleteTopicsError, Mode, TopicCreation, TopicPlacement,
};
pub use transaction_requests::{
    DescribeProducersError, ListTransactionsError, PartitionsPurpose, TransactionPartitionError, TransactionPartitions,
    TransactionQuery,
};
pub use transactional_offsets::{TransactionalCommit, TransactionalOffsetError};
pub use validation::{BatchRefusal, FaultReason, InvalidBatch, RecordFault};
pub use verification::ProduceTransaction;
pub use view::{LocateError, TopicRef, UnknownPartition, UnknownTopic};

/// Types of the layers below that requests and results contain.
pub use rustmq_broker_core::ErrorKind;
pub use rustmq_controller_core::configs::{
    ConfigKind, ConfigSource, DescribedConfig, EffectiveBrokerConfig, EffectiveTopicConfig, StaticConfigs, Synonym,
};
pub use rustmq_controller_core::{
    ConfigChange, ConfigEdit, CreatedTopic, DeletedTopic, EditOperation, ExtendedTopic, FeatureDirection,
    FeatureUpdate, InvalidUpdateReason, NewPartitions, Rejection,
};
pub use rustmq_engine_api::{
    AbortedTransaction, EpochEnd, FoundOffset, Frontiers, Isolation, ProducerState, TransactionRejection,
};
