//! The simulation of transactions: the real transaction coordinator and the real group coordinator
//! over the real coordinators' contract, the real partition logs with their producers, guards and
//! markers, and several producers, from one seed.
//!
//! The fault model, line by line:
//!
//! - A leader of a partition may crash, or lose its leadership, between any two events. The next
//!   one has every committed batch, and any prefix of the others; it begins later, so that the
//!   leader is unknown meanwhile. Nothing of the memory survives: neither guards nor coordinators.
//! - A coordinator whose leadership has ended may go on for a while, and answer requests from its
//!   memory. The log refuses its appends. Requests below version 2 of the protocol do not reach it:
//!   it would confirm a transaction that its successor has ended, under the same epoch, and no
//!   partition can tell. A leader's lease has to keep it from answering.
//! - The log may refuse any append of a coordinator, and report results in any order. Coordinators
//!   shorten their logs all the time.
//! - Requests of producers, and their answers, may be lost, late and repeated, and the same holds
//!   for markers and their outcomes. Below version 2 of the protocol the order of a connection
//!   keeps old requests out, and that of the marker port old markers: that protocol needs it.
//! - A task of the transaction coordinator may have no result, or the same one twice. The
//!   controller may have no producer ids.
//! - A producer may die, fall silent for longer than its transaction may take, or be replaced while
//!   it goes on. Some ids begin near the end of their epochs.
//! - A topic may be deleted, and made again under its name. DeleteRecords goes past open
//!   transactions. In some runs transactional ids expire soon.
//! - A member of the consumer group may fall silent for longer than its session, or leave.
//!   Its heartbeats come over one connection, in order, and each one once at most.
//! - A log is one sequence of batches, whose synced part is what replicas have in common: the
//!   simulation of a cluster shows that replicas keep this promise, and that of a node shows it for
//!   a disk.
//!
//! Reading order: [`setting`] draws the parameters of a run; [`world`] is its course over the
//! [`environment`], and [`ending`] its end; [`partition`] is a log with its leader, over
//! [`batches`]; [`coordinators`] has the machines, and [`hosting`] drives them; [`calls`] carries
//! out the requests of [`producers`], and [`markers`] is the port; [`readers`] read, [`consumers`]
//! are the members of a group; [`faults`] break things; [`oracle`] has the checks, [`events`] the
//! named events.

mod batches;
mod calls;
mod consumers;
mod coordinators;
mod ending;
mod environment;
mod events;
mod faults;
mod hosting;
mod markers;
mod oracle;
mod partition;
mod producers;
mod readers;
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
    /// The number of requests by producers and readers.
    pub operations: u64,
    pub events: Events,
    pub trace: Trace,
}

/// Runs the simulation of this seed.
///
/// # Panics
/// If the broker breaks a promise.
#[must_use]
pub fn run(seed: u64, trace: Trace) -> Report {
    World::new(seed, trace).run()
}
