//! For tests: a broker over an engine and a controller in memory, and the requests that tests make
//! of any broker.

mod in_memory;
pub mod operations;

pub use in_memory::{InMemoryBroker, InMemoryBrokerOptions};
