//! Consumer groups of KIP-848: the coordinator computes the assignment, and members follow it step
//! by step in their heartbeats (`docs/adr/0028-consumer-groups.md`).
//!
//! Reading order: [`partitions`] (sets of partitions), [`member`] (one member, as the log keeps
//! it), [`image`] (one group, as the log keeps it) and [`records`], [`reconcile`] (the steps of a
//! member), [`topics`] (the topics of the cluster) and `patterns`, [`assignor`] and `target` (the
//! target assignment), [`heartbeat`] and `member_request` (requests and answers), `draft` (the
//! changes of one decision), `group` (queue, timeouts and decisions of one group).

pub mod assignor;
mod deadlines;
pub mod description;
mod draft;
mod group;
pub mod heartbeat;
pub mod image;
pub mod member;
mod member_request;
pub mod partitions;
mod patterns;
pub mod reconcile;
pub mod records;
pub(crate) mod target;
pub mod topics;

pub(crate) use self::group::ConsumerGroup;

#[cfg(test)]
mod tests;
