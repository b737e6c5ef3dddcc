//! Why bytes are no message, and why a message has no bytes in a version.

use crate::api_key::ApiKey;

/// Why a message cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    #[error("{key} has no version {version}")]
    Version { key: ApiKey, version: i16 },
    #[error("the message ends within field '{field}'")]
    Truncated { field: &'static str },
    #[error("field '{field}' has the length {length}")]
    Length { field: &'static str, length: i64 },
    #[error("a number in field '{field}' has more than 32 bits")]
    Varint { field: &'static str },
    #[error("field '{field}' is not valid UTF-8")]
    NotUtf8 { field: &'static str },
    #[error("field '{field}' is null, which this version does not allow")]
    Null { field: &'static str },
    #[error("the message holds more than {elements_max} array elements and tagged fields")]
    TooManyElements { elements_max: usize },
    #[error("tagged field {tag} has {size} bytes, of which its value takes {read}")]
    TagSize { tag: u32, size: usize, read: usize },
}

/// Why a message cannot be written: a mistake of who made it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    #[error("{key} has no version {version}")]
    Version { key: ApiKey, version: i16 },
    #[error("field '{field}' is set, and version {version} does not have it")]
    NotInVersion { field: &'static str, version: i16 },
    #[error("field '{field}' is null, which version {version} does not allow")]
    Null { field: &'static str, version: i16 },
    #[error("field '{field}' has the length {length}, which does not fit")]
    Length { field: &'static str, length: usize },
    #[error("the frame has {length} bytes, which its length cannot say")]
    Frame { length: usize },
}

/// What was read, unless it is null and must not be.
pub(crate) fn null_if<T>(is_allowed: bool, field: &'static str, value: Option<T>) -> Result<Option<T>, DecodeError> {
    if value.is_none() && !is_allowed { Err(DecodeError::Null { field }) } else { Ok(value) }
}
