//! The group coordinator: classic consumer groups and committed offsets, kept in one partition of
//! `__consumer_offsets`.
//!
//! Reading order: [`request`] (what comes in and what is answered), [`classic`] (one group),
//! [`offsets`] (what a group committed), [`coordinator`] (all groups of one partition, which is
//! what a driver holds), [`records`] (what is written).

pub mod classic;
pub mod config;
pub mod coordinator;
pub mod error;
mod fuzzing;
pub mod identity;
pub mod member;
pub mod offsets;
pub mod partition;
pub mod protocol;
pub mod records;
pub mod request;
#[cfg(test)]
mod scenario;
pub mod state;
pub mod subscription;

pub use config::GroupConfig;
pub use coordinator::{Action, AppendId, CoordinatorRecord, CoordinatorState, GroupCoordinator};
pub use error::GroupError;
#[doc(hidden)]
pub use fuzzing::fuzz_group_machine;
pub use identity::{GroupId, InstanceId, MemberId, Now, ReplyToken};
pub use offsets::CommittedOffset;
pub use partition::coordinator_partition;
pub use request::{Reply, ReplyOutcome};
pub use state::ClassicState;
