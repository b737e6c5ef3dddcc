//! Consumer groups of KIP-848: the coordinator computes the assignment, and members follow it step
//! by step in their heartbeats.
//!
//! Reading order: [`partitions`] (sets of partitions), [`member`] (one member, as the log keeps
//! it), [`records`] (the records of the log), [`assignor`] (the assignors), [`topics`] (the topics
//! of the cluster and subscriptions to them).

pub mod assignor;
pub mod member;
pub mod partitions;
pub mod records;
pub mod topics;
