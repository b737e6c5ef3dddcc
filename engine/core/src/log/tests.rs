//! Tests of the partition log: its rules, a random model, and its rebuild from checkpoints and
//! replay.
#![allow(clippy::unwrap_used)]

pub(crate) mod batches;
mod model;
mod replay;
mod rules;
