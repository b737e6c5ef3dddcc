//! One node: the real machine of a shard, with real recovery and replay, on the simulated disk, from one seed. Clients load it, it crashes
//! between any two events, in its starts too, and after each start and with each answer it is held against what was promised.
//!
//! Reading order: [`setting`] draws a run, [`computer`] is what a process runs on, [`start`] and [`process`] are a life of the node
//! ([`execution`], [`preparation`], [`reads`] are its parts, [`host`] and [`memory`] what the machine is lent), [`load`] the clients, [`cuts`] the other replicas, [`oracle`]
//! the judge, [`events`] what came up.

mod batches;
mod computer;
mod cuts;
mod events;
mod execution;
mod host;
mod load;
mod log_reader;
mod memory;
mod oracle;
mod preparation;
mod process;
mod reads;
mod setting;
mod start;
mod world;

pub use events::{Events, Named};
pub use setting::{Setting, Weather};

use world::World;

use crate::Trace;

/// What one run was like.
#[derive(Clone, Debug)]
pub struct Report {
    pub setting: Setting,
    /// What clients asked for.
    pub operations: u64,
    pub events: Events,
    pub trace: Trace,
}

/// Panics where a promise is broken.
#[must_use]
pub fn run(seed: u64, trace: Trace) -> Report {
    World::new(seed, trace).run()
}
