//! Reads a file around its unreadable sectors. An error of the medium counts as damage at that
//! place, like a wrong byte: the unreadable pages are located, and everything around them is read.
//! A device that answers no reads at all is not damage, and is reported as such.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use bytes::Bytes;
use rustix::fs::{Advice, fadvise};
use rustmq_engine_core::wal::group::fill_unreadable;
use rustmq_engine_memory::{ChunkPool, ChunkWriter};

use crate::direct_io::{DirectIo, read_at, read_once};

/// The granularity of unreadable places: a page, in bytes.
pub(crate) const PAGE: usize = 4096;
/// More unreadable pages in a row are hardly a fault of the medium alone, and a device may take
/// seconds for each of them.
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
    /// The device reports that it lost the data there. Linux has several error numbers for this
    /// (`blk_status_to_errno`).
    Medium,
    /// The device, or the path to it, fails in another way: the data may still exist.
    Device,
    /// The process lacks memory or descriptors; the read did not reach the device.
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

/// How many unreadable pages in a row count as damage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BadRunLimit {
    /// At most [`PAGES_IN_A_ROW_MAX`] minus one.
    Bounded,
    /// Any number, while the file can be read at one of its ends.
    WhileFileAnswers,
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
    bad_run_limit: BadRunLimit,
    /// Whether the page cache is advised to read the file page by page.
    is_paged: bool,
}

impl AroundFile {
    pub(crate) fn open(path: &Path, bad_run_limit: BadRunLimit) -> io::Result<Self> {
        Ok(Self { file: File::open(path)?, bad_run_limit, is_paged: false })
    }

    pub(crate) const fn file(&self) -> &File {
        &self.file
    }

    /// Syncs everything that was written through the page cache.
    pub(crate) fn sync(&self) -> io::Result<()> {
        #[cfg(test)]
        crate::direct_io::spoiled::check_sync(&self.file)?;
        self.file.sync_all()
    }

    /// Drops clean pages from the page cache, so that later reads come from the disk. Dirty pages
    /// stay.
    pub(crate) fn forget_cached(&self) {
        // If the kernel refuses the advice, or a page is in use, reads use the cached page.
        let _ = fadvise(&self.file, 0, None, Advice::DontNeed);
    }

    /// Reads up to `length` bytes at `offset`; fewer at the file's end. [`fill_unreadable`] fills
    /// unreadable pages, and `on_unreadable` gets each run of them: its range of bytes in the file,
    /// and its first error.
    pub(crate) fn read(
        &mut self,
        offset: u64,
        length: usize,
        pool: &ChunkPool,
        on_unreadable: impl FnMut(Range<u64>, io::Error),
    ) -> Result<Bytes, ReadAroundError> {
        // Pages beyond the file's end are not filled.
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

    /// Whether the device answers a read of the file's first or last page. A device that answers
    /// neither has hardly lost a single sector.
    pub(crate) fn answers_at_its_ends(&self) -> io::Result<bool> {
        // Single pages, not from the cache: a cached page proves nothing, and a page that is read
        // together with its neighbours may fail because of them.
        advise_single_pages(&self.file);
        let last = self.file.metadata()?.len().saturating_sub(1) / PAGE as u64 * PAGE as u64;
        Ok([0, last].into_iter().any(|at| read_once(&self.file, &mut [0; PAGE], at).is_ok()))
    }

    /// The page cache reads and keeps many pages as one folio, and one unreadable page makes the
    /// whole folio unreadable. From here on, the cache drops the file's pages and reads page by
    /// page.
    fn take_single_pages(&mut self) {
        if !std::mem::replace(&mut self.is_paged, true) {
            advise_single_pages(&self.file);
        }
    }
}

fn advise_single_pages(file: &File) {
    for advice in [Advice::Random, Advice::DontNeed] {
        // Without the advice, more pages count as damaged than need be, and recovery finds that.
        let _ = fadvise(file, 0, None, advice);
    }
}

/// Probes pages that could not be read. Through the page cache, each failure of the device, or of
/// the path to it, looks like that of a sector (EIO); a direct read distinguishes them.
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

    /// Whether the page can be read now. An error concerns the device, not the page.
    pub(crate) fn is_readable_at(&self, at: u64) -> io::Result<bool> {
        if self.is_cacheable_at(at)? {
            return Ok(true);
        }
        let Some(direct) = &self.direct else { return Ok(false) };
        let read = |at: u64| read_at(direct, at - at % self.block_size as u64, self.block_size, &self.pool);
        match read(at) {
            // A device that fails like this at this place alone has lost the place.
            Err(error) if Fault::of(&error) == Fault::Device => {
                let last = direct.metadata()?.len().saturating_sub(1);
                if [0, last].into_iter().any(|end| read(end).is_ok()) { Ok(false) } else { Err(error) }
            }
            Err(error) if Fault::of(&error) == Fault::Process => Err(error),
            Err(_) => Ok(false),
            // The cache's folio may contain a bad page beside this one. A page that cannot be read
            // through the cache, as a start reads, counts as unreadable.
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

/// The device operations that [`fill_around`] needs. Tests have an implementation of their own.
trait Device {
    /// Reads once from byte `at` on, and may fill less than `room`.
    fn read(&mut self, room: &mut [u8], at: u64) -> io::Result<usize>;
    /// Asked after each [`PAGES_IN_A_ROW_MAX`] unreadable pages in a row: whether they mean a
    /// failed device instead of damage.
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
        Ok(self.bad_run_limit == BadRunLimit::Bounded || !self.answers_at_its_ends()?)
    }
}

/// Fills `buffer` with the file's bytes from `offset` on and returns how many were filled: fewer
/// than all at the file's end.
fn fill_around(
    buffer: &mut [u8],
    offset: u64,
    device: &mut impl Device,
    mut on_unreadable: impl FnMut(Range<u64>, io::Error),
) -> Result<usize, ReadAroundError> {
    let mut filled = 0;
    // Reads go page by page below this position.
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
                    let (pages, error) = run.expect("it was set above");
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

    /// A file in which each byte is its position modulo 251. A read that touches `bad` fails as a
    /// whole, as with O_DIRECT.
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
    fn only_unreadable_pages_are_filled() {
        let check = |offset: u64, bad: Range<u64>, expected: &[Range<u64>]| {
            let mut buffer = vec![0; 50_000 - usize::try_from(offset).unwrap()];
            let mut reported = Vec::new();
            let mut device = TestDevice::new(50_000, bad);
            let on_unreadable = |range, error: io::Error| {
                assert_eq!(error.raw_os_error(), Some(EIO));
                reported.push(range);
            };
            let filled = fill_around(&mut buffer, offset, &mut device, on_unreadable).unwrap();
            assert_eq!(filled as u64, 50_000 - offset);
            assert_eq!(reported, expected, "a run of pages is reported once");
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
    fn an_error_that_is_no_damage_is_returned() {
        let mut device = TestDevice { errno: 13, ..TestDevice::new(10_000, 0..10_000) };
        let refused = fill_around(&mut [0; 10_000], 0, &mut device, |_, _| {});
        let Err(ReadAroundError::Io(error)) = refused else { panic!("{refused:?}") };
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn a_device_that_answers_no_reads_is_no_damage() {
        const BAD: u64 = 3 * PAGES_IN_A_ROW_MAX * PAGE as u64;
        let mut buffer = vec![0; 2 * usize::try_from(BAD).unwrap()];
        let mut silent = TestDevice { is_silent: true, ..TestDevice::new(buffer.len(), 8_192..BAD) };
        let refused = fill_around(&mut buffer, 0, &mut silent, |_, _| panic!("it is no damage"));
        let Err(ReadAroundError::Silent { pages, .. }) = refused else { panic!("{refused:?}") };
        assert_eq!(pages, 8_192..8_192 + PAGES_IN_A_ROW_MAX * PAGE as u64);
        assert_eq!(silent.failures, PAGES_IN_A_ROW_MAX + 1);

        let mut reported = Vec::new();
        let mut answering = TestDevice::new(buffer.len(), 8_192..BAD);
        fill_around(&mut buffer, 0, &mut answering, |range, _| reported.push(range)).unwrap();
        assert!(reported.len() == 1 && reported[0] == (8_192..BAD), "{reported:?}");
    }

    #[test]
    fn a_shortage_of_the_process_is_no_fault_of_the_disk() {
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
