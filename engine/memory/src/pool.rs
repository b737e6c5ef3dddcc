//! The pool of chunks: memory that is mapped once and used many times, within a budget.
//!
//! ```text
//! system --take--> live (written, read) --last owner drops it--> spare --take--> live ...
//! spare --beyond the ceiling, or unused--> system
//! ```
//! The pool keeps memory in *pieces* of one length, and a chunk is a row of pieces. So a spare of
//! any length can serve a chunk of any other: longer spares are split, shorter ones joined. The
//! pool does not decide which chunks are dropped when the budget is used up; their owners do.

use std::sync::Arc;

use parking_lot::Mutex;
use rustmq_engine_core::shard::NoMemory;

use crate::mapping::{ALIGNMENT, Mapping};

/// The number of trims without a chunk taken after which the pool keeps no spares: see
/// [`ChunkPool::trim`].
const IDLE_ROUNDS: u32 = 4;
const DEFAULT_PIECE: usize = 64 << 10;
const _: () = assert!(DEFAULT_PIECE.is_multiple_of(ALIGNMENT));

/// Hands out memory for chunks and takes it back. Cheap to clone; every clone is the same pool.
#[derive(Clone, Debug)]
pub struct ChunkPool(Arc<Pool>);

/// A pool's memory, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkUsage {
    /// The most that chunks may take. The writers of chunks drop old ones to stay within it.
    pub budget: u64,
    /// The total size of the chunks that have owners, evicted chunks that readers still hold
    /// included.
    pub live: u64,
    /// Kept for the next chunks.
    pub spare: u64,
    /// Mapped since the start. The kernel cleared each of these pages when it was first touched.
    pub mapped: u64,
}

impl ChunkUsage {
    /// Whether `bytes` more would exceed the budget.
    #[must_use]
    pub const fn is_exceeded_by(&self, bytes: u64) -> bool {
        self.live + bytes > self.budget
    }
}

#[derive(Debug)]
struct Pool {
    piece: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    budget: u64,
    /// The total size of the chunks that have owners.
    live: u64,
    /// The largest `live` since the last trim, and in the interval before it.
    peak: u64,
    earlier_peak: u64,
    /// In no order.
    spares: Vec<Mapping>,
    spare_bytes: u64,
    /// Mapped since the start, in bytes.
    mapped_bytes: u64,
    is_used: bool,
    idle_rounds: u32,
}

impl State {
    /// The most memory that the pool may hold. It exceeds the budget only if chunks lately took
    /// that much: a shard cannot drop bytes that are still being written.
    fn ceiling(&self) -> u64 {
        self.budget.max(self.peak).max(self.earlier_peak)
    }

    /// Takes spares of `length` bytes in total, or all of them if that is less.
    fn take_spares(&mut self, length: usize) -> Vec<Mapping> {
        if let Some(at) = self.spares.iter().position(|spare| spare.length() == length) {
            self.spare_bytes -= length as u64;
            return vec![self.spares.swap_remove(at)];
        }
        let (mut found, mut missing) = (Vec::new(), length);
        while missing > 0
            && let Some(spare) = self.spares.pop()
        {
            let (part, left) = spare.split(missing);
            self.spares.extend(left);
            missing -= part.length();
            found.push(part);
        }
        self.spare_bytes -= (length - missing) as u64;
        found
    }

    /// Removes spares beyond `spares_max` bytes, in whole pieces. The caller drops them after
    /// releasing the lock.
    fn surplus(&mut self, spares_max: u64, piece: usize) -> Vec<Mapping> {
        let mut surplus = Vec::new();
        while self.spare_bytes > spares_max
            && let Some(spare) = self.spares.pop()
        {
            let excess = usize::try_from(self.spare_bytes - spares_max).unwrap_or(usize::MAX / 2);
            let (gone, left) = spare.split(excess.next_multiple_of(piece));
            self.spares.extend(left);
            self.spare_bytes -= gone.length() as u64;
            surplus.push(gone);
        }
        surplus
    }
}

impl Default for ChunkPool {
    /// A pool without a budget: it keeps no more memory than was in use at once.
    fn default() -> Self {
        Self::new(DEFAULT_PIECE, 0)
    }
}

impl ChunkPool {
    /// `piece`, in bytes and rounded up to whole pages, divides every chunk's length. `budget` is
    /// in bytes.
    #[must_use]
    pub fn new(piece: usize, budget: u64) -> Self {
        let piece = piece.max(1).next_multiple_of(ALIGNMENT);
        Self(Arc::new(Pool { piece, state: Mutex::new(State { budget, ..State::default() }) }))
    }

    /// Sets the budget. A smaller budget returns spare memory to the system at once; the chunks'
    /// owners decide when chunks are dropped.
    pub fn set_budget(&self, bytes: u64) {
        let mut state = self.0.state.lock();
        if bytes < state.budget {
            (state.peak, state.earlier_peak) = (0, 0);
        }
        state.budget = bytes;
        let spares_max = bytes.saturating_sub(state.live);
        let surplus = state.surplus(spares_max, self.0.piece);
        drop(state);
        drop(surplus);
    }

    #[must_use]
    pub fn usage(&self) -> ChunkUsage {
        let State { budget, live, spare_bytes, mapped_bytes, .. } = *self.0.state.lock();
        ChunkUsage { budget, live, spare: spare_bytes, mapped: mapped_bytes }
    }

    /// The length of a chunk with room for `length` bytes.
    #[must_use]
    pub fn chunk_length(&self, length: usize) -> usize {
        length.max(1).next_multiple_of(self.0.piece)
    }

    /// Returns memory to the system that was not needed lately. The caller calls it at even
    /// intervals, because the pool has no clock. Drops the spares beyond the peak of the last two
    /// intervals, and all spares after a few intervals without a chunk taken.
    pub fn trim(&self) {
        let mut state = self.0.state.lock();
        state.idle_rounds = if state.is_used { 0 } else { state.idle_rounds.saturating_add(1) };
        state.is_used = false;
        let ceiling = if state.idle_rounds < IDLE_ROUNDS { state.ceiling() } else { 0 };
        let spares_max = ceiling.saturating_sub(state.live);
        let surplus = state.surplus(spares_max, self.0.piece);
        (state.earlier_peak, state.peak) = (state.peak, state.live);
        drop(state);
        drop(surplus);
    }

    pub(crate) fn take_mapping(&self, length: usize) -> Result<Mapping, NoMemory> {
        let length = self.chunk_length(length);
        let mut state = self.0.state.lock();
        let mut spares = state.take_spares(length);
        let fresh = length - spares.iter().map(Mapping::length).sum::<usize>();
        state.is_used = true;
        state.live += length as u64;
        state.peak = state.peak.max(state.live);
        state.mapped_bytes += fresh as u64;
        drop(state);
        let mapping = match spares.pop() {
            None => Mapping::new(length),
            Some(spare) if spare.length() == length => Ok(spare),
            Some(spare) => {
                spares.push(spare);
                Mapping::joined(spares, length, self.0.piece)
            }
        };
        mapping.inspect_err(|_| self.0.state.lock().live -= length as u64)
    }

    pub(crate) fn give_back(&self, mapping: Mapping) {
        let length = mapping.length() as u64;
        let mut state = self.0.state.lock();
        assert!(state.live >= length, "a chunk is given back once");
        state.live -= length;
        let is_surplus = state.live + state.spare_bytes + length > state.ceiling();
        if is_surplus {
            drop(state);
            drop(mapping);
        } else {
            state.spare_bytes += length;
            state.spares.push(mapping);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::{ALIGNMENT, ChunkPool, IDLE_ROUNDS};
    use crate::chunk::ChunkWriter;

    const PIECE: usize = 2 * ALIGNMENT;

    fn chunk(pool: &ChunkPool, pieces: usize) -> ChunkWriter {
        ChunkWriter::new(pieces * PIECE, pool).unwrap()
    }

    /// The number of pieces that are live, spare, and mapped since the start.
    fn pieces(pool: &ChunkPool) -> (u64, u64, u64) {
        let usage = pool.usage();
        let pieces = |bytes| bytes / PIECE as u64;
        (pieces(usage.live), pieces(usage.spare), pieces(usage.mapped))
    }

    #[test]
    fn memory_within_the_budget_is_mapped_once_whatever_lengths_are_asked_for() {
        let pool = ChunkPool::new(PIECE, 8 * PIECE as u64);
        drop([chunk(&pool, 1), chunk(&pool, 2), chunk(&pool, 1), chunk(&pool, 4)]);
        assert_eq!(pieces(&pool), (0, 8, 8));
        for lengths in [[8, 0, 0], [3, 5, 0], [1, 1, 6], [7, 1, 0], [2, 2, 4], [8, 0, 0]] {
            let taken: Vec<_> = lengths.into_iter().filter(|length| *length > 0).map(|of| chunk(&pool, of)).collect();
            assert_eq!(pieces(&pool), (8, 0, 8), "{lengths:?}");
            drop(taken);
            assert_eq!(pieces(&pool), (0, 8, 8), "{lengths:?}");
        }
        assert_eq!(chunk(&pool, 1).length(), PIECE);
        assert_eq!(ChunkWriter::new(PIECE + 1, &pool).unwrap().length(), 2 * PIECE);
    }

    #[test]
    fn a_longer_chunk_than_all_spares_takes_them_and_only_the_rest_from_the_system() {
        let pool = ChunkPool::new(PIECE, 8 * PIECE as u64);
        drop([chunk(&pool, 1), chunk(&pool, 2)]);
        let mut long = chunk(&pool, 5);
        assert_eq!(pieces(&pool), (5, 0, 5));
        long.open_part().fill(7);
        assert!(long.freeze(5 * PIECE).iter().all(|byte| *byte == 7));
    }

    #[test]
    fn memory_beyond_the_budget_is_kept_only_while_it_is_needed() {
        let pool = ChunkPool::new(PIECE, 2 * PIECE as u64);
        let flood = || drop([chunk(&pool, 4), chunk(&pool, 2)]);
        flood();
        for _ in 0..10 {
            pool.trim();
            flood();
        }
        assert_eq!(pieces(&pool), (0, 6, 6));
        for _ in 0..3 {
            drop(chunk(&pool, 1));
            pool.trim();
        }
        assert_eq!(pieces(&pool), (0, 2, 6), "the budget again");
        for _ in 0..IDLE_ROUNDS {
            pool.trim();
        }
        assert_eq!(pieces(&pool), (0, 0, 6), "nobody writes");
    }

    #[test]
    fn a_smaller_budget_gives_back_spares_at_once_and_chunks_as_they_are_let_go() {
        let pool = ChunkPool::new(PIECE, 8 * PIECE as u64);
        let held = [chunk(&pool, 2), chunk(&pool, 2)];
        drop([chunk(&pool, 2), chunk(&pool, 2)]);
        assert_eq!(pieces(&pool), (4, 4, 8));
        pool.set_budget(3 * PIECE as u64);
        assert_eq!(pieces(&pool), (4, 0, 8));
        drop(held);
        assert_eq!(pieces(&pool), (0, 2, 8));
    }
}
