//! Reads where some of a file's sectors cannot be read. The device's error is damage at that place, like a wrong byte: it is found, and
//! everything around it is read.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustmq_engine_api::chunk::{ChunkPool, ChunkWriter};
use rustmq_engine_core::wal::group::fill_unreadable;

/// How closely a place that cannot be read is found: a page.
const STEP: usize = 4096;
const EIO: i32 = 5;
const ENODATA: i32 = 61;
const EILSEQ: i32 = 84;
const EREMOTEIO: i32 = 121;

/// Whether the device says that it cannot give back what was written there. Linux has several numbers for it (`blk_status_to_errno`).
pub(crate) fn is_medium_error(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(EIO | ENODATA | EILSEQ | EREMOTEIO))
}

/// Up to `length` bytes at `offset`, through the page cache; fewer at the file's end. What cannot be read comes as
/// [`fill_unreadable`] has it, and is told to `on_unreadable` by its place.
pub(crate) fn read_around(
    file: &File,
    offset: u64,
    length: usize,
    pool: &ChunkPool,
    on_unreadable: impl FnMut(u64, &io::Error),
) -> io::Result<Bytes> {
    // Nothing beyond the end is stood in for.
    let left = file.metadata()?.len().saturating_sub(offset);
    let length = usize::try_from(left).map_or(length, |left| length.min(left));
    if length == 0 {
        return Ok(Bytes::new());
    }
    let mut chunk = ChunkWriter::new(length, pool).map_err(io::Error::other)?;
    let buffer = &mut chunk.open_part()[..length];
    let read = |part: &mut [u8], at| {
        let read = file.read_at(part, at);
        if read.as_ref().is_err_and(is_medium_error) {
            read_single_pages(file);
        }
        read
    };
    let filled = fill_around(buffer, offset, read, on_unreadable)?;
    Ok(chunk.freeze(filled))
}

/// The page cache reads and keeps many pages as one folio, and one page that cannot be read makes the whole folio unreadable. From here on it
/// forgets those that it has of the file, and takes pages one by one.
fn read_single_pages(file: &File) {
    for advice in [Advice::Random, Advice::DontNeed] {
        // Without it more is taken for damage than need be, which is found.
        let _ = fadvise(file, 0, None, advice);
    }
}

/// The bytes of `buffer` that were filled: fewer than all at the file's end.
fn fill_around(
    buffer: &mut [u8],
    offset: u64,
    mut read: impl FnMut(&mut [u8], u64) -> io::Result<usize>,
    mut on_unreadable: impl FnMut(u64, &io::Error),
) -> io::Result<usize> {
    let mut filled = 0;
    // Up to here it is read page by page.
    let mut slow_until = 0;
    while filled < buffer.len() {
        let at = offset + filled as u64;
        let page = STEP - usize::try_from(at % STEP as u64).expect("less than a page");
        let room = buffer.len() - filled;
        let length = if filled < slow_until { page.min(room) } else { room };
        match read(&mut buffer[filled..filled + length], at) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if !is_medium_error(&error) => return Err(error),
            Err(_) if length > page => slow_until = filled + length,
            Err(error) => {
                on_unreadable(at, &error);
                fill_unreadable(&mut buffer[filled..filled + length]);
                filled += length;
            }
        }
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;

    use super::{EIO, fill_around};

    /// A file of `length` bytes, each its place modulo 251, of which reads that touch `bad` fail, in one piece as O_DIRECT does.
    fn device(length: usize, bad: std::ops::Range<u64>) -> impl FnMut(&mut [u8], u64) -> io::Result<usize> {
        move |part, at| {
            let count = part.len().min(length.saturating_sub(usize::try_from(at).unwrap()));
            if at < bad.end && at + count as u64 > bad.start {
                return Err(io::Error::from_raw_os_error(EIO));
            }
            for (place, byte) in (at..).zip(&mut part[..count]) {
                *byte = u8::try_from(place % 251).unwrap();
            }
            Ok(count)
        }
    }

    #[test]
    fn only_the_pages_that_cannot_be_read_are_stood_in_for() {
        let check = |offset: u64, bad: std::ops::Range<u64>, expected: &[u64]| {
            let mut buffer = vec![0; 50_000 - usize::try_from(offset).unwrap()];
            let mut told = Vec::new();
            let on_unreadable = |at, _: &io::Error| told.push(at);
            let filled = fill_around(&mut buffer, offset, device(50_000, bad), on_unreadable).unwrap();
            assert_eq!(filled as u64, 50_000 - offset);
            assert_eq!(told, expected);
            for (at, byte) in (offset..50_000).zip(&buffer) {
                let is_bad = expected.iter().any(|page| at / 4096 == page / 4096);
                assert!(is_bad || u64::from(*byte) == at % 251, "{at}");
            }
            for page in expected {
                let at = usize::try_from(page - offset).unwrap();
                assert_eq!(&buffer[at..at + 5], b"RMQG\xFF", "no zeros, and no sound group");
            }
        };
        check(0, 0..0, &[]);
        check(0, 9_000..9_001, &[8_192]);
        check(0, 0..1, &[0]);
        check(8_704, 9_000..9_001, &[8_704]);
        check(4_096, 8_191..8_193, &[4_096, 8_192]);
        check(512, 49_999..50_000, &[49_152]);
    }

    #[test]
    fn an_error_that_is_no_damage_is_told() {
        let mut buffer = vec![0; 10_000];
        let refused = fill_around(&mut buffer, 0, |_, _| Err(io::ErrorKind::PermissionDenied.into()), |_, _| {});
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
}
