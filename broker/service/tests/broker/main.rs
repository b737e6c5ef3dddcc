//! The broker through its public API, over the real engine and controller.

#![allow(clippy::unwrap_used)]

mod admin;
mod groups;
mod house;
mod log_shortening;
mod records;
mod topics;
