//! The shard as a whole, without files and threads.

#![allow(clippy::unwrap_used)]

mod driver;
mod execution;
mod host;
pub(super) mod memory;
mod rebuilds;
mod requests;
pub(super) mod slots;
mod stale_moves;

mod aborts;
mod allocations;
mod checkpoints;
mod cleaning;
mod closing;
mod commits;
mod cut_waits;
mod eviction;
mod invariants;
mod poison;
mod preparation;
mod reopening;
mod resets;
mod rolls;
mod trims;
mod truncations;
mod two_commits;
mod waits;

pub(super) use host::{Reply, TestHost};
pub(super) use requests::{batch, id};
