//! Frames: a length, a header, a message.

use bytes::Bytes;

use crate::api_key::{ApiKey, Message};
use crate::error::{DecodeError, EncodeError};
use crate::reader::{Decode, Reader};
use crate::writer::{Encode, Writer};

/// Tagged fields of a header; none is known yet.
const TAGGED_FIELDS_MAX: usize = 100;

/// The header before every request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    pub key: i16,
    pub version: i16,
    pub correlation_id: i32,
    pub client_id: Option<String>,
}

impl RequestHeader {
    /// Key, version and correlation id: what every header has at least.
    pub const LENGTH_MIN: usize = 8;

    /// Reads the header of a frame, and gives back the body. The header of an unknown version
    /// ends at an unknown place: such a body must not be read.
    ///
    /// # Errors
    ///
    /// The frame does not begin with a header.
    pub fn read(frame: Bytes) -> Result<(Self, Bytes), DecodeError> {
        let mut reader = Reader::new(frame, 0, false, TAGGED_FIELDS_MAX);
        let (key, version) = (reader.int16("request_api_key")?, reader.int16("request_api_version")?);
        let correlation_id = reader.int32("correlation_id")?;
        // It has two bytes of length in flexible versions, too.
        let client_id = reader.nullable_text("client_id")?;
        let mut body = reader.rest().clone();
        if ApiKey::try_from(key).is_ok_and(|key| key.versions().contains(&version) && key.is_flexible(version)) {
            let mut reader = Reader::new(body, version, true, TAGGED_FIELDS_MAX);
            reader.skip_tagged_fields()?;
            body = reader.rest().clone();
        }
        Ok((Self { key, version, correlation_id, client_id }, body))
    }
}

/// Reads a message that stands at the start of `body`; what follows it is not looked at.
///
/// # Errors
///
/// `body` does not begin with such a message, or it has more than `elements_max` elements.
pub fn decode<M: Message + Decode>(version: i16, body: Bytes, elements_max: usize) -> Result<M, DecodeError> {
    if !M::KEY.versions().contains(&version) {
        return Err(DecodeError::Version { key: M::KEY, version });
    }
    M::decode(&mut Reader::new(body, version, M::KEY.is_flexible(version), elements_max))
}

/// A response as a frame, in segments: the first begins with the length, and records are segments
/// of their own.
///
/// # Errors
///
/// The version has no place for what is set, or something is too long.
pub fn encode_response<M: Message + Encode>(
    correlation_id: i32,
    version: i16,
    message: &M,
) -> Result<Vec<Bytes>, EncodeError> {
    if !M::KEY.versions().contains(&version) {
        return Err(EncodeError::Version { key: M::KEY, version });
    }
    let mut writer = Writer::new(version, M::KEY.is_flexible(version));
    writer.begin_frame();
    writer.int32(correlation_id);
    if M::KEY.has_flexible_response_header(version) {
        writer.tag_count(0);
    }
    message.encode(&mut writer)?;
    writer.into_frame()
}

/// A request as a frame.
///
/// # Errors
///
/// As for a response.
#[cfg(feature = "client")]
pub fn encode_request<M: Message + Encode>(
    correlation_id: i32,
    client_id: &str,
    version: i16,
    message: &M,
) -> Result<Bytes, EncodeError> {
    if !M::KEY.versions().contains(&version) {
        return Err(EncodeError::Version { key: M::KEY, version });
    }
    let mut writer = Writer::new(version, M::KEY.is_flexible(version));
    writer.begin_frame();
    writer.int16(M::KEY as i16);
    writer.int16(version);
    writer.int32(correlation_id);
    writer.client_id(client_id)?;
    if M::KEY.is_flexible(version) {
        writer.tag_count(0);
    }
    message.encode(&mut writer)?;
    Ok(writer.into_frame()?.concat().into())
}
