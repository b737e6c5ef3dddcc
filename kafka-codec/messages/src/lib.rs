//! Kafka's requests and responses as types, read from frames and written into them. It knows how
//! they lie on the wire and when a version has what; it does not know what they mean.
//!
//! Reading order: `api_key` (which APIs there are), `reader` and `writer` (how values lie on the
//! wire), `frame`, `error`, and `error_code` (the codes with which responses refuse). The messages
//! are written by `kafka-codec/generator` when this crate is built, from the schemas in
//! `kafka-codec/schemas`.

#[macro_use]
mod generated;
mod api_key;
mod error;
mod error_code;
mod frame;
mod reader;
mod writer;

pub use api_key::{ApiKey, Message, Request, UnknownApiKey};
pub use error::{DecodeError, EncodeError};
pub use error_code::ErrorCode;
#[cfg(feature = "client")]
pub use frame::encode_request;
pub use frame::{RequestHeader, decode, encode_response};
pub use generated::*;
pub use reader::{Decode, Reader};
pub use writer::{Encode, Writer};
