//! The harness of the compatibility tests: starts a broker, drives real Kafka clients against it,
//! and passes their answers to the scenarios in `tests/`, which decide what is correct.

pub mod client;
pub mod coverage;
pub mod crash;
pub mod disk;
pub mod install;
pub mod kafka;
pub mod kcat;
pub mod member;
pub mod native;
pub mod port;
pub mod power_cut;
pub mod process;
pub mod program;
pub mod proxy;
mod proxy_listener;
pub mod record;
pub mod server;
pub mod tool;
pub mod versions;
pub mod wire;

pub use client::{Client, ClientKind, Refusal, open};
pub use record::{Ack, Draft, Record};
pub use server::{Server, Settings, Target, shared};
