//! Replication of a partition, without I/O: who leads, what is pushed to whom, where logs part,
//! which replicas are in sync, and what may be called committed. The controller's decisions are
//! taken from it; how messages and bytes travel is the driver's.
//!
//! Reading order: [`message`] has the messages between replicas and their order, [`assignment`] the
//! controller's decisions; [`replica`] is the machine, with its roles in [`leader`] ([`progress`]
//! of each follower: [`window`], [`lag`]; the ISR in [`in_sync`]) and [`follower`]; [`divergence`]
//! compares two logs, [`log_change`] is what is done to one, [`ack_level`] has the promises to
//! producers, [`actions`] the requests to the driver.

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
mod window;

pub use ack_level::{AckLevel, ProduceRefusal};
pub use actions::{Action, ChangeFailure, Ignored, WaitRefusal};
pub use assignment::{Assignment, Change, InSyncChange, Member, PartitionEpoch, Proposal, Refusal, Run, Starts};
pub use leader::BatchesRead;
pub use limits::ReplicationLimits;
pub use log_view::LogView;
pub use message::{Ack, Answer, Conversation, Handshake, Hello, HistoryPage, Message, Push, Verdict};
pub use replica::{Replica, RoleName};

#[cfg(test)]
mod tests;
