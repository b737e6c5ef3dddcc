//! The broker through its public API, over an engine and a controller in memory.

#![allow(clippy::unwrap_used)]

mod admin;
mod groups;
mod log_shortening;
mod outages;
mod records;
mod topics;
mod transactional_offsets;
mod transactions;
