//! The simulation: runs the cores' decisions in virtual time, on a disk that fails as real disks
//! do. One seed draws everything. It uses no clock, file, thread or randomness of the machine, so
//! the same seed gives the same [`Trace`].

pub mod cluster;
pub mod disk;
pub mod node;
mod rng;
mod schedule;
mod trace;
pub mod transactions;

pub use rng::{Chance, Delay, Rng};
pub use schedule::Schedule;
pub use trace::{Fnv, Trace};
