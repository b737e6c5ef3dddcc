//! How much of the disk a read of old records takes at a time. A disk serves what it was given in about that order: a commit that comes behind some
//! megabytes of reads waits for all of them. So while commits come, reads take turns: one at a time, and no more bytes than a commit has, or a few.

use std::fs::File;
use std::io;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::dio::read_once;

/// Commits come as long as one is under way, or the last has ended no longer ago: then the next is likely to come during a read.
const COMMITS_LAST: Duration = Duration::from_millis(100);
/// What a turn reads: as much as commits write, within these bounds.
const TURN_BYTES: RangeInclusive<usize> = 64 << 10..=1 << 20;
/// What is read at a time while no commits come: the disk has no use for more, and the first commit is not long behind it.
const READ_BYTES: usize = 256 << 10;
/// The share of the last commit in the mean is one part of so many.
const MEAN_OF: u64 = 8;
/// The longest that a read waits for a turn. Then it waits for none any more: the disk may not answer the read that has it.
const TURN_WITHIN: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct DiskTurns {
    began: Instant,
    under_way: AtomicUsize,
    /// When the last commit ended, in milliseconds since `began`, and one more: 0 is before the first.
    last_end: AtomicU64,
    /// A moving mean over the last commits. Shards that meet here may lose an update, which does not matter.
    commit_bytes: AtomicU64,
    turn: Mutex<()>,
}

impl Default for DiskTurns {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            under_way: AtomicUsize::new(0),
            last_end: AtomicU64::new(0),
            commit_bytes: AtomicU64::new(0),
            turn: Mutex::new(()),
        }
    }
}

/// A commit that is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct CommitTurn(Arc<DiskTurns>);

impl Drop for CommitTurn {
    fn drop(&mut self) {
        self.0.last_end.store(self.0.milliseconds(Instant::now()) + 1, Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl DiskTurns {
    /// A commit of so many bytes begins.
    pub(crate) fn begin_commit(self: &Arc<Self>, bytes: usize) -> CommitTurn {
        let mean = self.commit_bytes.load(Ordering::Relaxed);
        self.commit_bytes.store(mean - mean / MEAN_OF + bytes as u64 / MEAN_OF, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        CommitTurn(Arc::clone(self))
    }

    /// Reads until `room` is full or the file ends; in turns as long as commits come.
    pub(crate) fn read_at(&self, file: &File, offset: u64, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        let mut is_patient = true;
        while filled < room.len() {
            let turn = self.turn_bytes(Instant::now());
            let until = room.len().min(filled + turn.unwrap_or(READ_BYTES));
            let held = turn.filter(|_| is_patient).and_then(|_| self.turn.try_lock_for(TURN_WITHIN));
            is_patient = held.is_some() || turn.is_none();
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

    /// What may be read at a time; `None` while no commits come.
    fn turn_bytes(&self, now: Instant) -> Option<usize> {
        if self.under_way.load(Ordering::Relaxed) == 0 {
            let last = self.last_end.load(Ordering::Relaxed).checked_sub(1)?;
            let age = self.milliseconds(now).saturating_sub(last);
            if u128::from(age) >= COMMITS_LAST.as_millis() {
                return None;
            }
        }
        let mean = usize::try_from(self.commit_bytes.load(Ordering::Relaxed)).unwrap_or(usize::MAX);
        let bytes = mean.clamp(*TURN_BYTES.start(), *TURN_BYTES.end());
        // A power of two is a whole number of the device's blocks.
        Some(1 << bytes.ilog2())
    }

    fn milliseconds(&self, now: Instant) -> u64 {
        u64::try_from(now.saturating_duration_since(self.began).as_millis()).unwrap_or(u64::MAX - 1)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::io::Write;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use super::{COMMITS_LAST, DiskTurns, TURN_BYTES, TURN_WITHIN};

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
        assert_eq!(turns.turn_bytes(now + COMMITS_LAST + Duration::from_millis(1)), None);
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
        assert!(begun.elapsed() >= TURN_WITHIN, "the turn is waited for");
        drop(held);
        assert_eq!(room[..bytes.len() - 8], bytes[8..]);
        assert_eq!(turns.read_at(&file, 8, &mut room).unwrap(), bytes.len() - 8);
        assert!(turns.turn.try_lock().is_some(), "each turn is given back");
    }
}
