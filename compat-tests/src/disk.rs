//! A disk that the tests control, under a real file system and the shipped broker: a file of our
//! own FUSE file system, a loop device on that file, and ext4 or XFS on the device. The disk has a
//! volatile cache like real ones, can lose its power, fail, and be slow. It knows nothing of
//! brokers.
//!
//! ```text
//! broker -> ext4 or XFS -> /dev/loopN -> FUSE file -> Disk { Cache { pending sectors } -> durable file }
//! ```
//! A write is answered once it is in the cache, so O_DIRECT alone makes nothing durable. The kernel
//! turns fsync, fdatasync and the barriers of a file system's journal into a flush of the loop
//! device, the loop device turns it into FUSE's FSYNC, and only that empties the cache.
//! `compat-tests/tests/power_cut.rs` shows both halves of this claim on both file systems.
//!
//! The alternative was nested loop devices with the page cache as the volatile cache. Here a power
//! cut is one instant for the whole disk; a seed draws each surviving sector, so that writes are
//! torn and reordered, too; and no setting of the kernel changes.

pub mod cache;
pub mod fuse;
pub mod stack;

use cache::{Cache, Loss};
use std::io;
use std::ops::Range;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// The faults of a disk with power.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// EIO for every write; nothing of it reaches the cache.
    pub failing_writes: bool,
    /// EIO for every sync; it makes nothing durable.
    pub failing_syncs: bool,
    /// The duration of each sync.
    pub sync_duration: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Power {
    On,
    /// The power is cut at a fixed instant, and nobody has been told: requests wait.
    Held,
    Off,
}

#[derive(Debug)]
struct State {
    cache: Cache,
    power: Power,
    faults: Faults,
    requests: Requests,
    /// EIO for a read that touches one of these sectors. A write that covers one makes it readable
    /// again, like the spare sectors of a real disk.
    unreadable: Vec<Range<u64>>,
    /// Counts how often the power returned.
    life: u64,
}

/// The requests to the disk so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Requests {
    pub writes: u64,
    pub syncs: u64,
    /// Writes and syncs that a fault refused.
    pub refused: u64,
}

/// The disk, shared by the threads that serve it and those that harm it.
#[derive(Debug)]
pub struct Disk {
    size: u64,
    state: Mutex<State>,
    changed: Condvar,
}

impl Disk {
    pub fn new(cache: Cache) -> Disk {
        let state = State {
            power: Power::On,
            faults: Faults::default(),
            requests: Requests::default(),
            unreadable: Vec::new(),
            life: 0,
            cache,
        };
        Disk { size: state.cache.size(), state: Mutex::new(state), changed: Condvar::new() }
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state of a disk with power. Waits while a power cut is in progress.
    fn powered(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        while state.power == Power::Held {
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.power == Power::Off { Err(failed("the disk has no power")) } else { Ok(state) }
    }

    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let state = self.powered()?;
        let end = offset + bytes.len() as u64;
        if state.unreadable.iter().any(|bad| bad.start < end && offset < bad.end) {
            return Err(failed("the disk cannot read it"));
        }
        state.cache.read(offset, bytes)
    }

    pub fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.powered()?;
        state.requests.writes += 1;
        if state.faults.failing_writes {
            state.requests.refused += 1;
            return Err(failed("the disk fails writes"));
        }
        let end = offset + bytes.len() as u64;
        state.unreadable.retain(|bad| bad.start < offset || end < bad.end);
        state.cache.write(offset, bytes)
    }

    /// The sync covers earlier writes. They are durable at its end, not before.
    pub fn sync(&self) -> io::Result<()> {
        let mut state = self.powered()?;
        let covered = state.cache.begin_sync();
        let (duration, life) = (state.faults.sync_duration, state.life);
        drop(state);
        // The disk serves other requests meanwhile.
        thread::sleep(duration);
        let mut state = self.powered()?;
        state.requests.syncs += 1;
        if state.life != life {
            return Err(failed("the disk had no power meanwhile"));
        }
        if state.faults.failing_syncs {
            state.requests.refused += 1;
            return Err(failed("the disk fails syncs"));
        }
        state.cache.end_sync(covered)
    }

    pub fn set_faults(&self, faults: Faults) {
        self.lock().faults = faults;
    }

    /// Makes the first sector with `needle` in it unreadable. The kernel's copy in memory remains:
    /// only a power cut drops it.
    pub fn spoil(&self, needle: &[u8]) -> io::Result<()> {
        const STEP: usize = 1 << 20;
        // No more of it: the pages of a file need not be aligned to the disk's pages.
        const SECTOR: u64 = 512;
        let mut state = self.lock();
        for offset in (0..self.size).step_by(STEP) {
            let length = (self.size - offset).min((STEP + needle.len()) as u64);
            let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
            state.cache.read(offset, &mut bytes)?;
            if let Some(at) = bytes.windows(needle.len()).position(|window| window == needle) {
                let sector = (offset + at as u64) / SECTOR * SECTOR;
                state.unreadable.push(sector..sector + SECTOR);
                return Ok(());
            }
        }
        Err(failed("it is not on the disk"))
    }

    /// Whether a power cut now could lose something.
    pub fn has_unsynced(&self) -> bool {
        self.lock().cache.has_unsynced()
    }

    pub fn requests(&self) -> Requests {
        self.lock().requests
    }

    /// Cuts the power now. Waiting requests learn of it only from `fail_waiting`.
    pub fn cut(&self) {
        self.lock().power = Power::Held;
    }

    /// Answers all waiting and later requests with EIO.
    pub fn fail_waiting(&self) {
        self.lock().power = Power::Off;
        self.changed.notify_all();
    }

    /// Restores the power. Each unsynced sector is durable with the probability `survival`.
    pub fn restore(&self, survival: f64) -> io::Result<Loss> {
        let mut state = self.lock();
        let loss = state.cache.lose(survival)?;
        state.power = Power::On;
        state.life += 1;
        self.changed.notify_all();
        Ok(loss)
    }
}

fn failed(why: &str) -> io::Error {
    io::Error::other(why)
}
