//! The gateway over its broker and engine, spoken to by bytes.

#![allow(clippy::unwrap_used)]

mod empty_and_unknown;
mod every_version;
mod features;
mod fetch_session_versions;
mod fixture;
mod group_configs;
mod hostile_frames;
mod refusals;
mod repeated_items;
mod samples;
mod transactional_offsets;
mod unacknowledged;
mod unread_answers;
