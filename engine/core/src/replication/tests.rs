//! Tests of the replication machine: replicas that exchange messages, without a network or a log.
#![allow(clippy::unwrap_used)]

mod acknowledgements;
mod changes;
mod handshakes;
mod hostile;
mod mutations;
mod peers;
