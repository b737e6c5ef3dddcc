//! The broker's decisions as state machines without I/O: the contract of coordinators over an
//! internal log, consumer groups with their committed offsets, producer ids, and the replicas that
//! the metadata gives to this broker.
//!
//! No sockets, files, tasks, clock or randomness: time, member ids and reply tokens are arguments,
//! and actions tell the driver what to do. No Kafka request type and no error code either: the
//! gateway translates.

pub mod coordinator;
mod error_kind;
pub mod groups;
pub mod producer_ids;
pub mod replicas;

pub use error_kind::ErrorKind;
