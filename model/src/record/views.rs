//! The records of a batch as views into its decompressed bytes: nothing is allocated or copied per
//! record.

use bytes::Bytes;

use super::{RecordError, unzigzag};
use crate::batch::{BatchError, BatchHeader, HEADER_LENGTH, TimestampType};
use crate::compression;
use crate::{Offset, Timestamp};

/// One record without its headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordView<'a> {
    pub offset: Offset,
    pub timestamp: Timestamp,
    pub key: Option<&'a [u8]>,
    pub value: Option<&'a [u8]>,
    /// The encoded headers, whose number [`RecordViews`] has checked against their bytes.
    pub(super) headers: Headers<'a>,
}

/// The decompressed records of `batch`, which holds the batch that `header` was read from. Shares
/// the memory of an uncompressed batch.
///
/// # Errors
/// [`RecordError::Compression`] if the records do not decompress to at most `size_max` bytes,
/// [`RecordError::Batch`] for a codec that is not known.
pub fn body(batch: &Bytes, header: &BatchHeader, size_max: usize) -> Result<Bytes, RecordError> {
    let codec = header.attributes.codec().ok_or(BatchError::Codec { code: header.attributes.0 & 7 })?;
    Ok(compression::decompress(codec, batch.slice(HEADER_LENGTH..header.size), size_max)?)
}

/// The records in `body`, the decompressed bytes of the batch with this header. The iteration ends
/// at the first record that does not fill its place.
#[must_use]
pub const fn views<'a>(body: &'a [u8], header: &'a BatchHeader) -> RecordViews<'a> {
    RecordViews { rest: body, header, index: 0 }
}

/// The iterator of [`views`].
#[derive(Clone, Debug)]
pub struct RecordViews<'a> {
    rest: &'a [u8],
    header: &'a BatchHeader,
    index: i32,
}

impl<'a> RecordViews<'a> {
    fn next_view(&mut self) -> Result<RecordView<'a>, &'static str> {
        let length = varint(&mut self.rest).ok_or("its length is cut off")?;
        let one = usize::try_from(length).ok().and_then(|length| split(&mut self.rest, length));
        view_one(one.ok_or("its length is beyond the batch")?, self.header)
    }
}

impl<'a> Iterator for RecordViews<'a> {
    type Item = Result<RecordView<'a>, RecordError>;

    fn next(&mut self) -> Option<Self::Item> {
        let index = self.index;
        let result = if index < self.header.record_count {
            self.index += 1;
            self.next_view()
        } else if self.rest.is_empty() {
            return None;
        } else {
            Err("bytes are left after the last record")
        };
        if result.is_err() {
            (self.rest, self.index) = (&[], self.header.record_count);
        }
        Some(result.map_err(|reason| RecordError::Malformed { index, reason }))
    }
}

fn view_one<'a>(mut record: &'a [u8], header: &BatchHeader) -> Result<RecordView<'a>, &'static str> {
    split(&mut record, 1).ok_or("it is empty")?;
    let timestamp_delta = varint(&mut record).ok_or("its timestamp is cut off")?;
    let offset_delta = varint(&mut record).ok_or("its offset is cut off")?;
    let key = nullable(&mut record).ok_or("its key is cut off")?;
    let value = nullable(&mut record).ok_or("its value is cut off")?;
    let header_count = varint(&mut record).ok_or("its header count is cut off")?;
    // A header takes at least two bytes. A larger count is false, and must not size an allocation.
    let count = usize::try_from(header_count).ok().filter(|count| *count <= record.len() / 2);
    let count = count.ok_or("its header count is beyond the record")?;
    let headers = Headers { encoded: record, count };
    for _ in 0..count {
        nullable(&mut record).flatten().ok_or("a header name is missing")?;
        nullable(&mut record).ok_or("a header value is cut off")?;
    }
    if !record.is_empty() {
        return Err("bytes are left after its headers");
    }
    let timestamp = match header.attributes.timestamp_type() {
        TimestampType::LogAppendTime => header.max_timestamp,
        TimestampType::CreateTime => Timestamp(header.base_timestamp.0.wrapping_add(timestamp_delta)),
    };
    Ok(RecordView { offset: header.base_offset.plus(offset_delta), timestamp, key, value, headers })
}

/// The headers of one record, which are complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Headers<'a> {
    encoded: &'a [u8],
    count: usize,
}

impl<'a> Headers<'a> {
    pub(super) fn iter(self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let mut rest = self.encoded;
        (0..self.count).map(move |_| {
            let name = nullable(&mut rest).flatten().expect("the view has checked every name");
            (name, nullable(&mut rest).expect("the view has checked every value"))
        })
    }
}

/// Takes the first `length` bytes of `rest`.
fn split<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(length)?;
    *rest = left;
    Some(taken)
}

/// Takes a zigzag varint of up to 64 bits.
fn varint(rest: &mut &[u8]) -> Option<i64> {
    let mut raw = 0u64;
    for (index, byte) in rest.iter().take(10).enumerate() {
        raw |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            *rest = &rest[index + 1..];
            return Some(unzigzag(raw));
        }
    }
    None
}

/// Takes a length and that many bytes; a length of -1 is null. The outer `None` means that the
/// bytes end too early.
fn nullable<'a>(rest: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match varint(rest)? {
        -1 => Some(None),
        length => split(rest, usize::try_from(length).ok()?).map(Some),
    }
}
