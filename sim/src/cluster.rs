//! The simulation of a cluster: three replicas of a partition, the real replication machine over
//! the real partition log, and a model of the controller, from one seed.
//!
//! The fault model, line by line:
//!
//! - The network may lose, delay, duplicate and reorder messages between brokers, and between a
//!   broker and the controller. It never changes one.
//! - A link may be cut for a while, in one direction or in both.
//! - A process may end between any two events. It may lose its unsynced frames, from any one on,
//!   but no synced frame.
//! - A broker that is fenced and not in the ISR may return with an empty disk, or register again
//!   without a crash.
//! - A sync takes any time. It does not fail, and reads return synced frames unchanged: the
//!   simulation of a node covers such faults.
//! - A leader's read of its log for a push may return nothing.
//! - A cut of a log may fail, transiently or permanently.
//! - Dropping a log takes time, and the process may end before it is done.
//! - Clocks run up to two percent too fast or too slow, each at its own rate.
//! - The controller decides in one order, and loses nothing. The network may lose, delay and
//!   duplicate its messages like all others. The controller may take the leadership from a healthy
//!   leader that does not hear of it.
//! - A client's request reaches a running broker at once, even one that does not lead; its answer
//!   may be lost.
//! - The controller never elects a leader from outside the ISR.
//!
//! Reading order: [`setting`] draws the parameters of a run; [`world`] is its course, and
//! [`ending`] its end; [`broker`] is a broker and its driver, [`replica_log`] and [`medium`] are
//! its log; [`controller`] and [`network`] connect the brokers; [`producers`] and [`consumers`] are
//! the clients, [`oracle`] the checks, [`events`] the named events.

mod batches;
mod broker;
mod consumers;
mod controller;
mod ending;
mod events;
mod medium;
mod network;
mod oracle;
mod producers;
mod replica_log;
mod setting;
mod world;

pub use events::{Events, Named};
pub use setting::Setting;

use world::World;

use crate::Trace;

/// The outcome of one run.
#[derive(Clone, Debug)]
pub struct Report {
    pub setting: Setting,
    /// The number of requests by clients and operators.
    pub operations: u64,
    pub events: Events,
    pub trace: Trace,
}

/// Runs the simulation of this seed.
///
/// # Panics
/// If the cluster breaks a promise.
#[must_use]
pub fn run(seed: u64, trace: Trace) -> Report {
    World::new(seed, trace).run()
}
