//! The metadata log: openraft over a redb file, as a single voter within the process, and the
//! handle that brokers hold.
//!
//! What a command does is decided in `rustmq-controller-core`; here it is ordered, synced and
//! handed out. A quorum of several processes is not here yet: the network refuses to dial.

mod config;
mod controller;
mod database;
mod log_store;
mod network;
mod raft_types;
mod state_machine;
mod subscription;
#[cfg(test)]
mod tests;

pub use config::ControllerConfig;
pub use controller::{Applied, Controller, OpenError, SubmitError};
pub use database::StoreError;
pub use subscription::{ClusterSnapshot, DeltaBatch, Subscription, Update};
