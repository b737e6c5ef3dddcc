//! Chunks: aligned, reference-counted blocks of memory. The shard writes a chunk's bytes to disk,
//! and consumers read the same bytes.
//!
//! ```text
//! | frozen: read by anyone, never written again | open: the writer's alone |
//! 0                                          frozen                    length
//! ```
//! One [`ChunkWriter`] fills a chunk from front to back and freezes finished parts. A frozen part
//! is handed out as [`Bytes`], which keep the whole chunk alive. A chunk without owners returns to
//! its [`ChunkPool`] and is filled again: for a new mapping the kernel would first have to clear
//! each page, which costs more than copying the batches into it. Chunks know nothing about groups
//! or frames.

#![allow(unsafe_code)]

use std::sync::Arc;

use bytes::Bytes;
use rustmq_engine_core::shard::{Chunk, Memory, NoMemory};

use crate::mapping::Mapping;
use crate::pool::ChunkPool;

/// The memory of a chunk that has owners. The last owner returns it to the pool; by then nobody can
/// read it.
#[derive(Debug)]
struct ChunkMemory {
    /// `None` only during the drop.
    mapping: Option<Mapping>,
    pool: ChunkPool,
}

impl ChunkMemory {
    fn mapping(&self) -> &Mapping {
        self.mapping.as_ref().expect("only the drop takes the mapping")
    }
}

impl Drop for ChunkMemory {
    fn drop(&mut self) {
        if let Some(mapping) = self.mapping.take() {
            self.pool.give_back(mapping);
        }
    }
}

/// The exclusive right to fill a chunk.
#[derive(Debug)]
pub struct ChunkWriter {
    memory: Arc<ChunkMemory>,
    frozen: usize,
}

impl ChunkWriter {
    /// Takes a chunk of at least `length` bytes, rounded up as [`ChunkPool::chunk_length`] says.
    ///
    /// # Errors
    /// [`NoMemory`] if the system has no memory to map.
    pub fn new(length: usize, pool: &ChunkPool) -> Result<Self, NoMemory> {
        let mapping = pool.take_mapping(length)?;
        Ok(Self { memory: Arc::new(ChunkMemory { mapping: Some(mapping), pool: pool.clone() }), frozen: 0 })
    }

    /// The chunk's length, in bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        self.memory.mapping().length()
    }

    /// The number of bytes that are not frozen yet.
    #[must_use]
    pub fn room(&self) -> usize {
        self.length() - self.frozen
    }

    /// The part that is not frozen yet. It holds whatever an earlier use left in it.
    pub fn open_part(&mut self) -> &mut [u8] {
        // SAFETY: `frozen <= length`, so the range lies in the mapping, which is initialised
        // (zeros, or earlier bytes) and lives as long as `self`. No slice reaches beyond
        // `frozen`, and `&mut self` makes this the only reference to the open part.
        unsafe { std::slice::from_raw_parts_mut(self.memory.mapping().start().as_ptr().add(self.frozen), self.room()) }
    }

    /// Freezes the first `length` open bytes and returns them.
    ///
    /// # Panics
    /// If fewer than `length` bytes are open.
    pub fn freeze(&mut self, length: usize) -> Bytes {
        assert!(length <= self.room(), "only open bytes can be frozen");
        let slice = ChunkSlice { memory: Arc::clone(&self.memory), start: self.frozen, length };
        self.frozen += length;
        Bytes::from_owner(slice)
    }
}

impl Chunk for ChunkWriter {
    fn room(&self) -> usize {
        self.room()
    }

    fn open_part(&mut self) -> &mut [u8] {
        self.open_part()
    }

    fn freeze(&mut self, length: usize) -> Bytes {
        self.freeze(length)
    }
}

impl Memory for ChunkPool {
    type Chunk = ChunkWriter;

    fn take(&mut self, length: usize) -> Result<ChunkWriter, NoMemory> {
        ChunkWriter::new(length, self)
    }

    fn is_short_of(&self, length: usize) -> bool {
        let chunk = if length == 0 { 0 } else { self.chunk_length(length) };
        self.usage().is_exceeded_by(chunk as u64)
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
        // SAFETY: made by `freeze`, below the writer's frozen mark: inside the mapping,
        // initialised, never written again, and alive as long as `self.memory`.
        unsafe { std::slice::from_raw_parts(self.memory.mapping().start().as_ptr().add(self.start), self.length) }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use rustmq_engine_core::shard::{Memory, NoMemory};

    use super::{ChunkPool, ChunkWriter};
    use crate::mapping::ALIGNMENT;

    fn pool() -> ChunkPool {
        ChunkPool::new(ALIGNMENT, 4 * ALIGNMENT as u64)
    }

    #[test]
    fn frozen_parts_stay_as_they_were_while_the_rest_is_written() {
        let mut writer = ChunkWriter::new(2 * ALIGNMENT, &pool()).unwrap();
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
        let pool = pool();
        let mut writer = ChunkWriter::new(1, &pool).unwrap();
        assert_eq!(pool.usage().live, ALIGNMENT as u64);
        writer.open_part()[0] = 7;
        let slice = writer.freeze(1);
        drop(writer);
        let reader = std::thread::spawn(move || slice[0]);
        assert_eq!(reader.join().unwrap(), 7);
        assert_eq!(pool.usage().live, 0);
    }

    #[test]
    fn a_chunk_is_used_again_only_once_nobody_holds_it() {
        let pool = pool();
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
        assert_eq!(pool.usage().live, 5 * ALIGNMENT as u64);
        drop((held, next, more));
        assert_eq!(pool.usage().live, 0);
    }

    #[test]
    fn memory_is_short_of_what_is_beyond_the_budget_in_whole_pieces() {
        let mut pool = pool();
        let chunks = [pool.take(ALIGNMENT).unwrap(), pool.take(2 * ALIGNMENT).unwrap()];
        assert!(!pool.is_short_of(1) && !pool.is_short_of(ALIGNMENT));
        assert!(pool.is_short_of(ALIGNMENT + 1));
        assert!(!pool.is_short_of(0));
        let last = pool.take(ALIGNMENT).unwrap();
        assert!(!pool.is_short_of(0), "the budget is met");
        assert!(pool.is_short_of(1));
        pool.set_budget(0);
        assert!(pool.is_short_of(0));
        drop((chunks, last));
        assert!(!pool.is_short_of(0));
    }

    #[test]
    fn a_chunk_that_the_system_has_no_memory_for_says_why() {
        let error = pool().take(1 << 60).unwrap_err();
        assert_eq!(error, NoMemory { length: 1 << 60, os_error: Some(12) });
        assert_eq!(
            error.to_string(),
            "no memory for a chunk of 1152921504606846976 bytes: Cannot allocate memory (os error 12)"
        );
    }

    #[test]
    #[should_panic(expected = "only open bytes")]
    fn more_than_is_open_cannot_be_frozen() {
        let mut writer = ChunkWriter::new(1, &pool()).unwrap();
        let _ = writer.freeze(ALIGNMENT + 1);
    }
}
