//! Opens a folder's files: around the page cache (O_DIRECT) where the file system supports it, else
//! through the page cache.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{AtFlags, OFlags, StatxFlags};
use rustmq_engine_core::wal::SegmentShape;
use rustmq_engine_memory::{ChunkPool, ChunkWriter};

#[cfg(test)]
pub(crate) mod spoiled;

/// The block size of segments if the device asks for less, in bytes.
const BLOCK_SIZE: u32 = 4096;
const PROBE_FILE: &str = "probe";

/// The folder's file system: whether it supports O_DIRECT, and the block size of reads and writes,
/// in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct DirectIo {
    pub direct: bool,
    pub block_size: u32,
}

/// Whether the file system, or the process's quota, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

impl DirectIo {
    /// Probes by writing one block to a temporary file in `dir`. On a full disk, where nothing can
    /// be deleted before the start, the probe uses what it learns without writing; if it cannot
    /// create a file, it opens `existing`, a file in `dir`.
    pub(crate) fn probe(dir: &Path, existing: &Path) -> io::Result<Self> {
        let path = dir.join(PROBE_FILE);
        let probed = match File::create(&path) {
            Ok(_) => Self::probe_file(&path),
            Err(error) if is_full(&error) => {
                return Ok(Self::opened(existing).map_or(Self::BUFFERED, |(_, io)| io));
            }
            Err(error) => return Err(error),
        };
        let removed = std::fs::remove_file(&path);
        // A failed write says more than a failed removal.
        let io = probed?;
        removed?;
        Ok(io)
    }

    const BUFFERED: Self = Self { direct: false, block_size: BLOCK_SIZE };

    fn probe_file(path: &Path) -> io::Result<Self> {
        let Some((file, io)) = Self::opened(path) else { return Ok(Self::BUFFERED) };
        let length = io.block_size as usize;
        let mut chunk = ChunkWriter::new(length, &ChunkPool::default()).map_err(io::Error::other)?;
        match file.write_all_at(&chunk.open_part()[..length], 0) {
            Ok(()) => Ok(io),
            // Some network file systems accept the flag and refuse the write.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(Self::BUFFERED),
            // A full disk refuses the write, not the flag.
            Err(error) if is_full(&error) => Ok(io),
            Err(error) => Err(error),
        }
    }

    /// Opens the file around the page cache and reads its block size; `None` where the file system
    /// does not support that.
    fn opened(path: &Path) -> Option<(File, Self)> {
        let file = Self { direct: true, block_size: BLOCK_SIZE }.open(path).ok()?;
        let stat = rustix::fs::statx(&file, "", AtFlags::EMPTY_PATH, StatxFlags::DIOALIGN);
        let block_size = stat.map_or(0, |stat| stat.stx_dio_offset_align).max(BLOCK_SIZE);
        let is_usable = block_size.is_power_of_two() && block_size <= SegmentShape::BLOCK_SIZE_MAX;
        is_usable.then_some((file, Self { direct: true, block_size }))
    }

    /// Opens an existing file for reading and writing.
    pub(crate) fn open(self, path: &Path) -> io::Result<File> {
        self.open_with(path, OFlags::empty())
    }

    /// Opens an existing file for reading.
    pub(crate) fn open_to_read(self, path: &Path) -> io::Result<File> {
        let flags = if self.direct { OFlags::DIRECT } else { OFlags::empty() };
        OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path)
    }

    /// Opens an existing file as [`DirectIo::open`] does, but each write includes a sync.
    pub(crate) fn open_synced(self, path: &Path) -> io::Result<File> {
        self.open_with(path, OFlags::DSYNC)
    }

    fn open_with(self, path: &Path, flags: OFlags) -> io::Result<File> {
        let flags = if self.direct { flags | OFlags::DIRECT } else { flags };
        OpenOptions::new().read(true).write(true).custom_flags(flags.bits().cast_signed()).open(path)
    }
}

/// Reads once from byte `at` on into `room`, and may fill less than `room`. Every read of a slot's
/// file comes through here.
pub(crate) fn read_once(file: &File, room: &mut [u8], at: u64) -> io::Result<usize> {
    #[cfg(test)]
    spoiled::check(file, at, room.len())?;
    file.read_at(room, at)
}

/// Overwrites the bytes from `at` on with `bytes`, for a repair. Does not sync.
pub(crate) fn write_over(file: &File, bytes: &[u8], at: u64) -> io::Result<()> {
    #[cfg(test)]
    spoiled::on_write(file, at, bytes.len());
    file.write_all_at(bytes, at)
}

/// Reads up to `length` bytes at `offset` into aligned memory; fewer at the file's end.
pub(crate) fn read_at(file: &File, offset: u64, length: usize, pool: &ChunkPool) -> io::Result<bytes::Bytes> {
    let mut chunk = ChunkWriter::new(length, pool).map_err(io::Error::other)?;
    let mut filled = 0;
    while filled < length {
        let room = &mut chunk.open_part()[filled..length];
        match read_once(file, room, offset + filled as u64) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(chunk.freeze(filled))
}
