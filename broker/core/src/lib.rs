//! The broker's decisions as state machines without I/O: consumer groups with their committed
//! offsets, and producer ids.
//!
//! No sockets, files, tasks, clock or randomness: time, member ids and reply tokens are arguments,
//! and what has to happen comes back as actions. No Kafka request type and no error code either:
//! the gateway translates.

pub mod groups;
pub mod producer_ids;
