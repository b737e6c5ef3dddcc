//! How much of the disk a read of old records takes at a time. A disk serves what it was given in about that order: a commit that comes behind some
//! megabytes of reads waits for all of them. So while commits come, reads take turns: one at a time, and no longer than a commit is.

use std::fs::File;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::dio::read_once;

/// Commits come as long as the last one is no older: then the next is likely to come during a read.
const COMMITS_LAST: Duration = Duration::from_millis(250);
/// What a turn reads: as much as commits write, within these bounds.
const TURN_BYTES: std::ops::RangeInclusive<usize> = 64 << 10..=1 << 20;
/// What is read at a time while no commits come: the disk has no use for more, and the first commit is not long behind it.
const READ_BYTES: usize = 256 << 10;
/// The share of the last commit in the mean is one part of so many.
const MEAN_OF: u64 = 8;
/// The longest that a read waits for its turn: one that the disk does not answer holds up its own reader alone.
const TURN_WITHIN: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct DiskTurns {
    began: Instant,
    /// When the last commit was started, in milliseconds since `began`, and one more: 0 is before the first.
    last_commit: AtomicU64,
    /// A moving mean over the last commits. Shards that meet here may lose an update, which does not matter.
    commit_bytes: AtomicU64,
    turn: Mutex<()>,
}

impl Default for DiskTurns {
    fn default() -> Self {
        Self {
            began: Instant::now(),
            last_commit: AtomicU64::new(0),
            commit_bytes: AtomicU64::new(0),
            turn: Mutex::new(()),
        }
    }
}

impl DiskTurns {
    /// A commit of so many bytes is started.
    pub(crate) fn on_commit(&self, bytes: usize, now: Instant) {
        let mean = self.commit_bytes.load(Ordering::Relaxed);
        self.commit_bytes.store(mean - mean / MEAN_OF + bytes as u64 / MEAN_OF, Ordering::Relaxed);
        self.last_commit.store(self.milliseconds(now) + 1, Ordering::Relaxed);
    }

    /// Reads until `room` is full or the file ends; in turns as long as commits come.
    pub(crate) fn read_at(&self, file: &File, offset: u64, room: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < room.len() {
            let turn = self.turn_bytes(Instant::now());
            let until = room.len().min(filled + turn.unwrap_or(READ_BYTES));
            let held = turn.and_then(|_| self.turn.try_lock_for(TURN_WITHIN));
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
        let last = self.last_commit.load(Ordering::Relaxed).checked_sub(1)?;
        let age = self.milliseconds(now).saturating_sub(last);
        if u128::from(age) >= COMMITS_LAST.as_millis() {
            return None;
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
    use std::time::{Duration, Instant};

    use super::{COMMITS_LAST, DiskTurns, TURN_BYTES};

    #[test]
    fn a_turn_is_as_long_as_commits_are_while_they_come() {
        let turns = DiskTurns::default();
        let now = Instant::now();
        assert_eq!(turns.turn_bytes(now), None, "no commit has come");
        turns.on_commit(4096, now);
        assert_eq!(turns.turn_bytes(now), Some(*TURN_BYTES.start()));
        (0..100).for_each(|_| turns.on_commit(300 << 10, now));
        assert_eq!(turns.turn_bytes(now), Some(256 << 10));
        (0..100).for_each(|_| turns.on_commit(64 << 20, now));
        assert_eq!(turns.turn_bytes(now), Some(*TURN_BYTES.end()));
        assert_eq!(turns.turn_bytes(now + COMMITS_LAST + Duration::from_millis(1)), None);
    }

    #[test]
    fn a_read_in_turns_reads_it_all_and_waits_for_no_other_for_long() {
        let bytes: Vec<u8> = (0..200_001_u32).flat_map(u32::to_le_bytes).collect();
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let turns = DiskTurns::default();
        turns.on_commit(1, Instant::now());
        let held = turns.turn.lock();
        let mut room = vec![0; bytes.len() + 100];
        assert_eq!(turns.read_at(&file, 8, &mut room).unwrap(), bytes.len() - 8);
        drop(held);
        assert_eq!(room[..bytes.len() - 8], bytes[8..]);
        assert!(turns.turn.try_lock().is_some(), "each turn has been given back");
    }
}
