//! The one buffer with `unsafe` in it: an aligned, reference-counted block that is at the same time what is written to the disk
//! and what consumers read.
//!
//! ```text
//! | frozen: read by anyone, never written again | open: the writer's alone |
//! 0                                          frozen                    length
//! ```
//! One [`ChunkWriter`] fills a chunk from front to back and freezes what is finished; a frozen part is handed out as [`Bytes`],
//! which keep the whole chunk alive. Says nothing about groups or frames.

#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Chunks start on this; O_DIRECT asks for no more of memory.
pub const ALIGNMENT: usize = 4096;

/// Counts the bytes of all living chunks made with it: evicted but still pinned ones too.
#[derive(Clone, Debug, Default)]
pub struct ChunkGauge(Arc<AtomicU64>);

impl ChunkGauge {
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The memory could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a chunk of {length} bytes: {errno}")]
pub struct ChunkError {
    pub length: usize,
    pub errno: rustix::io::Errno,
}

/// A private anonymous mapping: zeros, page-aligned, and taken from the system only as it is touched.
#[derive(Debug)]
struct ChunkMemory {
    start: NonNull<u8>,
    length: usize,
    gauge: ChunkGauge,
}

// SAFETY: the mapping belongs to no thread. Which bytes may be written is governed by `ChunkWriter`: it is unique, writes only from
// its frozen mark on, and slices are made only below that mark.
unsafe impl Send for ChunkMemory {}
// SAFETY: as above: shared access only ever reads frozen bytes, which nobody writes any more.
unsafe impl Sync for ChunkMemory {}

impl Drop for ChunkMemory {
    fn drop(&mut self) {
        self.gauge.0.fetch_sub(self.length as u64, Ordering::Relaxed);
        // SAFETY: `start` and `length` are of the one mapping made in `ChunkWriter::new`; this is its last owner.
        // A failure leaves the memory mapped, which harms nobody.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// The unique right to fill a chunk.
#[derive(Debug)]
pub struct ChunkWriter {
    memory: Arc<ChunkMemory>,
    frozen: usize,
}

impl ChunkWriter {
    /// A zeroed chunk of at least `length` bytes, rounded up to [`ALIGNMENT`].
    pub fn new(length: usize, gauge: &ChunkGauge) -> Result<Self, ChunkError> {
        let length = length.max(1).next_multiple_of(ALIGNMENT);
        // SAFETY: a new anonymous private mapping at an address that the kernel chooses touches no existing memory.
        let mapped = unsafe {
            mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        let start = mapped.map_err(|errno| ChunkError { length, errno })?;
        let start = NonNull::new(start.cast::<u8>()).expect("the kernel maps nothing at address zero unless told to");
        gauge.0.fetch_add(length as u64, Ordering::Relaxed);
        Ok(Self { memory: Arc::new(ChunkMemory { start, length, gauge: gauge.clone() }), frozen: 0 })
    }

    /// Bytes of the whole chunk.
    #[must_use]
    pub fn length(&self) -> usize {
        self.memory.length
    }

    /// Bytes that are still open.
    #[must_use]
    pub fn room(&self) -> usize {
        self.memory.length - self.frozen
    }

    /// The open part: zeros where nothing was written.
    pub fn open_part(&mut self) -> &mut [u8] {
        // SAFETY: `frozen <= length`, so the range lies in the mapping, which is initialised (zeros) and lives as long as `self`.
        // No slice reaches beyond `frozen`, and `&mut self` makes this the only reference to the open part.
        unsafe { std::slice::from_raw_parts_mut(self.memory.start.as_ptr().add(self.frozen), self.room()) }
    }

    /// Freezes the first `length` open bytes and hands them out.
    pub fn freeze(&mut self, length: usize) -> Bytes {
        assert!(length <= self.room(), "only what is open can be frozen");
        let slice = ChunkSlice { memory: Arc::clone(&self.memory), start: self.frozen, length };
        self.frozen += length;
        Bytes::from_owner(slice)
    }
}

/// A frozen part of a chunk.
struct ChunkSlice {
    memory: Arc<ChunkMemory>,
    start: usize,
    length: usize,
}

impl AsRef<[u8]> for ChunkSlice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: made by `freeze`, below the writer's frozen mark: inside the mapping, initialised, never written again, and alive
        // as long as `self.memory`.
        unsafe { std::slice::from_raw_parts(self.memory.start.as_ptr().add(self.start), self.length) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{ALIGNMENT, ChunkGauge, ChunkWriter};

    #[test]
    fn frozen_parts_stay_as_they_were_while_the_rest_is_written() {
        let gauge = ChunkGauge::default();
        let mut writer = ChunkWriter::new(2 * ALIGNMENT, &gauge).unwrap();
        writer.open_part()[..5].copy_from_slice(b"first");
        let first = writer.freeze(ALIGNMENT);
        writer.open_part()[..6].copy_from_slice(b"second");
        let second = writer.freeze(6);
        assert_eq!(&first[..6], b"first\0");
        assert_eq!(&second[..], b"second");
        assert_eq!(first.as_ptr().align_offset(ALIGNMENT), 0);
        assert_eq!(writer.room(), ALIGNMENT - 6);
    }

    #[test]
    fn a_slice_keeps_its_chunk_alive_and_counted() {
        let gauge = ChunkGauge::default();
        let mut writer = ChunkWriter::new(1, &gauge).unwrap();
        assert_eq!(gauge.bytes(), ALIGNMENT as u64);
        writer.open_part()[0] = 7;
        let slice = writer.freeze(1);
        drop(writer);
        let reader = std::thread::spawn(move || slice[0]);
        assert_eq!(reader.join().unwrap(), 7);
        assert_eq!(gauge.bytes(), 0);
    }

    #[test]
    #[should_panic(expected = "only what is open")]
    fn more_than_is_open_cannot_be_frozen() {
        let mut writer = ChunkWriter::new(1, &ChunkGauge::default()).unwrap();
        let _ = writer.freeze(ALIGNMENT + 1);
    }
}
