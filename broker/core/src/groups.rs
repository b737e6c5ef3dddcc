//! The group coordinator: classic consumer groups and committed offsets, kept in one partition of
//! `__consumer_offsets`.
//!
//! Reading order: [`request`] (requests and answers), `group` and [`classic`] (one group),
//! [`offsets`] (the committed offsets of a group), [`machine`] (all groups of one partition, as a
//! machine for the contract in [`crate::coordinator`]), [`records`] (the records of the log),
//! [`task`] (work outside of the log).

pub mod classic;
pub mod config;
pub mod consumer;
pub mod error;
#[cfg(any(test, feature = "fuzzing"))]
mod fuzzing;
mod group;
pub mod identity;
pub mod machine;
pub mod member;
pub mod offsets;
pub mod protocol;
pub mod records;
pub mod request;
#[cfg(test)]
mod scenario;
pub mod state;
pub mod subscription;
pub mod task;
mod transactions;

pub use config::GroupConfig;
pub use error::GroupError;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use fuzzing::fuzz_group_machine;
pub use identity::{GroupId, InstanceId, MemberId};
pub use machine::{GroupCoordinator, Groups};
pub use offsets::CommittedOffset;
pub use request::{GroupEvent, GroupRequest, ReplyOutcome};
pub use state::{ClassicState, ConsumerState, GroupState};

pub use crate::coordinator::{Now, ReplyToken, coordinator_partition};
