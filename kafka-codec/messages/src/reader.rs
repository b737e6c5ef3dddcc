//! Decodes values. Every length and count is compared with the rest of the frame before memory is
//! allocated for it: memory is allocated for bytes that have arrived, and never for a claimed
//! number.

use bytes::{Buf, Bytes};
use uuid::Uuid;

use crate::error::DecodeError;

/// The longest text in bytes, as in Kafka, whose lengths had two bytes in the first versions.
const TEXT_BYTES_MAX: usize = i16::MAX as usize;
/// The most elements for which a list allocates before they are decoded. Beyond, it grows.
const RESERVED_ELEMENTS_MAX: usize = 1024;

/// Keeps [`Decode`] to the generated types: only this crate can decode primitive values.
pub trait Sealed {}

/// A structure of Kafka's schemas that can be decoded. Only generated types implement it.
pub trait Decode: Sized + Sealed {
    /// Decodes a value from the start of the reader's bytes, in the reader's version. The reader is
    /// then behind the value.
    ///
    /// # Errors
    /// If the bytes are not such a value, or hold more elements than the reader admits.
    fn decode(reader: &mut Reader) -> Result<Self, DecodeError>;
}

/// The part of a message that is not decoded yet, and the rules for decoding it.
///
/// [`decode`](crate::decode) is the usual way to decode a message. A reader also shows the bytes
/// behind it:
///
/// ```
/// use bytes::Bytes;
/// use rustmq_kafka_codec_messages::{Decode, HeartbeatRequest, Reader};
///
/// // Group "g", generation 7, member "m" in version 0, and one byte more.
/// let bytes = Bytes::from_static(b"\0\x01g\0\0\0\x07\0\x01m!");
/// let (version, is_flexible, elements_max) = (0, false, 100);
/// let mut reader = Reader::new(bytes, version, is_flexible, elements_max);
/// let request = HeartbeatRequest::decode(&mut reader)?;
/// assert_eq!((request.group_id.as_str(), request.generation_id), ("g", 7));
/// assert_eq!(reader.rest().as_ref(), b"!");
/// # Ok::<(), rustmq_kafka_codec_messages::DecodeError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Reader {
    rest: Bytes,
    version: i16,
    is_flexible: bool,
    /// The number of elements that the rest of the message may have.
    elements_left: usize,
    elements_max: usize,
}

impl Reader {
    /// Decodes from the start of `bytes`, in `version`. `is_flexible` says whether lengths are
    /// compact and tagged fields follow structures in this version (KIP-482). All lists and tagged
    /// fields together have at most `elements_max` elements.
    #[must_use]
    pub const fn new(bytes: Bytes, version: i16, is_flexible: bool, elements_max: usize) -> Self {
        Self { rest: bytes, version, is_flexible, elements_left: elements_max, elements_max }
    }

    /// The version of the message.
    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// The bytes that are not decoded yet.
    #[must_use]
    pub const fn rest(&self) -> &Bytes {
        &self.rest
    }

    pub(crate) fn boolean(&mut self, field: &'static str) -> Result<bool, DecodeError> {
        Ok(self.int8(field)? != 0)
    }

    pub(crate) fn int8(&mut self, field: &'static str) -> Result<i8, DecodeError> {
        self.rest.try_get_i8().map_err(|_| DecodeError::Truncated { field })
    }

    pub(crate) fn int16(&mut self, field: &'static str) -> Result<i16, DecodeError> {
        self.rest.try_get_i16().map_err(|_| DecodeError::Truncated { field })
    }

    pub(crate) fn uint16(&mut self, field: &'static str) -> Result<u16, DecodeError> {
        self.rest.try_get_u16().map_err(|_| DecodeError::Truncated { field })
    }

    pub(crate) fn int32(&mut self, field: &'static str) -> Result<i32, DecodeError> {
        self.rest.try_get_i32().map_err(|_| DecodeError::Truncated { field })
    }

    pub(crate) fn int64(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        self.rest.try_get_i64().map_err(|_| DecodeError::Truncated { field })
    }

    pub(crate) fn float64(&mut self, field: &'static str) -> Result<f64, DecodeError> {
        self.rest.try_get_f64().map_err(|_| DecodeError::Truncated { field })
    }

    pub(crate) fn uuid(&mut self, field: &'static str) -> Result<Uuid, DecodeError> {
        self.rest.try_get_u128().map(Uuid::from_u128).map_err(|_| DecodeError::Truncated { field })
    }

    pub(crate) fn text(&mut self, field: &'static str) -> Result<String, DecodeError> {
        self.nullable_text(field)?.ok_or(DecodeError::Null { field })
    }

    pub(crate) fn nullable_text(&mut self, field: &'static str) -> Result<Option<String>, DecodeError> {
        let length = if self.is_flexible { self.compact_length(field)? } else { i64::from(self.int16(field)?) };
        let Some(length) = self.length_within(field, length)? else { return Ok(None) };
        if length > TEXT_BYTES_MAX {
            return Err(DecodeError::Length { field, length: length as i64 });
        }
        let text = std::str::from_utf8(&self.rest[..length]).map_err(|_| DecodeError::NotUtf8 { field })?.to_owned();
        self.rest.advance(length);
        Ok(Some(text))
    }

    /// A copy of the bytes, which does not keep the frame in memory.
    pub(crate) fn bytes(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        self.nullable_bytes(field)?.ok_or(DecodeError::Null { field })
    }

    pub(crate) fn nullable_bytes(&mut self, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
        let view = self.nullable_view(field)?;
        Ok(view.map(|view| Bytes::copy_from_slice(&view)))
    }

    /// A view of the bytes, which keeps the whole frame in memory.
    pub(crate) fn view(&mut self, field: &'static str) -> Result<Bytes, DecodeError> {
        self.nullable_view(field)?.ok_or(DecodeError::Null { field })
    }

    pub(crate) fn nullable_view(&mut self, field: &'static str) -> Result<Option<Bytes>, DecodeError> {
        let length = self.long_length(field)?;
        let length = self.length_within(field, length)?;
        Ok(length.map(|length| self.rest.split_to(length)))
    }

    pub(crate) fn nullable_structure<T: Decode>(&mut self, field: &'static str) -> Result<Option<T>, DecodeError> {
        if self.int8(field)? < 0 { Ok(None) } else { T::decode(self).map(Some) }
    }

    pub(crate) fn list<T>(
        &mut self,
        field: &'static str,
        element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        self.nullable_list(field, element)?.ok_or(DecodeError::Null { field })
    }

    pub(crate) fn nullable_list<T>(
        &mut self,
        field: &'static str,
        mut element: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<Vec<T>>, DecodeError> {
        let Some(count) = self.list_count(field)? else { return Ok(None) };
        let mut list = Vec::with_capacity(count.min(RESERVED_ELEMENTS_MAX));
        for _ in 0..count {
            list.push(element(self)?);
        }
        Ok(Some(list))
    }

    pub(crate) fn skip_tagged_fields(&mut self) -> Result<(), DecodeError> {
        self.tagged_fields(|_, _| Ok(false))
    }

    /// Reads the tagged fields at the end of a structure: `known` reads the value of a tag that it
    /// knows, and says whether it does.
    pub(crate) fn tagged_fields(
        &mut self,
        mut known: impl FnMut(&mut Self, u32) -> Result<bool, DecodeError>,
    ) -> Result<(), DecodeError> {
        const FIELD: &str = "tagged fields";
        if !self.is_flexible {
            return Ok(());
        }
        for _ in 0..self.varint(FIELD)? {
            self.charge(1)?;
            let tag = self.varint(FIELD)?;
            let size = i64::from(self.varint(FIELD)?);
            let size = self.length_within(FIELD, size)?.unwrap_or_default();
            let before = self.rest.len();
            if known(self, tag)? {
                let read = before - self.rest.len();
                if read != size {
                    return Err(DecodeError::TagSize { tag, size, read });
                }
            } else {
                self.rest.advance(size);
            }
        }
        Ok(())
    }

    /// The count of a list, taken out of the budget. An element takes a byte at least, so there are
    /// at most as many as bytes are left.
    fn list_count(&mut self, field: &'static str) -> Result<Option<usize>, DecodeError> {
        let count = self.long_length(field)?;
        let count = self.length_within(field, count)?;
        self.charge(count.unwrap_or_default())?;
        Ok(count)
    }

    /// Takes elements out of the budget.
    fn charge(&mut self, count: usize) -> Result<(), DecodeError> {
        let too_many = DecodeError::TooManyElements { elements_max: self.elements_max };
        self.elements_left = self.elements_left.checked_sub(count).ok_or(too_many)?;
        Ok(())
    }

    /// A length that the frame has, or `None` for -1, which stands for null.
    fn length_within(&self, field: &'static str, length: i64) -> Result<Option<usize>, DecodeError> {
        match usize::try_from(length) {
            Ok(length) if length <= self.rest.len() => Ok(Some(length)),
            Ok(_) => Err(DecodeError::Truncated { field }),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(DecodeError::Length { field, length }),
        }
    }

    /// The length of bytes, or the count of a list.
    fn long_length(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        if self.is_flexible { self.compact_length(field) } else { Ok(i64::from(self.int32(field)?)) }
    }

    /// One more than the length is written; 0 stands for null.
    fn compact_length(&mut self, field: &'static str) -> Result<i64, DecodeError> {
        Ok(i64::from(self.varint(field)?) - 1)
    }

    /// An unsigned number of at most 32 bits, seven a byte, the lowest first.
    fn varint(&mut self, field: &'static str) -> Result<u32, DecodeError> {
        let mut value = 0_u64;
        for shift in (0..35).step_by(7) {
            let byte = self.rest.try_get_u8().map_err(|_| DecodeError::Truncated { field })?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return u32::try_from(value).map_err(|_| DecodeError::Varint { field });
            }
        }
        Err(DecodeError::Varint { field })
    }
}
