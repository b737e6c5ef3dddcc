//! Limits how much of the disk a read of old records takes at a time. A disk serves requests in
//! about the order of their arrival: a commit behind some megabytes of reads waits for all of them.
//! So while commits come, reads take turns: one at a time, and each about as large as a commit.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};
use rustmq_engine_core::wal::SegmentShape;

use crate::direct_io::read_once;

/// Commits keep coming while one is in flight, or if the last ended less than this ago: then the
/// next one is likely to come during a read.
const COMMIT_GAP_MAX: Duration = Duration::from_millis(100);
/// Bounds the size of a turn, which is otherwise the mean size of a commit.
const TURN_BYTES: RangeInclusive<usize> = 64 << 10..=1 << 20;
/// The size of a read while no commits come. Larger reads would gain nothing, and would delay the
/// first commit.
const READ_BYTES: usize = 256 << 10;
/// The last commit counts for one part in this many of the mean.
const MEAN_WEIGHT: u64 = 8;
/// The longest wait for a turn. After it the rest of the read takes no turns: the disk may never
/// finish the read that holds the turn.
const TURN_WAIT_MAX: Duration = Duration::from_millis(20);

const _: () = {
    let block = SegmentShape::BLOCK_SIZE_MAX as usize;
    assert!(*TURN_BYTES.start() >= block && TURN_BYTES.start().is_power_of_two(), "a turn has whole blocks");
    assert!(READ_BYTES.is_multiple_of(block), "a read has whole blocks");
};

#[derive(Debug)]
pub(crate) struct DiskTurns {
    origin: Instant,
    in_flight: AtomicUsize,
    /// When the last commit ended: milliseconds since `origin`, plus one. 0 means that no commit
    /// has ended.
    last_end: AtomicU64,
    /// A moving mean over the last commits, in bytes. Concurrent shards may lose an update, which
    /// is harmless.
    commit_bytes: AtomicU64,
    turn: Mutex<()>,
}

impl Default for DiskTurns {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            in_flight: AtomicUsize::new(0),
            last_end: AtomicU64::new(0),
            commit_bytes: AtomicU64::new(0),
            turn: Mutex::new(()),
        }
    }
}

/// Marks a commit as in flight until it is dropped.
#[derive(Debug)]
pub(crate) struct CommitTurn(Arc<DiskTurns>);

impl Drop for CommitTurn {
    fn drop(&mut self) {
        self.0.last_end.store(self.0.milliseconds(Instant::now()) + 1, Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DiskTurns {
    /// Marks the begin of a commit that writes this many bytes.
    pub(crate) fn begin_commit(self: &Arc<Self>, bytes: usize) -> CommitTurn {
        let mean = self.commit_bytes.load(Ordering::Relaxed);
        self.commit_bytes.store(mean - mean / MEAN_WEIGHT + bytes as u64 / MEAN_WEIGHT, Ordering::Relaxed);
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        CommitTurn(Arc::clone(self))
    }

    /// Reads until `room` is full or the file ends. Takes turns while commits come.
    pub(crate) fn read_at(&self, file: &File, offset: u64, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        let mut waits_for_turns = true;
        while filled < room.len() {
            let turn = self.turn_bytes(Instant::now());
            let until = room.len().min(filled + turn.unwrap_or(READ_BYTES));
            let held = turn.filter(|_| waits_for_turns).and_then(|_| self.turn.try_lock_for(TURN_WAIT_MAX));
            waits_for_turns = held.is_some() || turn.is_none();
            let read = read_once(file, &mut room[filled..until], offset + filled as u64);
            if let Some(held) = held {
                MutexGuard::unlock_fair(held);
            }
            match read {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    /// The size of a turn; `None` while no commits come.
    fn turn_bytes(&self, now: Instant) -> Option<usize> {
        if self.in_flight.load(Ordering::Relaxed) == 0 {
            let last = self.last_end.load(Ordering::Relaxed).checked_sub(1)?;
            let age = self.milliseconds(now).saturating_sub(last);
            if u128::from(age) >= COMMIT_GAP_MAX.as_millis() {
                return None;
            }
        }
        let mean = usize::try_from(self.commit_bytes.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let bytes = mean.clamp(*TURN_BYTES.start(), *TURN_BYTES.end());
        // A power of two is a whole number of the device's blocks.
        Some(1 << bytes.ilog2())
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.origin).as_millis()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::{COMMIT_GAP_MAX, DiskTurns, TURN_BYTES, TURN_WAIT_MAX};

    #[test]
    fn a_turn_has_as_many_bytes_as_commits_while_they_come() {
        let turns = Arc::new(DiskTurns::default());
        let far = Instant::now() + Duration::from_secs(3_600);
        assert_eq!(turns.turn_bytes(Instant::now()), None, "no commit has come");
        let first = turns.begin_commit(4096);
        assert_eq!(turns.turn_bytes(far), Some(*TURN_BYTES.start()), "one that lasts is under way");
        for _ in 0..100 {
            drop(turns.begin_commit(300 << 10));
        }
        assert_eq!(turns.turn_bytes(far), Some(256 << 10));
        for _ in 0..100 {
            drop(turns.begin_commit(64 << 20));
        }
        assert_eq!(turns.turn_bytes(far), Some(*TURN_BYTES.end()));
        drop(first);
        let now = Instant::now();
        assert!(turns.turn_bytes(now).is_some(), "the next is likely to come soon");
        assert_eq!(turns.turn_bytes(now + COMMIT_GAP_MAX + Duration::from_millis(1)), None);
    }

    #[test]
    fn a_read_in_turns_reads_it_all_and_waits_for_another_once() {
        let bytes: Vec<u8> = (0..200_001_u32).flat_map(u32::to_le_bytes).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let turns = Arc::new(DiskTurns::default());
        let _commit = turns.begin_commit(1);
        let held = turns.turn.lock();
        let mut room = vec![0; bytes.len() + 100];
        let begun = Instant::now();
        assert_eq!(turns.read_at(&file, 8, &mut room).unwrap(), bytes.len() - 8);
        assert!(begun.elapsed() >= TURN_WAIT_MAX, "the turn is waited for");
        drop(held);
        assert_eq!(room[..bytes.len() - 8], bytes[8..]);
        assert_eq!(turns.read_at(&file, 8, &mut room).unwrap(), bytes.len() - 8);
        assert!(turns.turn.try_lock().is_some(), "each turn is given back");
    }
}
