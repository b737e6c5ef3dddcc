//! Handmade record batches that no client library would write: headers with false fields, and
//! unreadable records. The codecs' own "stored" forms serve as compression, because every decoder
//! accepts them.

use bytes::{BufMut, Bytes, BytesMut};

/// A codec by its code in a batch's attributes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codec {
    None = 0,
    Gzip = 1,
    Snappy = 2,
    Lz4 = 3,
    Zstd = 4,
}

impl Codec {
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// Returns bytes that decompress to `content`, which must have 1 to 255 bytes.
    pub fn store(self, content: &[u8]) -> Vec<u8> {
        let size = u8::try_from(content.len()).expect("the content is short");
        match self {
            Codec::None => content.to_vec(),
            Codec::Gzip => {
                let head = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 1, size, 0, !size, 255];
                [&head[..], content, &crc32(content).to_le_bytes(), &[size, 0, 0, 0]].concat()
            }
            // The size as a varint, then one literal.
            Codec::Snappy => {
                let length = if size < 128 { vec![size] } else { vec![size, 1] };
                [&length[..], &[60 << 2, size - 1], content].concat()
            }
            Codec::Lz4 => {
                let head = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x40, 0x82, size, 0, 0, 0x80];
                [&head[..], content, &[0; 4]].concat()
            }
            Codec::Zstd => {
                let block = (u32::from(size) << 3 | 1).to_le_bytes();
                [&[0x28, 0xb5, 0x2f, 0xfd, 0x20, size][..], &block[..3], content].concat()
            }
        }
    }
}

/// The CRC of gzip.
fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}

/// A record with a key and a value. Its numbers are small: one byte each, doubled by zigzag.
pub fn record(place: u8, timestamp_delta: u8, headers: &[u8]) -> Vec<u8> {
    let body = [&[0, timestamp_delta * 2, place * 2, 2, b'k', 2, b'v'][..], headers].concat();
    [&[u8::try_from(body.len() * 2).expect("a record is short")][..], &body].concat()
}

/// The fields that the header of a batch declares.
#[derive(Clone, Copy, Debug)]
pub struct DeclaredFields {
    pub codec: Codec,
    /// In addition to the codec's bits.
    pub attributes: u16,
    pub base_timestamp: i64,
    pub max_timestamp: i64,
    pub count: i32,
}

/// A batch without a producer, with `body` as its unchanged body and a correct CRC.
pub fn crafted(stated: DeclaredFields, body: &[u8]) -> Bytes {
    let mut checked = BytesMut::new();
    checked.put_u16(stated.attributes | stated.codec as u16);
    checked.put_i32(stated.count - 1);
    checked.put_i64(stated.base_timestamp);
    checked.put_i64(stated.max_timestamp);
    checked.put_i64(-1);
    checked.put_i16(-1);
    checked.put_i32(-1);
    checked.put_i32(stated.count);
    checked.put_slice(body);
    let mut batch = BytesMut::new();
    batch.put_i64(0);
    batch.put_i32(i32::try_from(checked.len() + 9).expect("a batch is short"));
    batch.put_i32(-1);
    batch.put_u8(2);
    batch.put_u32(crc32c::crc32c(&checked));
    batch.put_slice(&checked);
    batch.freeze()
}
