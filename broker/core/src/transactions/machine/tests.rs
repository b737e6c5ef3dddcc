//! Tests of the transaction coordinator, by topic.
#![allow(clippy::unwrap_used)]

mod bounds;
mod ends;
mod epochs;
mod expiry;
mod markers;
mod producers;
mod reads;
