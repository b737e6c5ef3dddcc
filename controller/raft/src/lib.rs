//! The metadata log: openraft over a redb file, as a single voter within the process. Implements
//! the controller's port, `rustmq-controller-api`.
//!
//! What a command does is decided in `rustmq-controller-core`; here it is ordered, synced and
//! published. A quorum of several processes is not here yet: the network refuses to dial.

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
