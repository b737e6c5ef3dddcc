//! The four codecs of record batches, in the framings that Kafka clients write. Decompression is bounded: a batch that would
//! grow beyond the bound is an error, not an allocation.

use std::io::{self, Read, Write};

use bytes::{Buf, Bytes, BytesMut};

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

/// The records of a batch as they were before compression, at most `size_max` bytes.
pub fn decompress(codec: Codec, body: Bytes, size_max: usize) -> Result<Bytes, CompressionError> {
    match codec {
        Codec::None => Ok(body),
        Codec::Snappy => decompress_snappy(&body, size_max),
        Codec::Gzip => read_bounded(codec, flate2::read::MultiGzDecoder::new(body.reader()), size_max),
        Codec::Lz4 => read_bounded(codec, lz4_flex::frame::FrameDecoder::new(body.reader()), size_max),
        Codec::Zstd => {
            let decoder = zstd::stream::read::Decoder::new(body.reader());
            read_bounded(codec, decoder.map_err(|source| CompressionError::Malformed { codec, source })?, size_max)
        }
    }
}

fn read_bounded(codec: Codec, decoder: impl Read, size_max: usize) -> Result<Bytes, CompressionError> {
    let mut out = Vec::new();
    let limit = u64::try_from(size_max).unwrap_or(u64::MAX).saturating_add(1);
    decoder.take(limit).read_to_end(&mut out).map_err(|source| CompressionError::Malformed { codec, source })?;
    if out.len() > size_max { Err(CompressionError::TooLarge { size_max }) } else { Ok(Bytes::from(out)) }
}

fn decompress_snappy(body: &[u8], size_max: usize) -> Result<Bytes, CompressionError> {
    if !body.starts_with(SNAPPY_JAVA_MAGIC) {
        let mut out = Vec::new();
        snappy_block(body, &mut out, size_max)?;
        return Ok(Bytes::from(out));
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
    Ok(Bytes::from(out))
}

fn snappy_block(block: &[u8], out: &mut Vec<u8>, size_max: usize) -> Result<(), CompressionError> {
    let malformed = |error: snap::Error| CompressionError::Malformed { codec: Codec::Snappy, source: error.into() };
    let length = snap::raw::decompress_len(block).map_err(malformed)?;
    let start = out.len();
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
