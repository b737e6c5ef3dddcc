//! Tagged fields: optional fields after the fixed fields of a frame or a checkpoint, which let
//! later builds extend them (compare KIP-482). The tag says whether a build that does not know the
//! field may skip it.
//!
//! ```text
//! 0 2 tag; bit 15: the field is critical, and must not be skipped
//! 2 4 length of the bytes
//! 6   bytes
//! ```
//! Little-endian. The fields follow each other without gaps to the end of the frame or checkpoint.
//! This build knows no field, so it writes none.

/// Set in the tag of a critical tagged field: a build that does not know the field must not skip
/// it.
pub const CRITICAL: u16 = 1 << 15;

/// Why the fields cannot be skipped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TaggedFieldsError {
    /// The last field is cut off.
    Truncated,
    /// A newer build wrote a critical tagged field.
    Critical { tag: u16 },
}

/// Checks that every field may be skipped.
pub(crate) fn check_skippable(mut fields: &[u8]) -> Result<(), TaggedFieldsError> {
    while !fields.is_empty() {
        let (tag, rest) = fields.split_first_chunk().ok_or(TaggedFieldsError::Truncated)?;
        let (length, rest) = rest.split_first_chunk().ok_or(TaggedFieldsError::Truncated)?;
        let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| TaggedFieldsError::Truncated)?;
        let (_, rest) = rest.split_at_checked(length).ok_or(TaggedFieldsError::Truncated)?;
        let tag = u16::from_le_bytes(*tag);
        if tag & CRITICAL != 0 {
            return Err(TaggedFieldsError::Critical { tag });
        }
        fields = rest;
    }
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{CRITICAL, TaggedFieldsError, check_skippable};

    /// A field as a later build would write it.
    pub(crate) fn tagged_field(tag: u16, bytes: &[u8]) -> Vec<u8> {
        let length = u32::try_from(bytes.len()).expect("a field of a test is short");
        [&tag.to_le_bytes()[..], &length.to_le_bytes(), bytes].concat()
    }

    #[test]
    fn optional_fields_are_skipped_and_a_critical_one_is_refused() {
        let check =
            |fields: &[Vec<u8>], expected| assert_eq!(check_skippable(&fields.concat()), expected, "{fields:?}");
        check(&[], Ok(()));
        check(&[tagged_field(1, b""), tagged_field(CRITICAL - 1, b"bytes")], Ok(()));
        check(
            &[tagged_field(1, b"bytes"), tagged_field(CRITICAL | 7, b"")],
            Err(TaggedFieldsError::Critical { tag: CRITICAL | 7 }),
        );
    }

    #[test]
    fn a_truncated_field_is_refused() {
        let fields = [tagged_field(1, b"bytes"), tagged_field(2, b"more")].concat();
        for cut in 0..fields.len() {
            let is_whole = cut == 0 || cut == tagged_field(1, b"bytes").len();
            assert_eq!(check_skippable(&fields[..cut]).is_ok(), is_whole, "cut at {cut}");
        }
        let endless = [&1_u16.to_le_bytes()[..], &u32::MAX.to_le_bytes(), b"bytes"].concat();
        assert_eq!(check_skippable(&endless), Err(TaggedFieldsError::Truncated));
    }
}
