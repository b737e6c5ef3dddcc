//! What the fuzz targets call.

use bytes::Bytes;
use rustmq_kafka_codec_messages::{ApiKey, RequestHeader, decode, for_each_api};

/// Reads a frame the way a connection does, up to the decoded message, for fuzzing: it must return,
/// whatever the bytes. All requests that the codec knows are read, also those that are not served.
pub fn fuzz_frame_decoder(data: &[u8]) {
    const ELEMENTS_MAX: usize = 10_000;
    let Ok((header, body)) = RequestHeader::read(Bytes::copy_from_slice(data)) else { return };
    let Ok(key) = ApiKey::try_from(header.key) else { return };
    macro_rules! decode_any {
        ($($name:ident $key:literal $first:literal $last:literal $flexible:literal $unstable:literal
            $request:ident $response:ident;)*) => {
            // What it comes to does not matter; that it comes to an end does.
            match key {
                $(ApiKey::$name => drop(decode::<rustmq_kafka_codec_messages::$request>(header.version, body, ELEMENTS_MAX)),)*
            }
        };
    }
    for_each_api!(decode_any);
}
