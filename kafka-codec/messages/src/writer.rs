//! How values are written. Record bytes are not copied: they become segments of their own.

use bytes::{BufMut, Bytes, BytesMut};
use uuid::Uuid;

use crate::error::EncodeError;

/// Bytes of the length before each frame.
const LENGTH_BYTES: usize = 4;
/// Room that a message has before its buffer grows.
const CAPACITY: usize = 256;

/// What can be written in the version that its writer stands for.
pub trait Encode {
    /// # Errors
    ///
    /// The version has no place for what is set, or a length does not fit.
    fn encode(&self, writer: &mut Writer) -> Result<(), EncodeError>;
}

/// Writes a message of one version.
#[derive(Debug)]
pub struct Writer {
    buffer: BytesMut,
    /// Bytes that are not copied, each with its place in the buffer.
    inserted: Vec<(usize, Bytes)>,
    version: i16,
    is_flexible: bool,
}

impl Writer {
    #[must_use]
    pub fn new(version: i16, is_flexible: bool) -> Self {
        Self { buffer: BytesMut::with_capacity(CAPACITY), inserted: Vec::new(), version, is_flexible }
    }

    #[must_use]
    pub const fn version(&self) -> i16 {
        self.version
    }

    /// How many bytes are written.
    #[must_use]
    pub fn size(&self) -> usize {
        self.buffer.len() + self.inserted.iter().map(|(_, bytes)| bytes.len()).sum::<usize>()
    }

    /// Leaves room for the length of a frame, which [`Writer::into_frame`] fills in.
    pub(crate) fn begin_frame(&mut self) {
        self.int32(0);
    }

    /// What is written since [`Writer::begin_frame`], its length at the head of the first segment.
    pub(crate) fn into_frame(mut self) -> Result<Vec<Bytes>, EncodeError> {
        let length = self.size() - LENGTH_BYTES;
        let said = i32::try_from(length).map_err(|_| EncodeError::Frame { length })?;
        self.buffer[..LENGTH_BYTES].copy_from_slice(&said.to_be_bytes());
        Ok(self.into_segments())
    }

    /// The client id of a request's header, whose length has two bytes in every version.
    #[cfg(feature = "client")]
    pub(crate) fn client_id(&mut self, id: &str) -> Result<(), EncodeError> {
        let length = i16::try_from(id.len());
        self.int16(length.map_err(|_| EncodeError::Length { field: "client_id", length: id.len() })?);
        self.buffer.put_slice(id.as_bytes());
        Ok(())
    }

    /// What is written, in pieces; no piece is empty.
    #[must_use]
    pub fn into_segments(self) -> Vec<Bytes> {
        let mut segments = Vec::with_capacity(2 * self.inserted.len() + 1);
        let mut rest = self.buffer.freeze();
        let mut begun = 0;
        for (place, bytes) in self.inserted {
            if place > begun {
                segments.push(rest.split_to(place - begun));
                begun = place;
            }
            segments.push(bytes);
        }
        if !rest.is_empty() {
            segments.push(rest);
        }
        segments
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.buffer.put_u8(value.into());
    }

    pub(crate) fn int8(&mut self, value: i8) {
        self.buffer.put_i8(value);
    }

    pub(crate) fn int16(&mut self, value: i16) {
        self.buffer.put_i16(value);
    }

    pub(crate) fn uint16(&mut self, value: u16) {
        self.buffer.put_u16(value);
    }

    pub(crate) fn int32(&mut self, value: i32) {
        self.buffer.put_i32(value);
    }

    pub(crate) fn int64(&mut self, value: i64) {
        self.buffer.put_i64(value);
    }

    pub(crate) fn float64(&mut self, value: f64) {
        self.buffer.put_f64(value);
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.buffer.put_u128(value.as_u128());
    }

    pub(crate) fn text(&mut self, field: &'static str, value: &str) -> Result<(), EncodeError> {
        self.nullable_text(field, Some(value))
    }

    pub(crate) fn nullable_text(&mut self, field: &'static str, value: Option<&str>) -> Result<(), EncodeError> {
        let length = value.map(str::len);
        match i16::try_from(length.unwrap_or_default()) {
            Err(_) => return Err(EncodeError::Length { field, length: length.unwrap_or_default() }),
            Ok(_) if self.is_flexible => self.compact_length(field, length)?,
            Ok(short) => self.int16(if length.is_some() { short } else { -1 }),
        }
        self.buffer.put_slice(value.unwrap_or_default().as_bytes());
        Ok(())
    }

    pub(crate) fn nullable_bytes(&mut self, field: &'static str, value: Option<&[u8]>) -> Result<(), EncodeError> {
        self.long_length(field, value.map(<[u8]>::len))?;
        self.buffer.put_slice(value.unwrap_or_default());
        Ok(())
    }

    /// Record batches, in the pieces in which they lie in memory.
    pub(crate) fn nullable_records(
        &mut self,
        field: &'static str,
        pieces: Option<&[Bytes]>,
    ) -> Result<(), EncodeError> {
        self.long_length(field, pieces.map(|pieces| pieces.iter().map(Bytes::len).sum()))?;
        let filled = pieces.unwrap_or_default().iter().filter(|piece| !piece.is_empty());
        self.inserted.extend(filled.map(|piece| (self.buffer.len(), piece.clone())));
        Ok(())
    }

    pub(crate) fn nullable_structure<T: Encode>(&mut self, value: Option<&T>) -> Result<(), EncodeError> {
        match value {
            Some(value) => {
                self.int8(1);
                value.encode(self)
            }
            None => {
                self.int8(-1);
                Ok(())
            }
        }
    }

    pub(crate) fn list<T>(
        &mut self,
        field: &'static str,
        list: &[T],
        element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.nullable_list(field, Some(list), element)
    }

    pub(crate) fn nullable_list<T>(
        &mut self,
        field: &'static str,
        list: Option<&[T]>,
        mut element: impl FnMut(&mut Self, &T) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.long_length(field, list.map(<[T]>::len))?;
        list.unwrap_or_default().iter().try_for_each(|value| element(self, value))
    }

    /// How many tagged fields follow. Those at their default do not: old clients misread them.
    pub(crate) fn tag_count(&mut self, count: usize) {
        debug_assert!(self.is_flexible || count == 0, "only flexible versions have tagged fields");
        if self.is_flexible {
            self.varint(u32::try_from(count).expect("a structure has few fields"));
        }
    }

    /// A tagged field: its value is written first, and then moved to make room for its size.
    pub(crate) fn tagged(
        &mut self,
        tag: u32,
        value: impl FnOnce(&mut Self) -> Result<(), EncodeError>,
    ) -> Result<(), EncodeError> {
        self.varint(tag);
        let (begun, inserted) = (self.buffer.len(), self.inserted.len());
        value(self)?;
        assert_eq!(self.inserted.len(), inserted, "records are in no tagged field");
        let ended = self.buffer.len();
        let length = ended - begun;
        self.varint(u32::try_from(length).map_err(|_| EncodeError::Length { field: "tagged fields", length })?);
        let size_bytes = self.buffer.len() - ended;
        self.buffer[begun..].rotate_right(size_bytes);
        Ok(())
    }

    pub(crate) fn not_in_version(&self, field: &'static str) -> EncodeError {
        EncodeError::NotInVersion { field, version: self.version }
    }

    pub(crate) fn null(&self, field: &'static str) -> EncodeError {
        EncodeError::Null { field, version: self.version }
    }

    /// The length of bytes, or the count of a list; `None` stands for null.
    fn long_length(&mut self, field: &'static str, length: Option<usize>) -> Result<(), EncodeError> {
        if self.is_flexible {
            return self.compact_length(field, length);
        }
        let count = length.map_or(Ok(-1), i32::try_from);
        self.int32(count.map_err(|_| EncodeError::Length { field, length: length.unwrap_or_default() })?);
        Ok(())
    }

    /// One more than the length is written; 0 stands for null.
    fn compact_length(&mut self, field: &'static str, length: Option<usize>) -> Result<(), EncodeError> {
        let more = length.map_or(Ok(0), |length| u32::try_from(length + 1));
        self.varint(more.map_err(|_| EncodeError::Length { field, length: length.unwrap_or_default() })?);
        Ok(())
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self, value: u32) {
        let mut rest = value;
        while rest >= 0x80 {
            self.buffer.put_u8(rest.to_le_bytes()[0] | 0x80);
            rest >>= 7;
        }
        self.buffer.put_u8(rest.to_le_bytes()[0]);
    }
}

/// Whether a field is set to something else than its default.
pub(crate) fn differs<T: PartialEq>(value: &T, default: &T) -> bool {
    value != default
}
