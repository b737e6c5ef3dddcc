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

use crate::wal::little_endian::Writer;

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

/// The bytes of a field before its content.
pub(crate) const HEADER_LENGTH: usize = 2 + 4;

/// Writes the beginning of a field, which `length` bytes of content must follow.
pub(crate) fn put_header(out: &mut Writer<'_>, tag: u16, length: usize) {
    out.u16(tag);
    out.u32(u32::try_from(length).expect("a field is shorter than its segment"));
}

/// Splits off the first field: its tag and content, and the fields after it.
fn split_first(fields: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    let (tag, rest) = fields.split_first_chunk()?;
    let (length, rest) = rest.split_first_chunk()?;
    let (content, rest) = rest.split_at_checked(usize::try_from(u32::from_le_bytes(*length)).ok()?)?;
    Some((u16::from_le_bytes(*tag), content, rest))
}

/// Checks that a build which knows no field may skip every field.
pub(crate) fn check_skippable(mut fields: &[u8]) -> Result<(), TaggedFieldsError> {
    while !fields.is_empty() {
        let (tag, _, rest) = split_first(fields).ok_or(TaggedFieldsError::Truncated)?;
        if tag & CRITICAL != 0 {
            return Err(TaggedFieldsError::Critical { tag });
        }
        fields = rest;
    }
    Ok(())
}

/// The content of the first field with this tag.
pub(crate) fn find(mut fields: &[u8], tag: u16) -> Option<&[u8]> {
    while let Some((found, content, rest)) = split_first(fields) {
        if found == tag {
            return Some(content);
        }
        fields = rest;
    }
    None
}

#[cfg(test)]
pub(crate) mod tests {
    use super::{CRITICAL, TaggedFieldsError, check_skippable, find};

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
    fn a_field_is_found_among_others() {
        let fields = [tagged_field(2, b"other"), tagged_field(1, b"wanted"), tagged_field(1, b"later")].concat();
        assert_eq!(find(&fields, 1), Some(&b"wanted"[..]));
        assert_eq!(find(&fields, 3), None);
        assert_eq!(find(&fields[..fields.len() - 1], 3), None, "the last field is cut off");
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
