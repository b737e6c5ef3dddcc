//! Integers of variable length, as Kafka writes them in records and in compact fields: seven bits a
//! byte, the lowest first, with the high bit set in every byte but the last. Signed ones are
//! written in zigzag order: 0, -1, 1, -2 as 0, 1, 2, 3.

use bytes::BufMut;

pub fn put_unsigned(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.put_u8(value.to_le_bytes()[0]);
}

pub fn put_signed(out: &mut impl BufMut, value: i64) {
    put_unsigned(out, (value << 1 ^ (value >> 63)).cast_unsigned());
}

/// Reads an unsigned integer from the bytes that `next` gives one by one. `None` if they end before
/// it, if it has more than five bytes, or if its value has more than 32 bits.
///
/// # Errors
/// An error of `next`.
pub fn read_u32<E>(next: impl FnMut() -> Result<Option<u8>, E>) -> Result<Option<u32>, E> {
    Ok(read::<32, E>(next)?.and_then(|value| u32::try_from(value).ok()))
}

/// Reads a signed integer from the bytes that `next` gives one by one. `None` if they end before
/// it, or if it has more than ten bytes. Bits of the tenth byte beyond the 64th are ignored.
///
/// # Errors
/// An error of `next`.
pub fn read_i64<E>(next: impl FnMut() -> Result<Option<u8>, E>) -> Result<Option<i64>, E> {
    let unzigzag = |raw: u64| (raw >> 1).cast_signed() ^ -(raw & 1).cast_signed();
    Ok(read::<64, E>(next)?.map(unzigzag))
}

fn read<const BITS: u32, E>(mut next: impl FnMut() -> Result<Option<u8>, E>) -> Result<Option<u64>, E> {
    let mut value = 0;
    for shift in (0..BITS).step_by(7) {
        let Some(byte) = next()? else { return Ok(None) };
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(Some(value));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use super::{put_signed, put_unsigned, read_i64, read_u32};

    fn next(bytes: &mut &[u8]) -> impl FnMut() -> Result<Option<u8>, Infallible> {
        || Ok(bytes.split_off_first().copied())
    }

    #[test]
    fn unsigned_integers_have_five_bytes_and_32_bits_at_most() {
        let check = |value: u32, bytes: &[u8]| {
            let mut written = Vec::new();
            put_unsigned(&mut written, value.into());
            assert_eq!(written, bytes, "{value}");
            let mut rest = bytes;
            assert_eq!(read_u32(next(&mut rest)), Ok(Some(value)));
            assert_eq!(rest, [0; 0], "{value} is read to its end");
        };
        check(0, &[0]);
        check(0x7f, &[0x7f]);
        check(0x80, &[0x80, 1]);
        check(300, &[0xac, 2]);
        check(u32::MAX, &[0xff, 0xff, 0xff, 0xff, 0x0f]);
        let refused = |mut bytes: &[u8]| assert_eq!(read_u32(next(&mut bytes)), Ok(None));
        refused(&[]);
        refused(&[0x80]);
        refused(&[0xff, 0xff, 0xff, 0xff, 0x1f]);
        refused(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]);
    }

    #[test]
    fn signed_integers_have_ten_bytes_at_most() {
        let check = |value: i64, bytes: &[u8]| {
            let mut written = Vec::new();
            put_signed(&mut written, value);
            assert_eq!(written, bytes, "{value}");
            let mut rest = bytes;
            assert_eq!(read_i64(next(&mut rest)), Ok(Some(value)));
            assert_eq!(rest, [0; 0], "{value} is read to its end");
        };
        check(0, &[0]);
        check(-1, &[1]);
        check(1, &[2]);
        check(-65, &[0x81, 1]);
        check(i64::MAX, &[0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        check(i64::MIN, &[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]);
        let refused = |mut bytes: &[u8]| assert_eq!(read_i64(next(&mut bytes)), Ok(None));
        refused(&[0x80]);
        refused(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0]);
    }
}
