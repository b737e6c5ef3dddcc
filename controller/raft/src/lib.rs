//! The metadata log: openraft over a redb file, as a single voter within the process. Implements
//! the controller's port, `rustmq-controller-api`.
//!
//! `rustmq-controller-core` decides the effects of commands; this crate orders, syncs and publishes
//! them. It does not support a quorum of several processes yet: its network refuses to dial.

mod config;
mod controller;
mod database;
mod log_store;
mod network;
mod raft_types;
mod state_machine;
#[cfg(test)]
mod tests;

pub use config::ControllerConfig;
pub use controller::{OpenError, RaftController};
pub use database::StoreError;
