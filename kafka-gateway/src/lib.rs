//! The Kafka wire protocol in front of the broker: frames, versions, order, error codes. This crate
//! translates, and decides nothing.
//!
//! Reading order: `api` (the table of APIs), `call` (a request and its response), `gateway` and
//! `connection` (the order of requests and responses), `frame` (bytes from the network), `handlers`
//! (one file per API), `error_map`, `response` (bytes to the network). `kafka-codec` decodes and
//! encodes messages; `net` accepts connections, bounds memory, and ends slow clients.

mod api;
mod call;
mod config;
mod config_resources;
mod connection;
mod error_map;
mod fetch_sessions;
mod frame;
#[cfg(feature = "fuzzing")]
mod fuzzing;
mod gateway;
mod handlers;
mod memory;
mod metrics;
mod response;
mod shared;
mod words;

pub use api::FEATURES;
pub use config::{GatewayConfig, GatewaySettings, LISTENER};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use fuzzing::fuzz_frame_decoder;
pub use gateway::{Gateway, StartError};
pub use metrics::Metrics;
