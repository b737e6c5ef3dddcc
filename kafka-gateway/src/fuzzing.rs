//! The entry point of the fuzz targets.

use bytes::Bytes;
use rustmq_kafka_codec_messages::{ApiKey, RequestHeader, decode, for_each_api};

/// Reads a frame as a connection does, and decodes its message. Must return for any bytes. Decodes
/// all requests of the codec, including those that the gateway does not serve.
pub fn fuzz_frame_decoder(data: &[u8]) {
    const ELEMENTS_MAX: usize = 10_000;
    let Ok((header, body)) = RequestHeader::read(Bytes::copy_from_slice(data)) else { return };
    let Ok(key) = ApiKey::try_from(header.key) else { return };
    macro_rules! decode_any {
        ($($name:ident $key:literal $first:literal $last:literal $flexible:literal $unstable:literal
            $request:ident $response:ident;)*) => {
            // Any result is fine, as long as the call returns.
            match key {
                $(ApiKey::$name => drop(decode::<rustmq_kafka_codec_messages::$request>(header.version, body, ELEMENTS_MAX)),)*
            }
        };
    }
    for_each_api!(decode_any);
}
