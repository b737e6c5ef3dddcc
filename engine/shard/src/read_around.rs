//! Reads where some of a file's sectors cannot be read. The device's error is damage at that place, like a wrong byte: it is found, and
//! everything around it is read. A device that answers for nothing is no damage, and is told from it.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustmq_engine_api::chunk::{ChunkPool, ChunkWriter};
use rustmq_engine_core::wal::group::fill_unreadable;

use crate::dio::{DirectIo, read_at, read_once};

/// How closely a place that cannot be read is found: a page.
pub(crate) const PAGE: usize = 4096;
/// More unreadable pages in a row are hardly a fault of the medium alone, and each of them may take a device seconds.
const PAGES_IN_A_ROW_MAX: u64 = 64;
const EIO: i32 = 5;
const EAGAIN: i32 = 11;
const ENOMEM: i32 = 12;
const ENFILE: i32 = 23;
const EMFILE: i32 = 24;
const ENODATA: i32 = 61;
const EILSEQ: i32 = 84;
const EREMOTEIO: i32 = 121;

/// The cause of a read's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The device says that it cannot give back what was written there. Linux has several numbers for it (`blk_status_to_errno`).
    Medium,
    /// The device or the path to it fails in another way: the data may be there.
    Device,
    /// The process lacks memory or descriptors; the device was not asked.
    Process,
}

impl Fault {
    pub(crate) fn of(error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(EIO | ENODATA | EILSEQ | EREMOTEIO) => Self::Medium,
            None | Some(ENOMEM | EMFILE | ENFILE | EAGAIN) => Self::Process,
            Some(_) => Self::Device,
        }
    }
}

/// How many pages in a row that cannot be read are taken for damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Persistence {
    /// A few dozen.
    Bounded,
    /// Any number, as long as the file can be read at its ends.
    WhileItAnswers,
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum ReadAroundError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("nothing of {} bytes from offset {} on can be read: {error}", pages.end - pages.start, pages.start)]
    Silent { pages: Range<u64>, error: io::Error },
}

impl From<ReadAroundError> for io::Error {
    fn from(error: ReadAroundError) -> Self {
        match error {
            ReadAroundError::Io(error) | ReadAroundError::Silent { error, .. } => error,
        }
    }
}

/// A file that is read through the page cache, around its unreadable pages.
#[derive(Debug)]
pub(crate) struct AroundFile {
    file: File,
    persistence: Persistence,
    /// The page cache takes pages of it one by one.
    is_paged: bool,
}

impl AroundFile {
    pub(crate) fn open(path: &Path, persistence: Persistence) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, persistence, is_paged: false })
    }

    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// What was written through the page cache is on the disk then.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        crate::dio::spoiled::check_sync(&self.file)?;
        self.file.sync_all()
    }

    /// Has clean pages read from the disk again, though the page cache has them. Dirty ones stay.
    pub(crate) fn forget_cached(&self) {
        // Where the advice is refused, or a page is in use, the cache is believed.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    /// Up to `length` bytes at `offset`; fewer at the file's end. Unreadable pages are filled by [`fill_unreadable`], and each run of them is given
    /// to `on_unreadable`: its bytes in the file, and its first error.
    pub(crate) fn read(
        &mut self,
        offset: u64,
        length: usize,
        pool: &ChunkPool,
        on_unreadable: impl FnMut(Range<u64>, io::Error),
    ) -> Result<Bytes, ReadAroundError> {
        // Nothing beyond the end is stood in for.
        let left = self.file.metadata()?.len().saturating_sub(offset);
        let length = usize::try_from(left).map_or(length, |left| length.min(left));
        if length == 0 {
            return Ok(Bytes::new());
        }
        let mut chunk = ChunkWriter::new(length, pool).map_err(io::Error::other)?;
        let buffer = &mut chunk.open_part()[..length];
        let filled = fill_around(buffer, offset, self, on_unreadable)?;
        Ok(chunk.freeze(filled))
    }

    /// Whether the device answers for the file's first or last page. Where it answers for neither, its fault is hardly that of a sector.
    pub(crate) fn answers_at_its_ends(&self) -> io::Result<bool> {
        // A page from the cache would be no answer, and one that is read together with its neighbours may fail for theirs.
        advise_single_pages(&self.file);
        let last = self.file.metadata()?.len().saturating_sub(1) / PAGE as u64 * PAGE as u64;
        Ok([0, last].into_iter().any(|at| read_once(&self.file, &mut [0; PAGE], at).is_ok()))
    }

    /// The page cache reads and keeps many pages as one folio, and one page that cannot be read makes the whole folio unreadable. From here on
    /// it forgets those that it has of the file, and takes pages one by one.
    fn take_single_pages(&mut self) {
        if !std::mem::replace(&mut self.is_paged, true) {
            advise_single_pages(&self.file);
        }
    }
}

fn advise_single_pages(file: &File) {
    for advice in [Advice::Random, Advice::DontNeed] {
        // Without it more is taken for damage than need be, which is found.
        let _ = fadvise(file, 0, None, advice);
    }
}

/// Asks once more for pages that could not be read. Through the page cache each failure of the
/// device, or of the path to it, looks like that of a sector (EIO); a read around it tells them
/// apart.
#[derive(Debug)]
pub(crate) struct PageProbe {
    cached: File,
    direct: Option<File>,
    block_size: usize,
    pool: ChunkPool,
}

impl PageProbe {
    pub(crate) fn open(path: &Path, io: DirectIo) -> io::Result<Self> {
        let cached = File::open(path)?;
        advise_single_pages(&cached);
        let direct = if io.direct { Some(io.open_to_read(path)?) } else { None };
        Ok(Self { cached, direct, block_size: io.block_size as usize, pool: ChunkPool::default() })
    }

    /// Whether the page can be read now. An error is one of the device, not of the page.
    pub(crate) fn is_readable_at(&self, at: u64) -> io::Result<bool> {
        if self.is_cacheable_at(at)? {
            return Ok(true);
        }
        let Some(direct) = &self.direct else { return Ok(false) };
        let read = |at: u64| read_at(direct, at - at % self.block_size as u64, self.block_size, &self.pool);
        match read(at) {
            // A device that gives such an answer for this place alone has lost it.
            Err(error) if Fault::of(&error) == Fault::Device => {
                let last = direct.metadata()?.len().saturating_sub(1);
                if [0, last].into_iter().any(|end| read(end).is_ok()) { Ok(false) } else { Err(error) }
            }
            Err(error) if Fault::of(&error) == Fault::Process => Err(error),
            Err(_) => Ok(false),
            // A folio of the cache may hold a bad page beside this one: what cannot be read through
            // it, as a start reads, stays unreadable.
            Ok(_) => self.is_cacheable_at(at),
        }
    }

    fn is_cacheable_at(&self, at: u64) -> io::Result<bool> {
        loop {
            match read_once(&self.cached, &mut [0; PAGE], at) {
                Ok(_) => return Ok(true),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if Fault::of(&error) == Fault::Medium => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The part of a file that [`fill_around`] needs, so that a test can stand in for it.
trait Device {
    /// One read from `at` on, which may fill less than `room`.
    fn read(&mut self, room: &mut [u8], at: u64) -> io::Result<usize>;
    /// Asked after each [`PAGES_IN_A_ROW_MAX`] unreadable pages in a row: whether they are to be taken for a failed device, and not for damage.
    fn is_silent(&self) -> io::Result<bool>;
}

impl Device for AroundFile {
    fn read(&mut self, room: &mut [u8], at: u64) -> io::Result<usize> {
        let read = read_once(&self.file, room, at);
        if read.as_ref().is_err_and(|error| Fault::of(error) == Fault::Medium) {
            self.take_single_pages();
        }
        read
    }

    fn is_silent(&self) -> io::Result<bool> {
        Ok(self.persistence == Persistence::Bounded || !self.answers_at_its_ends()?)
    }
}

/// The bytes of `buffer` that were filled: fewer than all at the file's end.
fn fill_around(
    buffer: &mut [u8],
    offset: u64,
    device: &mut impl Device,
    mut on_unreadable: impl FnMut(Range<u64>, io::Error),
) -> Result<usize, ReadAroundError> {
    let mut filled = 0;
    // Up to here it is read page by page.
    let mut slow_until = 0;
    let mut run = None;
    while filled < buffer.len() {
        let at = offset + filled as u64;
        let page = PAGE - usize::try_from(at % PAGE as u64).expect("less than a page");
        let room = buffer.len() - filled;
        let length = if filled < slow_until { page.min(room) } else { room };
        match device.read(&mut buffer[filled..filled + length], at) {
            Ok(0) => break,
            Ok(count) => {
                filled += count;
                if let Some((range, error)) = run.take() {
                    on_unreadable(range, error);
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if Fault::of(&error) != Fault::Medium => return Err(error.into()),
            Err(_) if length > page => slow_until = filled + length,
            Err(error) => {
                fill_unreadable(&mut buffer[filled..filled + length]);
                filled += length;
                let (range, _) = run.get_or_insert((at..at, error));
                range.end = at + length as u64;
                let pages = (range.end - range.start).div_ceil(PAGE as u64);
                if pages.is_multiple_of(PAGES_IN_A_ROW_MAX) && device.is_silent()? {
                    let (pages, error) = run.expect("it was put there");
                    return Err(ReadAroundError::Silent { pages, error });
                }
            }
        }
    }
    if let Some((range, error)) = run {
        on_unreadable(range, error);
    }
    Ok(filled)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io;
    use std::ops::Range;

    use super::{Device, EIO, Fault, PAGE, PAGES_IN_A_ROW_MAX, ReadAroundError, fill_around};

    /// A file in which each byte is its place modulo 251. Reads that touch `bad` fail in one piece, as with O_DIRECT.
    struct TestDevice {
        length: usize,
        bad: Range<u64>,
        errno: i32,
        is_silent: bool,
        failures: u64,
    }

    impl TestDevice {
        const fn new(length: usize, bad: Range<u64>) -> Self {
            Self { length, bad, errno: EIO, is_silent: false, failures: 0 }
        }
    }

    impl Device for TestDevice {
        fn read(&mut self, room: &mut [u8], at: u64) -> io::Result<usize> {
            let count = room.len().min(self.length.saturating_sub(usize::try_from(at).unwrap()));
            if at < self.bad.end && at + count as u64 > self.bad.start {
                self.failures += 1;
                return Err(io::Error::from_raw_os_error(self.errno));
            }
            for (place, byte) in (at..).zip(&mut room[..count]) {
                *byte = u8::try_from(place % 251).unwrap();
            }
            Ok(count)
        }

        fn is_silent(&self) -> io::Result<bool> {
            Ok(self.is_silent)
        }
    }

    #[test]
    fn only_the_pages_that_cannot_be_read_are_stood_in_for() {
        let check = |offset: u64, bad: Range<u64>, expected: &[Range<u64>]| {
            let mut buffer = vec![0; 50_000 - usize::try_from(offset).unwrap()];
            let mut told = Vec::new();
            let mut device = TestDevice::new(50_000, bad);
            let on_unreadable = |range, error: io::Error| {
                assert_eq!(error.raw_os_error(), Some(EIO));
                told.push(range);
            };
            let filled = fill_around(&mut buffer, offset, &mut device, on_unreadable).unwrap();
            assert_eq!(filled as u64, 50_000 - offset);
            assert_eq!(told, expected, "a run of pages is told once");
            for (at, byte) in (offset..50_000).zip(&buffer) {
                let is_bad = expected.iter().any(|range| range.contains(&at));
                assert!(is_bad || u64::from(*byte) == at % 251, "{at}");
            }
            for range in expected {
                for page in range.clone().step_by(PAGE) {
                    let at = usize::try_from(page - offset).unwrap();
                    assert_eq!(&buffer[at..at + 5], b"RMQG\xFF", "no zeros, and no sound group");
                }
            }
        };
        let pages = |range: Range<u64>| [range];
        check(0, 0..0, &[]);
        check(0, 9_000..9_001, &pages(8_192..12_288));
        check(0, 0..1, &pages(0..4_096));
        check(8_704, 9_000..9_001, &pages(8_704..12_288));
        check(4_096, 8_191..8_193, &pages(4_096..12_288));
        check(512, 49_999..50_000, &pages(49_152..50_000));
    }

    #[test]
    fn an_error_that_is_no_damage_is_told() {
        let mut device = TestDevice { errno: 13, ..TestDevice::new(10_000, 0..10_000) };
        let refused = fill_around(&mut [0; 10_000], 0, &mut device, |_, _| {});
        let Err(ReadAroundError::Io(error)) = refused else { panic!("{refused:?}") };
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_device_that_answers_for_nothing_is_given_up() {
        const BAD: u64 = 3 * PAGES_IN_A_ROW_MAX * PAGE as u64;
        let mut buffer = vec![0; 2 * usize::try_from(BAD).unwrap()];
        let mut silent = TestDevice { is_silent: true, ..TestDevice::new(buffer.len(), 8_192..BAD) };
        let refused = fill_around(&mut buffer, 0, &mut silent, |_, _| panic!("it is no damage"));
        let Err(ReadAroundError::Silent { pages, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(pages, 8_192..8_192 + PAGES_IN_A_ROW_MAX * PAGE as u64);
        assert_eq!(silent.failures, PAGES_IN_A_ROW_MAX + 1);

        let mut told = Vec::new();
        let mut answering = TestDevice::new(buffer.len(), 8_192..BAD);
        fill_around(&mut buffer, 0, &mut answering, |range, _| told.push(range)).unwrap();
        assert!(told.len() == 1 && told[0] == (8_192..BAD), "{told:?}");
    }

    #[test]
    fn what_is_missing_to_the_process_is_no_fault_of_the_disk() {
        let check = |errno: i32, expected| assert_eq!(Fault::of(&io::Error::from_raw_os_error(errno)), expected);
        for (errno, expected) in [
            (5, Fault::Medium),
            (61, Fault::Medium),
            (84, Fault::Medium),
            (121, Fault::Medium),
            (11, Fault::Process),
            (12, Fault::Process),
            (23, Fault::Process),
            (24, Fault::Process),
            (19, Fault::Device),
            (110, Fault::Device),
            (116, Fault::Device),
        ] {
            check(errno, expected);
        }
        assert_eq!(Fault::of(&io::Error::other("no chunk")), Fault::Process);
    }
}
