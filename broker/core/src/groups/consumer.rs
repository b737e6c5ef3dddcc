//! Consumer groups of KIP-848: the coordinator computes the assignment, and members follow it step
//! by step in their heartbeats (`docs/adr/0028-consumer-groups.md`).
//!
//! Reading order: [`partitions`] (sets of partitions), [`member`] (one member, as the log keeps
//! it), [`image`] (one group, as the log keeps it) and [`records`], [`reconcile`] (the steps of a
//! member), [`assignor`] and `target` (the target assignment), [`topics`] (the topics of the
//! cluster), [`heartbeat`] (requests and answers), `draft` (the decisions of one append), `group`
//! (queue, timeouts and appends of one group).

pub mod assignor;
mod deadlines;
pub mod description;
mod draft;
mod group;
pub mod heartbeat;
pub mod image;
pub mod member;
pub mod partitions;
pub mod reconcile;
pub mod records;
mod target;
pub mod topics;

pub(crate) use self::group::ConsumerGroup;

#[cfg(test)]
mod tests;
