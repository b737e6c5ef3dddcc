//! The four codecs of record batches, in the framings that Kafka clients write. Decompression is bounded: a batch that would
//! grow beyond the bound is an error, not an allocation.

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

/// snappy-java's stream framing, which the Java and several other clients write: this magic, two versions, then blocks that
/// each have a big-endian length before them. Other clients write one raw block.
const SNAPPY_JAVA_MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const SNAPPY_JAVA_HEADER_LENGTH: usize = 16;

/// A snappy block grows at most about 21 times: the densest element is a copy of 64 bytes, which takes three.
const SNAPPY_GROWTH_MAX: usize = 22;
/// Bytes that are decompressed at a time where they are looked at in passing.
const WINDOW_BYTES: usize = 32 << 10;

/// The records of a batch as they were before compression, at most `size_max` bytes.
pub fn decompress(codec: Codec, body: Bytes, size_max: usize) -> Result<Bytes, CompressionError> {
    match codec {
        Codec::None => Ok(body),
        Codec::Snappy => decompress_snappy(&body, size_max).map(Bytes::from),
        Codec::Gzip => read_bounded(codec, gzip(&body), size_max),
        Codec::Lz4 => read_bounded(codec, lz4(&body), size_max),
        Codec::Zstd => read_bounded(codec, zstd(&body)?, size_max),
    }
}

/// Decompresses gzip as it is read, one window at a time. So do the next two; an error of their reads says that the body is malformed.
pub(crate) fn gzip(body: &[u8]) -> impl BufRead {
    BufReader::with_capacity(WINDOW_BYTES, flate2::bufread::MultiGzDecoder::new(body))
}

/// Holds two blocks of the frame, of 4 MiB each at most.
pub(crate) fn lz4(body: &[u8]) -> impl BufRead {
    lz4_flex::frame::FrameDecoder::new(body)
}

/// Whether an LZ4 frame is there to its end mark, and its checksum if it has one. The decoder takes an end of the bytes between or within block
/// sizes for the end of the frame, which consumers do not. Looks at block sizes only.
pub(crate) fn has_lz4_end(body: &[u8]) -> bool {
    find_lz4_end(body).is_some()
}

fn find_lz4_end(body: &[u8]) -> Option<()> {
    const FLAGS_AT: usize = 4;
    /// Magic, flags, block size, and the header's checksum.
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
        // The highest bit says that the block is not compressed.
        rest = after.get((size & 0x7fff_ffff) as usize + block_sum..)?;
    }
}

/// Holds the window that the frame asks for, of 128 MiB at most, as far as it was filled.
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

/// Snappy's blocks are not streams, so that the whole is decompressed; it cannot be more than about 21 times what is there.
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

/// Compresses records into a batch's body, in memory. The broker itself never does; coordinators and tests may.
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
