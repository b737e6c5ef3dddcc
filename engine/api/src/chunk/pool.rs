//! Where chunks come from and go back to: memory that is mapped once and used again and again, within a budget.
//!
//! ```text
//! system --take--> living (written, read) --last owner lets go--> spare --take--> living ...
//!                                                                   \--beyond the ceiling, or unused--> system
//! ```
//! The memory is kept in *pieces* of one length; a chunk is a number of them in a row. So that a spare of any length serves for a chunk of
//! any other: longer ones are cut, shorter ones are joined. Who gives up chunks when the budget is used up is not decided here.

use std::sync::Arc;

use parking_lot::Mutex;

use super::mapping::Mapping;
use super::{ALIGNMENT, NoMemory};

/// Rounds without a chunk taken after which no spare is kept: see [`ChunkPool::trim`].
const QUIET_ROUNDS: u32 = 4;
const DEFAULT_PIECE: usize = 64 << 10;

/// Cheap to clone; every clone is the same pool.
#[derive(Clone, Debug)]
pub struct ChunkPool(Arc<Pool>);

/// Bytes of a pool's chunks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ChunkUsage {
    /// What chunks may take: who fills them gives up old ones to stay within.
    pub budget: u64,
    /// Of all chunks that somebody holds: evicted but still pinned ones too.
    pub living: u64,
    /// Kept for the next chunks.
    pub spare: u64,
    /// What came from the system since the start: the system cleared each of these pages when it was first touched.
    pub mapped: u64,
}

impl ChunkUsage {
    /// Whether `bytes` more would be beyond the budget.
    #[must_use]
    pub const fn is_exceeded_by(&self, bytes: u64) -> bool {
        self.living + bytes > self.budget
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
    /// Bytes of the chunks that somebody holds.
    living: u64,
    /// The most that lived since the last trim, and between the two before it.
    peak: u64,
    earlier_peak: u64,
    /// In no order.
    spares: Vec<Mapping>,
    spare_bytes: u64,
    /// Bytes that came from the system, since the start.
    mapped_bytes: u64,
    is_used: bool,
    quiet_rounds: u32,
}

impl State {
    /// What may be mapped in all. More than the budget only if that much was needed lately: what is being written cannot be given up.
    fn ceiling(&self) -> u64 {
        self.budget.max(self.peak).max(self.earlier_peak)
    }

    /// Spares of `length` bytes together, or of fewer if there are no more.
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

    /// Spares beyond `kept` bytes in whole pieces, to be dropped once the lock is free.
    fn surplus(&mut self, kept: u64, piece: usize) -> Vec<Mapping> {
        let mut surplus = Vec::new();
        while self.spare_bytes > kept
            && let Some(spare) = self.spares.pop()
        {
            let excess = usize::try_from(self.spare_bytes - kept).unwrap_or(usize::MAX / 2);
            let (gone, left) = spare.split(excess.next_multiple_of(piece));
            self.spares.extend(left);
            self.spare_bytes -= gone.length() as u64;
            surplus.push(gone);
        }
        surplus
    }
}

impl Default for ChunkPool {
    /// Without a budget: keeps no more than what was in use at once.
    fn default() -> Self {
        Self::new(DEFAULT_PIECE, 0)
    }
}

impl ChunkPool {
    /// `piece`, rounded up to whole pages, is what lengths of chunks are multiples of. `budget` is in bytes.
    #[must_use]
    pub fn new(piece: usize, budget: u64) -> Self {
        let piece = piece.max(1).next_multiple_of(ALIGNMENT);
        Self(Arc::new(Pool { piece, state: Mutex::new(State { budget, ..State::default() }) }))
    }

    /// A smaller budget gives back spare memory at once; the chunks themselves are their owner's to give up.
    pub fn set_budget(&self, bytes: u64) {
        let mut state = self.0.state.lock();
        if bytes < state.budget {
            (state.peak, state.earlier_peak) = (0, 0);
        }
        state.budget = bytes;
        let kept = bytes.saturating_sub(state.living);
        let surplus = state.surplus(kept, self.0.piece);
        drop(state);
        drop(surplus);
    }

    #[must_use]
    pub fn usage(&self) -> ChunkUsage {
        let State { budget, living, spare_bytes, mapped_bytes, .. } = *self.0.state.lock();
        ChunkUsage { budget, living, spare: spare_bytes, mapped: mapped_bytes }
    }

    /// The length of a chunk that has room for `length` bytes.
    #[must_use]
    pub fn chunk_length(&self, length: usize) -> usize {
        length.max(1).next_multiple_of(self.0.piece)
    }

    /// Gives back what was not needed lately. To be called at even intervals (the pool has no clock): spares beyond the most that was used
    /// in the last two of them go, and all of them after a few without a chunk taken.
    pub fn trim(&self) {
        let mut state = self.0.state.lock();
        state.quiet_rounds = if state.is_used { 0 } else { state.quiet_rounds.saturating_add(1) };
        state.is_used = false;
        let ceiling = if state.quiet_rounds < QUIET_ROUNDS { state.ceiling() } else { 0 };
        let kept = ceiling.saturating_sub(state.living);
        let surplus = state.surplus(kept, self.0.piece);
        (state.earlier_peak, state.peak) = (state.peak, state.living);
        drop(state);
        drop(surplus);
    }

    pub(super) fn take_mapping(&self, length: usize) -> Result<Mapping, NoMemory> {
        let length = self.chunk_length(length);
        let mut state = self.0.state.lock();
        let mut spares = state.take_spares(length);
        let fresh = length - spares.iter().map(Mapping::length).sum::<usize>();
        state.is_used = true;
        state.living += length as u64;
        state.peak = state.peak.max(state.living);
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
        mapping.inspect_err(|_| self.0.state.lock().living -= length as u64)
    }

    pub(super) fn give_back(&self, mapping: Mapping) {
        let length = mapping.length() as u64;
        let mut state = self.0.state.lock();
        state.living -= length;
        let is_surplus = state.living + state.spare_bytes + length > state.ceiling();
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

    use super::{ALIGNMENT, ChunkPool, QUIET_ROUNDS};
    use crate::chunk::ChunkWriter;

    const PIECE: usize = 2 * ALIGNMENT;

    fn chunk(pool: &ChunkPool, pieces: usize) -> ChunkWriter {
        ChunkWriter::new(pieces * PIECE, pool).unwrap()
    }

    /// Pieces that are held, spare, and mapped since the start.
    fn pieces(pool: &ChunkPool) -> (u64, u64, u64) {
        let usage = pool.usage();
        let pieces = |bytes| bytes / PIECE as u64;
        (pieces(usage.living), pieces(usage.spare), pieces(usage.mapped))
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
    fn what_was_needed_beyond_the_budget_is_kept_only_while_it_is_needed() {
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
        for _ in 0..QUIET_ROUNDS {
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
