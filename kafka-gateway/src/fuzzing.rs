//! What the fuzz targets call. The broker is built without it: it needs the decoders of all of
//! Kafka's requests.

use bytes::Bytes;
use kafka_protocol::messages::{ApiKey, RequestKind};

use crate::api::is_flexible;
use crate::frame::RequestHeader;
use crate::shape;
use crate::topic_id_requests::{TOPIC_IDS_FROM, read_commit, read_fetch};

/// Reads a frame the way a connection does, up to the decoded message, for fuzzing: it must return,
/// whatever the bytes.
pub fn fuzz_frame_decoder(data: &[u8]) {
    const ELEMENTS_MAX: usize = 10_000;
    let mut frame = Bytes::copy_from_slice(data);
    let Ok(header) = RequestHeader::read(&mut frame) else { return };
    let RequestHeader { key, version, .. } = header;
    if is_flexible(key, version) && RequestHeader::skip_tagged_fields(&mut frame).is_err() {
        return;
    }
    let Ok(length) = shape::check(key, version, &frame, ELEMENTS_MAX) else { return };
    let mut message = frame.slice(..length);
    let Ok(api) = ApiKey::try_from(key) else { return };
    // What it comes to does not matter; that it comes to an end does.
    if version >= TOPIC_IDS_FROM {
        match api {
            ApiKey::OffsetCommit => drop(read_commit(message.clone())),
            ApiKey::OffsetFetch => drop(read_fetch(message.clone())),
            _ => {}
        }
    }
    let _ = RequestKind::decode(api, &mut message, version);
}
