//! The partition log against a simple model, and its rebuilding from checkpoint and replay.
#![allow(clippy::unwrap_used)]

pub(crate) mod batches;
mod model;
mod replay;
mod rules;
