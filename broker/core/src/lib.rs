//! The broker's decisions as state machines without I/O: the contract of coordinators over an
//! internal log, consumer groups with their committed offsets, transactions, producer ids, and the
//! replicas that the metadata gives to this broker.
//!
//! No sockets, files, tasks, clock or randomness: time, member ids and reply tokens are arguments,
//! and actions tell the driver what to do. No Kafka request type and no error code either: the
//! gateway translates.
//!
//! A driver runs a group coordinator like this; the log is empty here:
//!
//! ```
//! use rustmq_broker_core::coordinator::*;
//! use rustmq_broker_core::groups::request::{OffsetCommit, OffsetCommitRequest};
//! use rustmq_broker_core::groups::{GroupConfig, GroupRequest, Groups};
//! use rustmq_model::{Instant, LeaderEpoch, Offset, PartitionId, Timestamp, TopicId, TopicName, TopicPartition};
//!
//! let now = Now { instant: Instant::from_nanos(1), wall: Timestamp(1) };
//! let limits = CoordinatorLimits {
//!     waiting_max: 100,
//!     pending_bytes_max: 1 << 20,
//!     log_bytes: 1 << 20,
//!     rewrite_batch_bytes_max: 1 << 19,
//! };
//! let mut coordinator = Coordinator::new(LeaderEpoch(0), limits);
//!
//! // Load the log: there is nothing to replay.
//! let log = LogRange { log_start: Offset(0), local_start: Offset(0), log_end: Offset(0) };
//! let loader = Loader::new(Groups::new(GroupConfig::default()), log, 1 << 20)?;
//! coordinator.activate(now, loader);
//!
//! // A request changes state: its record is appended first.
//! let partition = TopicPartition { topic: TopicName::new("orders")?, partition: PartitionId(0) };
//! let offset = OffsetCommit {
//!     partition,
//!     topic_id: TopicId(7),
//!     offset: Offset(42),
//!     leader_epoch: None,
//!     metadata: String::new(),
//! };
//! let commit = OffsetCommitRequest {
//!     group: "billing".into(),
//!     member: "".into(),
//!     instance: None,
//!     generation: -1,
//!     supports_member_epochs: false,
//!     retention: None,
//!     offsets: vec![offset],
//! };
//! coordinator.handle_request(now, ReplyToken(1), GroupRequest::CommitOffsets(commit));
//! let Some(Action::Append { append, records, .. }) = coordinator.poll_action() else { panic!("an append") };
//! assert!(records.len() == 1 && coordinator.poll_action().is_none());
//!
//! // The driver appends the record, and reports when it is committed. Then the request is
//! // answered.
//! coordinator.on_append_completed(now, append, Ok(Committed { next_offset: Offset(1), bytes: 80 }));
//! let Some(Action::Reply(reply)) = coordinator.poll_action() else { panic!("a reply") };
//! assert_eq!(reply.token, ReplyToken(1));
//! // The next timer searches for expired offsets.
//! assert!(coordinator.poll_timeout().is_some());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod coordinator;
mod error_kind;
pub mod groups;
pub mod pattern;
pub mod producer_ids;
pub mod replicas;
pub mod transactions;

pub use error_kind::ErrorKind;
