//! The Kafka wire protocol in front of the broker: frames, versions, order, error codes. It
//! translates and decides nothing.
//!
//! Reading order: `api` (what is served), `call` (a request on its way), `gateway` and `connection`
//! (who is served, in which order), `frame` (foreign bytes), `handlers` (one file per API),
//! `error_map`, `response` (bytes on their way out). `kafka-codec` reads and writes the messages;
//! accepting, budgets and slow clients are the business of `net`.

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

pub use config::{GatewayConfig, GatewaySettings, LISTENER};
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub use fuzzing::fuzz_frame_decoder;
pub use gateway::{Gateway, StartError};
pub use metrics::Metrics;
