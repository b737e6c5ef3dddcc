//! Reads and writes the primitive types of Kafka's record schemas.
//!
//! The bytes come from disk and from other brokers, so every length is checked against the
//! remaining bytes before it is used.

use bytes::{BufMut, BytesMut};
use rustmq_model::varint;

use super::RecordError;

/// Reads the bytes of one record from front to end. Results borrow from these bytes.
#[derive(Debug)]
pub(crate) struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], RecordError> {
        let (taken, rest) = self
            .bytes
            .split_at_checked(length)
            .ok_or(RecordError::Truncated { wanted: length, left: self.bytes.len() })?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], RecordError> {
        let taken = self.take(N)?;
        Ok(taken.try_into().expect("exactly N bytes were taken"))
    }

    pub(crate) fn i8(&mut self) -> Result<i8, RecordError> {
        Ok(i8::from_be_bytes(self.array()?))
    }

    pub(crate) fn i16(&mut self) -> Result<i16, RecordError> {
        Ok(i16::from_be_bytes(self.array()?))
    }

    pub(crate) fn i32(&mut self) -> Result<i32, RecordError> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    pub(crate) fn i64(&mut self) -> Result<i64, RecordError> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub(crate) fn u128(&mut self) -> Result<u128, RecordError> {
        Ok(u128::from_be_bytes(self.array()?))
    }

    pub(crate) fn varint(&mut self) -> Result<usize, RecordError> {
        let value = varint::read_u32(|| self.array().map(|[byte]| Some(byte)))?;
        value.and_then(|value| usize::try_from(value).ok()).ok_or(RecordError::InvalidLength)
    }

    fn text(&mut self, length: usize) -> Result<&'a str, RecordError> {
        std::str::from_utf8(self.take(length)?).map_err(|_| RecordError::InvalidText)
    }

    pub(crate) fn nullable_string(&mut self) -> Result<Option<&'a str>, RecordError> {
        match self.i16()? {
            -1 => Ok(None),
            length => self.text(usize::try_from(length).map_err(|_| RecordError::InvalidLength)?).map(Some),
        }
    }

    pub(crate) fn string(&mut self) -> Result<&'a str, RecordError> {
        self.nullable_string()?.ok_or(RecordError::InvalidLength)
    }

    pub(crate) fn bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let length = self.i32()?;
        self.take(usize::try_from(length).map_err(|_| RecordError::InvalidLength)?)
    }

    /// Passes over bytes that may be null.
    pub(crate) fn skip_nullable_bytes(&mut self) -> Result<(), RecordError> {
        match self.i32()? {
            -1 => Ok(()),
            length => self.take(usize::try_from(length).map_err(|_| RecordError::InvalidLength)?).map(|_| ()),
        }
    }

    pub(crate) fn compact_nullable_string(&mut self) -> Result<Option<&'a str>, RecordError> {
        match self.varint()? {
            0 => Ok(None),
            length => self.text(length - 1).map(Some),
        }
    }

    pub(crate) fn compact_string(&mut self) -> Result<&'a str, RecordError> {
        self.compact_nullable_string()?.ok_or(RecordError::InvalidLength)
    }

    pub(crate) fn compact_bytes(&mut self) -> Result<&'a [u8], RecordError> {
        let length = self.varint()?.checked_sub(1).ok_or(RecordError::InvalidLength)?;
        self.take(length)
    }

    /// The count of an array whose elements take at least `element_size_min` bytes each. A count
    /// that the remaining bytes cannot hold is refused.
    pub(crate) fn count(&mut self, element_size_min: usize) -> Result<usize, RecordError> {
        let count = usize::try_from(self.i32()?).map_err(|_| RecordError::InvalidLength)?;
        self.checked_count(count, element_size_min)
    }

    pub(crate) fn compact_count(&mut self, element_size_min: usize) -> Result<usize, RecordError> {
        let count = self.varint()?.checked_sub(1).ok_or(RecordError::InvalidLength)?;
        self.checked_count(count, element_size_min)
    }

    /// The count of an array that may be null.
    pub(crate) fn nullable_count(&mut self, element_size_min: usize) -> Result<Option<usize>, RecordError> {
        match self.i32()? {
            -1 => Ok(None),
            count => {
                let count = usize::try_from(count).map_err(|_| RecordError::InvalidLength)?;
                self.checked_count(count, element_size_min).map(Some)
            }
        }
    }

    pub(crate) fn compact_nullable_count(&mut self, element_size_min: usize) -> Result<Option<usize>, RecordError> {
        match self.varint()? {
            0 => Ok(None),
            count => self.checked_count(count - 1, element_size_min).map(Some),
        }
    }

    fn checked_count(&self, count: usize, element_size_min: usize) -> Result<usize, RecordError> {
        match count.checked_mul(element_size_min) {
            Some(size) if size <= self.bytes.len() => Ok(count),
            _ => Err(RecordError::InvalidLength),
        }
    }

    /// Reads the tagged fields at the end of a flexible structure, and passes the tag and the
    /// content of each to `field`.
    pub(crate) fn tagged_fields(
        &mut self,
        mut field: impl FnMut(usize, &'a [u8]) -> Result<(), RecordError>,
    ) -> Result<(), RecordError> {
        let count = self.varint()?;
        for _ in 0..self.checked_count(count, 2)? {
            let tag = self.varint()?;
            let size = self.varint()?;
            field(tag, self.take(size)?)?;
        }
        Ok(())
    }
}

pub(crate) fn put_varint(into: &mut BytesMut, value: usize) {
    varint::put_unsigned(into, value as u64);
}

pub(crate) fn put_string(into: &mut BytesMut, text: &str) -> Result<(), RecordError> {
    into.put_i16(i16::try_from(text.len()).map_err(|_| RecordError::TooLong { length: text.len() })?);
    into.put_slice(text.as_bytes());
    Ok(())
}

pub(crate) fn put_nullable_string(into: &mut BytesMut, text: Option<&str>) -> Result<(), RecordError> {
    if let Some(text) = text {
        return put_string(into, text);
    }
    into.put_i16(-1);
    Ok(())
}

pub(crate) fn put_bytes(into: &mut BytesMut, bytes: &[u8]) -> Result<(), RecordError> {
    into.put_i32(i32::try_from(bytes.len()).map_err(|_| RecordError::TooLong { length: bytes.len() })?);
    into.put_slice(bytes);
    Ok(())
}

pub(crate) fn put_compact_string(into: &mut BytesMut, text: &str) {
    put_varint(into, text.len() + 1);
    into.put_slice(text.as_bytes());
}

pub(crate) fn put_compact_nullable_string(into: &mut BytesMut, text: Option<&str>) {
    match text {
        Some(text) => put_compact_string(into, text),
        None => put_varint(into, 0),
    }
}

pub(crate) fn put_compact_bytes(into: &mut BytesMut, bytes: &[u8]) {
    put_varint(into, bytes.len() + 1);
    into.put_slice(bytes);
}
