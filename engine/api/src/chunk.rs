//! The one buffer with `unsafe` in it: an aligned, reference-counted block that is at the same time what is written to the disk
//! and what consumers read.
//!
//! ```text
//! | frozen: read by anyone, never written again | open: the writer's alone |
//! 0                                          frozen                    length
//! ```
//! A chunk that nobody holds any more is filled anew: the system would have to clear each page of a new one first, which costs
//! more than what is copied into it. One [`ChunkWriter`] fills a chunk from front to back and freezes what is finished; a frozen part is handed out as [`Bytes`],
//! which keep the whole chunk alive. Says nothing about groups or frames.

#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

/// Chunks start on this; O_DIRECT asks for no more of memory.
pub const ALIGNMENT: usize = 4096;

/// Chunks that are kept for the next writer, beyond those that live.
const SPARES_MAX: usize = 2;

/// Where chunks come from and go back to. Counts the bytes of all living ones: evicted but still pinned ones too, spare ones not.
#[derive(Clone, Debug, Default)]
pub struct ChunkPool(Arc<Pool>);

#[derive(Debug, Default)]
struct Pool {
    living_bytes: AtomicU64,
    spares: Mutex<Vec<Mapping>>,
}

impl ChunkPool {
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.0.living_bytes.load(Ordering::Relaxed)
    }

    fn take(&self, length: usize) -> Result<Mapping, ChunkError> {
        let mut spares = self.0.spares.lock();
        let spare = spares.iter().position(|spare| spare.length == length).map(|at| spares.swap_remove(at));
        drop(spares);
        let mapping = match spare {
            Some(mapping) => mapping,
            None => Mapping::new(length)?,
        };
        self.0.living_bytes.fetch_add(length as u64, Ordering::Relaxed);
        Ok(mapping)
    }

    fn give_back(&self, mapping: Mapping) {
        self.0.living_bytes.fetch_sub(mapping.length as u64, Ordering::Relaxed);
        let mut spares = self.0.spares.lock();
        // One of another length makes way: chunks of the usual length come again soonest.
        let displaced = (spares.len() >= SPARES_MAX).then(|| spares.remove(0));
        spares.push(mapping);
        drop(spares);
        drop(displaced);
    }
}

/// The memory could not be mapped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no memory for a chunk of {length} bytes: {errno}")]
pub struct ChunkError {
    pub length: usize,
    pub errno: rustix::io::Errno,
}

/// A private anonymous mapping: page-aligned, and taken from the system only as it is touched.
#[derive(Debug)]
struct Mapping {
    start: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping belongs to no thread. Which bytes may be written is governed by `ChunkWriter`: it is unique, writes only from
// its frozen mark on, and slices are made only below that mark.
unsafe impl Send for Mapping {}
// SAFETY: as above: shared access only ever reads frozen bytes, which nobody writes any more.
unsafe impl Sync for Mapping {}

impl Mapping {
    fn new(length: usize) -> Result<Self, ChunkError> {
        // SAFETY: a new anonymous private mapping at an address that the kernel chooses touches no existing memory.
        let mapped = unsafe {
            mmap_anonymous(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE)
        };
        let start = mapped.map_err(|errno| ChunkError { length, errno })?;
        let start = NonNull::new(start.cast::<u8>()).expect("the kernel maps nothing at address zero unless told to");
        Ok(Self { start, length })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: `start` and `length` are of the one mapping made in `Mapping::new`; this is its last owner.
        // A failure leaves the memory mapped, which harms nobody.
        let _ = unsafe { munmap(self.start.as_ptr().cast(), self.length) };
    }
}

/// A living chunk. It goes back to the pool with its last owner: from then on nobody can read it.
#[derive(Debug)]
struct ChunkMemory {
    /// `None` only while it is dropped.
    mapping: Option<Mapping>,
    pool: ChunkPool,
}

impl ChunkMemory {
    fn mapping(&self) -> &Mapping {
        self.mapping.as_ref().expect("it is taken away only by the drop")
    }
}

impl Drop for ChunkMemory {
    fn drop(&mut self) {
        if let Some(mapping) = self.mapping.take() {
            self.pool.give_back(mapping);
        }
    }
}

/// The unique right to fill a chunk.
#[derive(Debug)]
pub struct ChunkWriter {
    memory: Arc<ChunkMemory>,
    frozen: usize,
}

impl ChunkWriter {
    /// A chunk of at least `length` bytes, rounded up to [`ALIGNMENT`].
    pub fn new(length: usize, pool: &ChunkPool) -> Result<Self, ChunkError> {
        let mapping = pool.take(length.max(1).next_multiple_of(ALIGNMENT))?;
        Ok(Self { memory: Arc::new(ChunkMemory { mapping: Some(mapping), pool: pool.clone() }), frozen: 0 })
    }

    /// Bytes of the whole chunk.
    #[must_use]
    pub fn length(&self) -> usize {
        self.memory.mapping().length
    }

    /// Bytes that are still open.
    #[must_use]
    pub fn room(&self) -> usize {
        self.length() - self.frozen
    }

    /// The open part: whatever an earlier use left in it.
    pub fn open_part(&mut self) -> &mut [u8] {
        // SAFETY: `frozen <= length`, so the range lies in the mapping, which is initialised (zeros, or what was written before) and lives
        // as long as `self`. No slice reaches beyond `frozen`, and `&mut self` makes this the only reference to the open part.
        unsafe { std::slice::from_raw_parts_mut(self.memory.mapping().start.as_ptr().add(self.frozen), self.room()) }
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
        unsafe { std::slice::from_raw_parts(self.memory.mapping().start.as_ptr().add(self.start), self.length) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{ALIGNMENT, ChunkPool, ChunkWriter};

    #[test]
    fn frozen_parts_stay_as_they_were_while_the_rest_is_written() {
        let pool = ChunkPool::default();
        let mut writer = ChunkWriter::new(2 * ALIGNMENT, &pool).unwrap();
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
        let pool = ChunkPool::default();
        let mut writer = ChunkWriter::new(1, &pool).unwrap();
        assert_eq!(pool.bytes(), ALIGNMENT as u64);
        writer.open_part()[0] = 7;
        let slice = writer.freeze(1);
        drop(writer);
        let reader = std::thread::spawn(move || slice[0]);
        assert_eq!(reader.join().unwrap(), 7);
        assert_eq!(pool.bytes(), 0);
    }

    #[test]
    fn a_chunk_is_used_again_only_once_nobody_holds_it() {
        let pool = ChunkPool::default();
        let chunk = |byte| {
            let mut writer = ChunkWriter::new(ALIGNMENT, &pool).unwrap();
            writer.open_part()[0] = byte;
            writer.freeze(1)
        };
        let (held, given_up) = (chunk(1), chunk(2));
        let place = given_up.as_ptr();
        drop(given_up);
        let next = chunk(3);
        assert_eq!((next.as_ptr(), held[0], next[0]), (place, 1, 3));
        let more = [chunk(4), chunk(5), chunk(6)];
        assert_eq!(pool.bytes(), 5 * ALIGNMENT as u64);
        drop((held, next, more));
        assert_eq!((pool.bytes(), pool.0.spares.lock().len()), (0, super::SPARES_MAX));
    }

    #[test]
    #[should_panic(expected = "only what is open")]
    fn more_than_is_open_cannot_be_frozen() {
        let mut writer = ChunkWriter::new(1, &ChunkPool::default()).unwrap();
        let _ = writer.freeze(ALIGNMENT + 1);
    }
}
