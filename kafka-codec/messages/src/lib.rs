//! Kafka's requests and responses as types, decoded from frames and encoded into them. This crate
//! knows their wire format in each version, and not their meaning.
//!
//! Reading order: `api_key` (the APIs), `reader` and `writer` (the wire format of values), `frame`,
//! `error`, and `error_code` (the error codes in responses). `kafka-codec/generator` generates the
//! messages from the schemas in `kafka-codec/schemas` when this crate is built.
//!
//! A server decodes a request and encodes its response:
//!
//! ```
//! use bytes::Bytes;
//! use rustmq_kafka_codec_messages::{
//!     ApiKey, HeartbeatRequest, HeartbeatResponse, RequestHeader, decode, encode_response,
//! };
//!
//! // Heartbeat, version 0, correlation id 5, client "c"; then group "g", generation 7, member "m".
//! let frame = Bytes::from_static(b"\0\x0c\0\0\0\0\0\x05\0\x01c\0\x01g\0\0\0\x07\0\x01m");
//! let (header, body) = RequestHeader::read(frame)?;
//! assert_eq!(ApiKey::try_from(header.key)?, ApiKey::Heartbeat);
//! let elements_max = 100;
//! let request: HeartbeatRequest = decode(header.version, body, elements_max)?;
//! assert_eq!(request.group_id, "g");
//!
//! let response = HeartbeatResponse { error_code: 27, ..HeartbeatResponse::default() };
//! let segments = encode_response(header.correlation_id, header.version, &response)?;
//! assert_eq!(segments.concat(), b"\0\0\0\x06\0\0\0\x05\0\x1b");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

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
