//! Replication of a partition, without I/O: who leads, which batches are pushed to each follower,
//! where two logs diverge, which replicas are in sync, and which records are committed. It takes
//! the controller's decisions as given; the driver carries the messages and the bytes.
//!
//! Reading order: [`message`] has the messages between replicas and their order, [`assignment`] the
//! controller's decisions; [`replica`] is the machine, with its [`role`] as the [`leader`] (the
//! [`progress`] of each follower with its [`window`] and its [`lag`], and the ISR in [`in_sync`])
//! or a [`follower`]; [`divergence`] compares two logs, [`log_change`] has the cut or the reset in
//! flight, [`ack_level`] the promises to producers, [`actions`] the requests to the driver.

pub mod ack_level;
pub mod actions;
pub mod assignment;
mod divergence;
mod follower;
mod in_sync;
mod lag;
mod leader;
pub mod limits;
mod log_change;
pub mod log_view;
pub mod message;
mod progress;
mod replica;
mod role;
mod window;

pub use ack_level::{AckLevel, ProduceRefusal};
pub use actions::{Action, ChangeFailure, Ignored, WaitRefusal};
pub use assignment::{
    Assignment, BrokerEpoch, Change, InSyncChange, Member, PartitionEpoch, Proposal, ProposalRefusal, Starts,
};
pub use leader::BatchesRead;
pub use limits::ReplicationLimits;
pub use log_view::LogView;
pub use message::{Ack, Answer, Conversation, Handshake, Hello, HistoryPage, Message, Push, Verdict};
pub use replica::Replica;
pub use role::RoleName;

#[cfg(test)]
mod tests;
