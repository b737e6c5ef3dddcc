//! Calls of the codec for a message that is known by its key alone.

use bytes::Bytes;
use rustmq_kafka_codec_generator::Direction;
use rustmq_kafka_codec_messages::{ApiKey, Decode, DecodeError, Encode, Message, Writer, decode, for_each_api};

use super::Kind;

/// Reads a message and writes it again.
pub fn again(kind: Kind, bytes: Bytes, elements_max: usize) -> Result<Bytes, DecodeError> {
    macro_rules! call {
        ($($name:ident $key:literal $first:literal $last:literal $flexible:literal $unstable:literal
            $request:ident $response:ident;)*) => {
            match (kind.key, kind.direction) {
                $(
                    (ApiKey::$name, Direction::Request) => {
                        again_as::<rustmq_kafka_codec_messages::$request>(kind.version, bytes, elements_max)
                    }
                    (ApiKey::$name, Direction::Response) => {
                        again_as::<rustmq_kafka_codec_messages::$response>(kind.version, bytes, elements_max)
                    }
                )*
            }
        };
    }
    for_each_api!(call)
}

fn again_as<M: Message + Decode + Encode>(
    version: i16,
    bytes: Bytes,
    elements_max: usize,
) -> Result<Bytes, DecodeError> {
    let message: M = decode(version, bytes, elements_max)?;
    let mut writer = Writer::new(version, M::KEY.is_flexible(version));
    message.encode(&mut writer).expect("what was read can be written");
    Ok(writer.into_segments().concat().into())
}
