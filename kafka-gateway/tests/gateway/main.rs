//! The gateway over its broker and engine, spoken to by bytes. One program, since what decodes
//! Kafka's messages takes long to compile.

#![allow(clippy::unwrap_used)]

mod empty_and_unknown;
mod every_version;
mod features;
mod hostile_frames;
mod house;
mod refusals;
mod repeated_items;
#[path = "../../src/samples.rs"]
mod samples;
mod unacknowledged;
mod unread_answers;
