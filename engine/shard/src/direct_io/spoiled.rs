//! Injected faults: places of files that a test has made unreadable, as a device that loses sectors
//! does. Compiled only into this crate's own tests.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use parking_lot::Mutex;
use rustix::fs::{OFlags, fcntl_getfl};

const EIO: i32 = 5;

static FILES: Mutex<BTreeMap<FileId, FileFaults>> = Mutex::new(BTreeMap::new());

/// Device and inode.
type FileId = (u64, u64);

#[derive(Debug, Default)]
struct FileFaults {
    unreadable: Vec<Unreadable>,
    failures: usize,
    /// The number of syncs that still succeed, and the error of later ones.
    syncs: Option<(usize, i32)>,
}

#[derive(Debug)]
struct Unreadable {
    range: Range<u64>,
    errno: i32,
    /// The error of reads through the page cache.
    cached: i32,
    /// The number of reads that still fail; `None` for all reads.
    left: Option<usize>,
}

/// A file with failing reads or syncs. The faults end when this is dropped.
#[derive(Debug)]
pub(crate) struct SpoiledFile(FileId);

impl SpoiledFile {
    pub(crate) fn new(path: &Path) -> Self {
        let id = id(&File::open(path).unwrap());
        let known = FILES.lock().insert(id, FileFaults::default());
        assert!(known.is_none(), "one at a time for a file");
        Self(id)
    }

    /// Makes reads that touch `range` fail with `errno`.
    pub(crate) fn spoil(&self, range: Range<u64>, errno: i32) {
        self.change(|faults| faults.unreadable.push(Unreadable { range, errno, cached: errno, left: None }));
    }

    /// Makes the next `reads` reads that touch `range` fail with `errno`.
    pub(crate) fn spoil_for(&self, range: Range<u64>, errno: i32, reads: usize) {
        self.change(|faults| faults.unreadable.push(Unreadable { range, errno, cached: errno, left: Some(reads) }));
    }

    /// Makes reads around the page cache fail with `errno`, and reads through it with EIO, as on
    /// Linux.
    pub(crate) fn spoil_for_direct_reads(&self, range: Range<u64>, errno: i32) {
        self.change(|faults| faults.unreadable.push(Unreadable { range, errno, cached: EIO, left: None }));
    }

    /// Lets the next `successes` syncs succeed, and fails all later ones.
    pub(crate) fn fail_syncs_after(&self, successes: usize, errno: i32) {
        self.change(|faults| faults.syncs = Some((successes, errno)));
    }

    pub(crate) fn mend(&self) {
        self.change(|faults| faults.unreadable.clear());
    }

    /// The number of reads and syncs that have failed so far.
    pub(crate) fn failures(&self) -> usize {
        self.change(|faults| faults.failures)
    }

    fn change<T>(&self, change: impl FnOnce(&mut FileFaults) -> T) -> T {
        change(FILES.lock().get_mut(&self.0).unwrap())
    }
}

impl Drop for SpoiledFile {
    fn drop(&mut self) {
        FILES.lock().remove(&self.0);
    }
}

fn id(file: &File) -> FileId {
    let metadata = file.metadata().unwrap();
    (metadata.dev(), metadata.ino())
}

/// Fails if the test has made this read fail.
pub(super) fn check(file: &File, at: u64, length: usize) -> io::Result<()> {
    let mut files = FILES.lock();
    if files.is_empty() {
        return Ok(());
    }
    let Some(faults) = files.get_mut(&id(file)) else { return Ok(()) };
    let touches = |range: &Range<u64>| range.start < at + length as u64 && at < range.end;
    let is_met = |place: &&mut Unreadable| touches(&place.range) && place.left != Some(0);
    let Some(place) = faults.unreadable.iter_mut().find(is_met) else { return Ok(()) };
    place.left = place.left.map(|left| left - 1);
    faults.failures += 1;
    let is_direct = fcntl_getfl(file).unwrap().contains(OFlags::DIRECT);
    Err(io::Error::from_raw_os_error(if is_direct { place.errno } else { place.cached }))
}

/// Fails if the test has made syncs of the file fail.
pub(crate) fn check_sync(file: &File) -> io::Result<()> {
    let mut files = FILES.lock();
    if files.is_empty() {
        return Ok(());
    }
    let Some(faults) = files.get_mut(&id(file)) else { return Ok(()) };
    match &mut faults.syncs {
        None => Ok(()),
        Some((0, errno)) => {
            faults.failures += 1;
            Err(io::Error::from_raw_os_error(*errno))
        }
        Some((successes, _)) => {
            *successes -= 1;
            Ok(())
        }
    }
}

/// A written range becomes readable again, as on a device with spare sectors.
pub(super) fn on_write(file: &File, at: u64, length: usize) {
    let mut files = FILES.lock();
    if files.is_empty() {
        return;
    }
    let Some(faults) = files.get_mut(&id(file)) else { return };
    let end = at + length as u64;
    let parts = |Unreadable { range, errno, cached, left }: Unreadable| {
        let parts = [range.start..range.end.min(at), range.start.max(end)..range.end];
        parts.map(|range| Unreadable { range, errno, cached, left }).into_iter().filter(|part| !part.range.is_empty())
    };
    faults.unreadable = std::mem::take(&mut faults.unreadable).into_iter().flat_map(parts).collect();
}
