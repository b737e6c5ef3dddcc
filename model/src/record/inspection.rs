//! Checks the records of a batch without decoding them: that each is complete and in its place.
//! Reports each record's timestamp, and whether it has a key. One pass, which allocates nothing for
//! an uncompressed batch and decompresses others window by window (snappy as a whole, because it
//! has no stream).

use std::io::{self, BufRead};

use super::RecordError;
use crate::batch::{BatchError, BatchHeader, Codec, HEADER_LENGTH};
use crate::compression::{self, CompressionError};
use crate::{Timestamp, varint};

/// The facts that an inspection reports about a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordOutline {
    /// The record's index within the batch, counted from 0; it equals the offset delta.
    pub index: i32,
    /// The producer's time, even where the batch's attributes say `LogAppendTime`.
    pub timestamp: Timestamp,
    pub has_key: bool,
}

/// Passes an outline of each record of a batch to `each`. `batch` holds the bytes that `header` was
/// read from. An uncompressed batch is not bounded by `size_max`.
///
/// # Errors
/// An error means that a consumer could not read the batch: its records do not decompress, their
/// number differs from the header's count, a record's parts do not fill it exactly, an offset delta
/// differs from the record's index, or a header has no name. Records that decompress to more than
/// `size_max` bytes end the pass with [`CompressionError::TooLarge`]. The outlines of the records
/// before the fault have reached `each` by then.
pub fn inspect(
    batch: &[u8],
    header: &BatchHeader,
    size_max: usize,
    each: impl FnMut(RecordOutline),
) -> Result<(), RecordError> {
    let codec = header.attributes.codec().ok_or(BatchError::Codec { code: header.attributes.0 & 7 })?;
    let body = &batch[HEADER_LENGTH..header.size];
    let pass = Pass { codec, base_timestamp: header.base_timestamp, count: header.record_count, size_max };
    match codec {
        Codec::None => Pass { size_max: usize::MAX, ..pass }.run(body, each),
        Codec::Snappy => pass.run(compression::decompress_snappy(body, size_max)?.as_slice(), each),
        Codec::Gzip => pass.run(compression::gzip(body), each),
        Codec::Lz4 if !compression::has_lz4_end(body) => {
            Err(pass.error(header.record_count, Fault::Source(io::ErrorKind::UnexpectedEof.into())))
        }
        Codec::Lz4 => pass.run(compression::lz4(body), each),
        Codec::Zstd => pass.run(compression::zstd(body)?, each),
    }
}

/// Why the pass cannot read a record.
enum Fault {
    Form(&'static str),
    Source(io::Error),
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Source(error)
    }
}

struct Pass {
    codec: Codec,
    base_timestamp: Timestamp,
    count: i32,
    size_max: usize,
}

impl Pass {
    fn run(&self, mut source: impl BufRead, mut each: impl FnMut(RecordOutline)) -> Result<(), RecordError> {
        let mut room = self.size_max;
        for index in 0..self.count {
            let outline = self.next(index, &mut source, &mut room).map_err(|fault| self.error(index, fault))?;
            let Some(outline) = outline else {
                return Err(CompressionError::TooLarge { size_max: self.size_max }.into());
            };
            each(outline);
        }
        // This read also makes the decoder compare a stream's own checksum.
        let rest = source.fill_buf().map_err(|error| self.error(self.count, Fault::Source(error)))?;
        if rest.is_empty() {
            return Ok(());
        }
        Err(self.error(self.count, Fault::Form("bytes are left after the last record")))
    }

    /// The next record, or `None` if it is larger than `room`. Subtracts the record's size from
    /// `room`.
    fn next(&self, index: i32, source: &mut impl BufRead, room: &mut usize) -> Result<Option<RecordOutline>, Fault> {
        let length = varint::read_i64(|| byte(source))?.ok_or(Fault::Form("its length is cut off"))?;
        let length = usize::try_from(length).map_err(|_| Fault::Form("its length is negative"))?;
        let Some(left) = room.checked_sub(length) else { return Ok(None) };
        *room = left;
        let window = source.fill_buf()?;
        if let Some(mut whole) = window.get(..length) {
            let outline = self.outline(index, &mut Body { source: &mut whole, left: length })?;
            source.consume(length);
            return Ok(Some(outline));
        }
        self.outline(index, &mut Body { source, left: length }).map(Some)
    }

    /// Reads the attributes (which no version uses), then timestamp, offset, key, value and
    /// headers, up to the record's last byte.
    fn outline(&self, index: i32, body: &mut Body<'_, impl BufRead>) -> Result<RecordOutline, Fault> {
        body.skip(1, "it is empty")?;
        let timestamp_delta = body.varint("its timestamp is cut off")?;
        if body.varint("its offset is cut off")? != i64::from(index) {
            return Err(Fault::Form("its offset delta is not its place in the batch"));
        }
        let has_key = body.skip_bytes("its key is cut off")?;
        body.skip_bytes("its value is cut off")?;
        let headers = body.varint("its header count is cut off")?;
        if headers < 0 {
            return Err(Fault::Form("its header count is negative"));
        }
        for _ in 0..headers {
            if !body.skip_bytes("a header name is cut off")? {
                return Err(Fault::Form("a header has no name"));
            }
            body.skip_bytes("a header value is cut off")?;
        }
        if body.left > 0 {
            return Err(Fault::Form("bytes are left after its headers"));
        }
        let timestamp = Timestamp(self.base_timestamp.0.wrapping_add(timestamp_delta));
        Ok(RecordOutline { index, timestamp, has_key })
    }

    fn error(&self, index: i32, fault: Fault) -> RecordError {
        match fault {
            Fault::Form(reason) => RecordError::Malformed { index, reason },
            Fault::Source(source) => CompressionError::Malformed { codec: self.codec, source }.into(),
        }
    }
}

/// The unread bytes of one record.
struct Body<'a, R> {
    source: &'a mut R,
    left: usize,
}

impl<R: BufRead> Body<'_, R> {
    fn varint(&mut self, cut_off: &'static str) -> Result<i64, Fault> {
        varint::read_i64(|| self.byte())?.ok_or(Fault::Form(cut_off))
    }

    fn byte(&mut self) -> io::Result<Option<u8>> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        byte(self.source)
    }

    /// Skips a length and that many bytes. A length of -1 is null: answers false for it, and true
    /// for any value, even an empty one.
    fn skip_bytes(&mut self, cut_off: &'static str) -> Result<bool, Fault> {
        match self.varint(cut_off)? {
            -1 => Ok(false),
            length => {
                self.skip(usize::try_from(length).map_err(|_| Fault::Form(cut_off))?, cut_off)?;
                Ok(true)
            }
        }
    }

    fn skip(&mut self, count: usize, cut_off: &'static str) -> Result<(), Fault> {
        self.left = self.left.checked_sub(count).ok_or(Fault::Form(cut_off))?;
        let mut rest = count;
        while rest > 0 {
            let available = self.source.fill_buf()?.len().min(rest);
            if available == 0 {
                return Err(Fault::Form(cut_off));
            }
            self.source.consume(available);
            rest -= available;
        }
        Ok(())
    }
}

fn byte(source: &mut impl BufRead) -> io::Result<Option<u8>> {
    let first = source.fill_buf()?.first().copied();
    if first.is_some() {
        source.consume(1);
    }
    Ok(first)
}
