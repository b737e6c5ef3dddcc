//! The simulation of one node: a shard's real machine, with real recovery and replay, on the
//! simulated disk, from one seed. Clients load it. It crashes between any two events, even during a
//! start. The oracle checks every start and every answer.
//!
//! Reading order: [`setting`] draws the parameters of a run; [`computer`] has the disk and the
//! event queue of a process; [`start`] and [`process`] are one life of the node, with
//! [`execution`], [`preparation`] and [`reads`] as its parts, and with [`host`] and [`memory`] as
//! the machine's host; [`load`] is the clients, [`cuts`] the other replicas, [`oracle`] the checks,
//! [`events`] the named events.

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
pub use setting::{FaultProfile, Setting};

use world::World;

use crate::Trace;

/// The outcome of one run.
#[derive(Clone, Debug)]
pub struct Report {
    pub setting: Setting,
    /// The number of requests by clients.
    pub operations: u64,
    pub events: Events,
    pub trace: Trace,
}

/// Runs the simulation of this seed.
///
/// # Panics
/// If the node breaks a promise.
#[must_use]
pub fn run(seed: u64, trace: Trace) -> Report {
    World::new(seed, trace).run()
}
