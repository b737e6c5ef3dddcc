//! Clients with bad intentions, or bad bugs: their bytes (`bytes`), and their number and slowness
//! (`crowds`). The process keeps running, serves the others, and stays within a stated amount of
//! memory.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

mod bystander;
mod bytes;
mod crowds;

use ::bytes::BytesMut;
use kafka_protocol::messages::{ApiKey, RequestHeader, RequestKind};
use kafka_protocol::protocol::{Encodable, StrBytes};

/// A request as its frame's content.
fn frame(key: ApiKey, version: i16, request: &RequestKind) -> Vec<u8> {
    let mut frame = BytesMut::new();
    RequestHeader::default()
        .with_request_api_key(key as i16)
        .with_request_api_version(version)
        .with_correlation_id(1)
        .with_client_id(Some(StrBytes::from_static_str("hostile")))
        .encode(&mut frame, key.request_header_version(version))
        .unwrap();
    request.encode(&mut frame, version).unwrap();
    frame.to_vec()
}
