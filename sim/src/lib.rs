//! Simulation: what the cores decide is carried out in virtual time, on a disk that fails as disks do, all of it drawn from one seed. No
//! clock, files, threads or randomness of the machine: the same seed gives the same [`Trace`].

pub mod cluster;
mod dice;
pub mod disk;
pub mod node;
mod schedule;
mod trace;

pub use dice::{Chance, Delay, Dice};
pub use schedule::Schedule;
pub use trace::{Fnv, Trace};
