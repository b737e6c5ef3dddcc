//! Parts: optional fields after the fixed fields of a frame or a checkpoint, so that later builds
//! can add some. The tag of a part says whether a build that does not know the part may skip it.
//!
//! ```text
//! 0 2 tag; bit 15: the part is critical, and must not be skipped
//! 2 4 length of the bytes
//! 6   bytes
//! ```
//! Little-endian. The parts follow each other without gaps to the end of the frame or checkpoint.
//! This build knows no part, so it writes none.

/// Set in the tag of a critical part: a build that does not know the part must not skip it.
pub const CRITICAL: u16 = 1 << 15;

/// Why the parts cannot be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PartsError {
    /// The last part is cut off.
    Truncated,
    /// A newer build wrote a critical part.
    Critical { tag: u16 },
}

/// Checks that every part may be skipped.
pub(crate) fn pass_over(mut parts: &[u8]) -> Result<(), PartsError> {
    while !parts.is_empty() {
        let (tag, rest) = parts.split_first_chunk().ok_or(PartsError::Truncated)?;
        let (length, rest) = rest.split_first_chunk().ok_or(PartsError::Truncated)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| PartsError::Truncated)?;
        let (_, rest) = rest.split_at_checked(length).ok_or(PartsError::Truncated)?;
        let tag = u16::from_le_bytes(*tag);
        if tag & CRITICAL != 0 {
            return Err(PartsError::Critical { tag });
        }
        parts = rest;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{CRITICAL, PartsError, pass_over};

    /// A part as a later build would write it.
    pub(crate) fn part(tag: u16, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).expect("a part of a test is short");
        [&tag.to_le_bytes()[..], &length.to_le_bytes(), bytes].concat()
    }

    #[test]
    fn optional_parts_are_skipped_and_a_critical_one_is_refused() {
        let check = |parts: &[Vec<u8>], expected| assert_eq!(pass_over(&parts.concat()), expected, "{parts:?}");
        check(&[], Ok(()));
        check(&[part(1, b""), part(CRITICAL - 1, b"bytes")], Ok(()));
        check(&[part(1, b"bytes"), part(CRITICAL | 7, b"")], Err(PartsError::Critical { tag: CRITICAL | 7 }));
    }

    #[test]
    fn a_truncated_part_is_refused() {
        let parts = [part(1, b"bytes"), part(2, b"more")].concat();
        for cut in 0..parts.len() {
            let is_whole = cut == 0 || cut == part(1, b"bytes").len();
            assert_eq!(pass_over(&parts[..cut]).is_ok(), is_whole, "cut at {cut}");
        }
        let endless = [&1_u16.to_le_bytes()[..], &u32::MAX.to_le_bytes(), b"bytes"].concat();
        assert_eq!(pass_over(&endless), Err(PartsError::Truncated));
    }
}
