//! The four codecs of record batches, in the framings that Kafka clients write. Decompression is
//! bounded: a batch that would grow beyond the bound is an error, and allocates nothing for the
//! excess.

use std::io::{self, BufRead, BufReader, Read, Write};

use bytes::{Bytes, BytesMut};

use crate::batch::Codec;

#[derive(Debug, thiserror::Error)]
pub enum CompressionError {
    #[error("the records decompress to more than {size_max} bytes")]
    TooLarge { size_max: usize },
    #[error("the records do not decompress as {codec}: {source}")]
    Malformed { codec: Codec, source: io::Error },
}

/// The start of snappy-java's stream framing, which the Java client and several others write: this
/// magic, two version numbers, then blocks, each behind its big-endian length. Other clients write
/// one raw block.
const SNAPPY_JAVA_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const SNAPPY_JAVA_HEADER_LENGTH: usize = 16;

/// Bounds how much a snappy block can grow: its densest element, a copy of 64 bytes, takes three
/// bytes, which makes about 21 times.
const SNAPPY_GROWTH_MAX: usize = 22;
const _: () = assert!(SNAPPY_GROWTH_MAX * 3 > 64);
/// How many decompressed bytes an inspection holds at a time.
const WINDOW_BYTES: usize = 32 << 10;

/// Decompresses a batch's records.
///
/// # Errors
/// [`CompressionError::TooLarge`] if they take more than `size_max` bytes; a batch without
/// compression is returned whatever its size. [`CompressionError::Malformed`] if `body` is
/// malformed for the codec.
pub fn decompress(codec: Codec, body: Bytes, size_max: usize) -> Result<Bytes, CompressionError> {
    match codec {
        Codec::None => Ok(body),
        Codec::Snappy => decompress_snappy(&body, size_max).map(Bytes::from),
        Codec::Gzip => read_bounded(codec, gzip(&body), size_max),
        Codec::Lz4 => read_bounded(codec, lz4(&body), size_max),
        Codec::Zstd => read_bounded(codec, zstd(&body)?, size_max),
    }
}

/// Decompresses gzip one window at a time, as the caller reads. As with [`lz4`] and [`zstd`], a
/// read error means that the body is malformed.
pub(crate) fn gzip(body: &[u8]) -> impl BufRead {
    BufReader::with_capacity(WINDOW_BYTES, flate2::bufread::MultiGzDecoder::new(body))
}

/// Holds two blocks of the frame in memory, each at most 4 MiB.
pub(crate) fn lz4(body: &[u8]) -> impl BufRead {
    lz4_flex::frame::FrameDecoder::new(body)
}

/// Whether an LZ4 frame is complete: it reaches its end mark, and its checksum if the flags name
/// one. The decoder does not check this: it accepts input that ends between blocks or within a
/// block size, which consumers refuse. Reads only the block sizes.
pub(crate) fn has_lz4_end(body: &[u8]) -> bool {
    find_lz4_end(body).is_some()
}

fn find_lz4_end(body: &[u8]) -> Option<()> {
    const FLAGS_AT: usize = 4;
    /// Magic, flags, block size code, and the header's checksum.
    const HEADER_LENGTH: usize = 7;
    let flags = *body.get(FLAGS_AT)?;
    let length_if = |flag: u8, length: usize| if flags & flag == 0 { 0 } else { length };
    let (content_size, dictionary, block_sum, content_sum) =
        (length_if(0x08, 8), length_if(0x01, 4), length_if(0x10, 4), length_if(0x04, 4));
    let mut rest = body.get(HEADER_LENGTH + content_size + dictionary..)?;
    loop {
        let (size, after) = rest.split_first_chunk()?;
        let size = u32::from_le_bytes(*size);
        if size == 0 {
            return (after.len() >= content_sum).then_some(());
        }
        // The highest bit marks a block that is not compressed.
        rest = after.get((size & 0x7fff_ffff) as usize + block_sum..)?;
    }
}

/// Holds the window that the frame asks for, at most 128 MiB, as far as it has been filled.
pub(crate) fn zstd(body: &[u8]) -> Result<impl BufRead, CompressionError> {
    let decoder = zstd::stream::read::Decoder::with_buffer(body);
    let decoder = decoder.map_err(|source| CompressionError::Malformed { codec: Codec::Zstd, source })?;
    Ok(BufReader::with_capacity(WINDOW_BYTES, decoder))
}

fn read_bounded(codec: Codec, decoder: impl Read, size_max: usize) -> Result<Bytes, CompressionError> {
    let mut out = Vec::new();
    let limit = u64::try_from(size_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut out).map_err(|source| CompressionError::Malformed { codec, source })?;
    if out.len() > size_max { Err(CompressionError::TooLarge { size_max }) } else { Ok(Bytes::from(out)) }
}

/// Decompresses the whole body, because snappy's blocks are not streams. The result is at most
/// about 21 times as long as `body`.
pub(crate) fn decompress_snappy(body: &[u8], size_max: usize) -> Result<Vec<u8>, CompressionError> {
    if !body.starts_with(SNAPPY_JAVA_MAGIC) {
        let mut out = Vec::new();
        snappy_block(body, &mut out, size_max)?;
        return Ok(out);
    }
    let cut_off = || malformed_snappy("the stream is cut off");
    let mut rest = body.get(SNAPPY_JAVA_HEADER_LENGTH..).ok_or_else(cut_off)?;
    let mut out = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk().ok_or_else(cut_off)?;
        let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
        let (block, after) = after.split_at_checked(length).ok_or_else(cut_off)?;
        snappy_block(block, &mut out, size_max)?;
        rest = after;
    }
    Ok(out)
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>, size_max: usize) -> Result<(), CompressionError> {
    let malformed = |error: snap::Error| CompressionError::Malformed { codec: Codec::Snappy, source: error.into() };
    let length = snap::raw::decompress_len(block).map_err(malformed)?;
    let start = out.len();
    if length / SNAPPY_GROWTH_MAX > block.len() {
        return Err(malformed_snappy("a block says that it grows more than one can"));
    }
    if start.saturating_add(length) > size_max {
        return Err(CompressionError::TooLarge { size_max });
    }
    out.resize(start + length, 0);
    snap::raw::Decoder::new().decompress(block, &mut out[start..]).map_err(malformed)?;
    Ok(())
}

fn malformed_snappy(reason: &'static str) -> CompressionError {
    CompressionError::Malformed { codec: Codec::Snappy, source: io::Error::new(io::ErrorKind::UnexpectedEof, reason) }
}

/// Compresses records into a batch's body. Coordinators and tests use it; the broker never
/// compresses a client's records.
#[must_use]
pub fn compress(codec: Codec, records: &BytesMut) -> Vec<u8> {
    const IN_MEMORY: &str = "writing to memory does not fail";
    match codec {
        Codec::None => records.to_vec(),
        Codec::Gzip => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
            encoder.write_all(records).expect(IN_MEMORY);
            encoder.finish().expect(IN_MEMORY)
        }
        Codec::Snappy => snap::raw::Encoder::new().compress_vec(records).expect("snappy takes blocks below 4 GiB"),
        Codec::Lz4 => {
            let mut encoder = lz4_flex::frame::FrameEncoder::new(Vec::new());
            encoder.write_all(records).expect(IN_MEMORY);
            encoder.finish().expect(IN_MEMORY)
        }
        Codec::Zstd => zstd::stream::encode_all(records.as_ref(), 0).expect(IN_MEMORY),
    }
}
