//! Checked reading and writing of the primitive types that Kafka's record schemas are made of.
//!
//! Bytes come from disk and from other brokers: every length is checked against what is there
//! before anything is taken.

use bytes::{BufMut, BytesMut};

use super::RecordError;

/// Reads one record's bytes from front to end. What it gives borrows from them.
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

    /// An unsigned varint of at most 32 bits.
    pub(crate) fn varint(&mut self) -> Result<usize, RecordError> {
        let mut value = 0_u64;
        for shift in [0, 7, 14, 21, 28] {
            let [byte] = self.array()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value)
                    .ok()
                    .and_then(|value| usize::try_from(value).ok())
                    .ok_or(RecordError::InvalidLength);
            }
        }
        Err(RecordError::InvalidLength)
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

    /// The count of an array whose elements take at least `element_size_min` bytes each: an absurd
    /// one is refused here.
    pub(crate) fn count(&mut self, element_size_min: usize) -> Result<usize, RecordError> {
        let count = usize::try_from(self.i32()?).map_err(|_| RecordError::InvalidLength)?;
        self.checked_count(count, element_size_min)
    }

    pub(crate) fn compact_count(&mut self, element_size_min: usize) -> Result<usize, RecordError> {
        let count = self.varint()?.checked_sub(1).ok_or(RecordError::InvalidLength)?;
        self.checked_count(count, element_size_min)
    }

    fn checked_count(&self, count: usize, element_size_min: usize) -> Result<usize, RecordError> {
        match count.checked_mul(element_size_min) {
            Some(size) if size <= self.bytes.len() => Ok(count),
            _ => Err(RecordError::InvalidLength),
        }
    }

    /// The tagged fields at the end of a flexible structure: passes number and content of each to
    /// `field`.
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

/// Appends an unsigned varint.
pub(crate) fn put_varint(into: &mut BytesMut, mut value: usize) {
    loop {
        let low = u8::try_from(value & 0x7f).expect("seven bits fit a byte");
        value >>= 7;
        if value == 0 {
            into.put_u8(low);
            return;
        }
        into.put_u8(low | 0x80);
    }
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
