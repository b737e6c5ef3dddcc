//! A cluster: three replicas of a partition, the real replication machine over the real partition
//! log, and a model of the controller, from one seed.
//!
//! The fault model, line by line:
//!
//! - A message between brokers, or between a broker and the controller, may be lost, late, doubled,
//!   and overtaken by others. It is never changed.
//! - A link may be cut for a while, in one direction or in both.
//! - A process may end between any two events. Unsynced frames may be lost, from any one on; synced
//!   frames are not.
//! - A broker that is fenced and out of the ISR may come back with an empty disk, or go on in
//!   another run without a crash.
//! - A sync takes any time. It does not fail, and synced frames are read as they were: such faults
//!   are the simulation of a node's.
//! - A leader's read of its log for a push may give nothing.
//! - A cut of a log may fail, for now or for good.
//! - To drop a log takes time, and the process may end in the midst of it.
//! - Clocks run up to two percent too fast or too slow, each at its own pace.
//! - The controller decides in one order, and loses nothing. Answers to it and from it are lost,
//!   late and doubled like all messages. It may move a leadership from a leader that is well and
//!   does not hear of it.
//! - A client's request reaches a broker at once, unless that is down; the answer may be lost.
//!   Brokers are asked that do not lead.
//! - A leader is never elected from outside of the ISR.
//!
//! Reading order: [`setting`] draws a run, [`world`] is the course of it and [`ending`] the end,
//! [`broker`] a broker and its driver, [`replica_log`] and [`medium`] its log, [`controller`] and [`network`] lie between
//! them, [`producers`] and [`consumers`] the clients, [`oracle`] the judge, [`events`] the named
//! events.

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
    /// Requests of clients and operators.
    pub operations: u64,
    pub events: Events,
    pub trace: Trace,
}

/// Panics where a promise is broken.
#[must_use]
pub fn run(seed: u64, trace: Trace) -> Report {
    World::new(seed, trace).run()
}
