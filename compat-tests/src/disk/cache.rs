//! The volatile cache of a disk: sectors that were written and not synced. It may write any of them
//! back at any time, in any order, as real caches do. A power cut keeps some of them, a sync keeps
//! all. Deterministic from its seed. Has no faults and no timing.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

/// The unit that a disk writes as a whole or not at all.
pub const SECTOR: usize = 512;
/// The most volatile sectors. Beyond it, all of them are written back.
const PENDING_MAX: usize = 128 * 1024;
/// One write in this many makes the cache write something back on its own.
const DESTAGE_EVERY: u32 = 24;
const DESTAGED_AT_ONCE: usize = 64;

/// A sector, and the number of the write that it came with.
type Pending = (u64, [u8; SECTOR]);

/// The effect of a power cut on the unsynced sectors.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Loss {
    pub lost: u64,
    pub survived: u64,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} unsynced sectors lost, {} kept", self.lost, self.survived)
    }
}

#[derive(Debug)]
pub struct Cache {
    durable: File,
    size: u64,
    pending: BTreeMap<u64, Pending>,
    /// The number of the last write.
    written: u64,
    /// The last write that the newest sync covers, while any sync is in progress.
    syncing: Option<u64>,
    random: StdRng,
    /// Whether sectors are written back before a sync.
    destages: bool,
}

fn out_of_range(offset: u64, length: usize) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("{length} bytes at {offset} are not sectors of the disk"))
}

impl Cache {
    /// `durable` holds the disk's present content.
    pub fn new(durable: File, seed: u64) -> io::Result<Cache> {
        let size = durable.metadata()?.len() / SECTOR as u64 * SECTOR as u64;
        let random = StdRng::seed_from_u64(seed);
        Ok(Cache { durable, size, pending: BTreeMap::new(), written: 0, syncing: None, random, destages: true })
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    /// Whether a power cut could lose something.
    pub fn has_unsynced(&self) -> bool {
        !self.pending.is_empty()
    }

    /// The numbers of the sectors that the range touches.
    fn sectors(&self, offset: u64, length: usize) -> io::Result<std::ops::Range<u64>> {
        let end = offset.checked_add(length as u64).filter(|end| *end <= self.size);
        let end = end.ok_or_else(|| out_of_range(offset, length))?;
        Ok(offset / SECTOR as u64..end.div_ceil(SECTOR as u64))
    }

    pub fn read(&self, offset: u64, bytes: &mut [u8]) -> io::Result<()> {
        let sectors = self.sectors(offset, bytes.len())?;
        self.durable.read_exact_at(bytes, offset)?;
        for (number, (_, sector)) in self.pending.range(sectors) {
            let at = number * SECTOR as u64;
            // The requested part of the sector, and its place in the buffer.
            let skipped = distance(at, offset);
            let into = distance(offset, at);
            let length = (SECTOR - skipped).min(bytes.len() - into);
            bytes[into..into + length].copy_from_slice(&sector[skipped..skipped + length]);
        }
        Ok(())
    }

    /// Whole sectors only.
    pub fn write(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let sectors = self.sectors(offset, bytes.len())?;
        let (whole, rest) = bytes.as_chunks::<SECTOR>();
        if !offset.is_multiple_of(SECTOR as u64) || !rest.is_empty() {
            return Err(out_of_range(offset, bytes.len()));
        }
        self.written += 1;
        for (number, sector) in sectors.zip(whole) {
            let Some((written, older)) = self.pending.insert(number, (self.written, *sector)) else { continue };
            // A sync in progress has promised the older version; otherwise that one may have been
            // written back in time.
            if self.syncing.is_some_and(|mark| written <= mark) || self.destages && self.random.random_bool(0.5) {
                self.durable.write_all_at(&older, number * SECTOR as u64)?;
            }
        }
        if self.destages && self.random.random_range(0..DESTAGE_EVERY) == 0 {
            self.destage()?;
        }
        if self.pending.len() > PENDING_MAX {
            self.write_out(self.written)?;
        }
        Ok(())
    }

    /// Writes back a few neighbouring sectors at a random place.
    fn destage(&mut self) -> io::Result<()> {
        let from = self.random.random_range(0..self.size / SECTOR as u64);
        let chosen: Vec<u64> = self.pending.range(from..).map(|(number, _)| *number).take(DESTAGED_AT_ONCE).collect();
        for number in chosen {
            if let Some((_, sector)) = self.pending.remove(&number) {
                self.durable.write_all_at(&sector, number * SECTOR as u64)?;
            }
        }
        Ok(())
    }

    /// A sync begins. Returns what it covers. It makes nothing durable yet.
    pub fn begin_sync(&mut self) -> u64 {
        self.syncing = Some(self.written);
        self.written
    }

    /// The sync ends: the writes that it covers are durable. Later ones may not be.
    pub fn end_sync(&mut self, covered: u64) -> io::Result<()> {
        if self.syncing == Some(covered) {
            self.syncing = None;
        }
        self.write_out(covered)
    }

    fn write_out(&mut self, covered: u64) -> io::Result<()> {
        let pending = std::mem::take(&mut self.pending);
        let (due, later): (BTreeMap<u64, Pending>, BTreeMap<u64, Pending>) =
            pending.into_iter().partition(|(_, (written, _))| *written <= covered);
        self.pending = later;
        self.store(due)
    }

    /// Draws the unsynced sectors that become durable, each with the probability `survival`. The
    /// others are as if they had never been written.
    pub fn lose(&mut self, survival: f64) -> io::Result<Loss> {
        let pending = std::mem::take(&mut self.pending);
        let all = pending.len() as u64;
        self.syncing = None;
        let kept: BTreeMap<u64, Pending> = pending.into_iter().filter(|_| self.random.random_bool(survival)).collect();
        let survived = kept.len() as u64;
        self.store(kept)?;
        Ok(Loss { lost: all - survived, survived })
    }

    /// Joins neighbouring sectors into one write.
    fn store(&self, sectors: BTreeMap<u64, Pending>) -> io::Result<()> {
        let mut run = Vec::new();
        let mut began = 0;
        for (number, (_, sector)) in sectors {
            if began + (run.len() / SECTOR) as u64 != number {
                self.durable.write_all_at(&run, began * SECTOR as u64)?;
                run.clear();
            }
            if run.is_empty() {
                began = number;
            }
            run.extend_from_slice(&sector);
        }
        self.durable.write_all_at(&run, began * SECTOR as u64)
    }
}

/// The distance of `to` beyond `from`; 0 if `to` comes first.
fn distance(from: u64, to: u64) -> usize {
    usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECTORS: usize = 64;

    fn cache(seed: u64) -> Cache {
        let file = tempfile::tempfile().unwrap();
        file.set_len((SECTORS * SECTOR) as u64).unwrap();
        Cache::new(file, seed).unwrap()
    }

    fn at(sector: usize) -> u64 {
        (sector * SECTOR) as u64
    }

    fn sync(cache: &mut Cache) {
        let covered = cache.begin_sync();
        cache.end_sync(covered).unwrap();
    }

    fn content(cache: &Cache) -> Vec<u8> {
        let mut bytes = vec![0; SECTORS * SECTOR];
        cache.read(0, &mut bytes).unwrap();
        bytes
    }

    #[test]
    fn reads_see_the_last_write_whether_it_is_durable_or_not() {
        let mut random = StdRng::seed_from_u64(7);
        let mut cache = cache(1);
        let mut model = vec![0; SECTORS * SECTOR];
        for round in 0..2_000 {
            let from = random.random_range(0..SECTORS);
            let count = random.random_range(1..=(SECTORS - from).min(9));
            let bytes: Vec<u8> = (0..count * SECTOR).map(|_| random.random()).collect();
            cache.write(at(from), &bytes).unwrap();
            model[from * SECTOR..][..bytes.len()].copy_from_slice(&bytes);
            if round % 50 == 0 {
                sync(&mut cache);
            }
            let (a, b) = (random.random_range(0..model.len()), random.random_range(0..model.len()));
            let mut part = vec![0; a.abs_diff(b)];
            cache.read(a.min(b) as u64, &mut part).unwrap();
            assert_eq!(part, model[a.min(b)..a.max(b)]);
        }
    }

    #[test]
    fn a_cut_keeps_what_was_synced_and_only_whole_sectors_of_the_rest() {
        for seed in 0..200 {
            let mut cache = cache(seed);
            cache.write(0, &[1; SECTORS * SECTOR]).unwrap();
            sync(&mut cache);
            cache.write(at(8), &[2; 16 * SECTOR]).unwrap();
            cache.write(at(16), &[3; 16 * SECTOR]).unwrap();
            cache.lose(0.5).unwrap();
            let found = content(&cache);
            for (number, sector) in found.chunks(SECTOR).enumerate() {
                assert!(sector.iter().all(|byte| *byte == sector[0]), "sector {number} is torn");
                let allowed: &[u8] = match number {
                    8..16 => &[1, 2],
                    // A replaced version may have become durable, too.
                    16..24 => &[1, 2, 3],
                    24..32 => &[1, 3],
                    _ => &[1],
                };
                assert!(allowed.contains(&sector[0]), "sector {number} holds {}", sector[0]);
            }
        }
    }

    #[test]
    fn a_sync_covers_what_was_written_before_it_began() {
        let mut cache = cache(1);
        cache.destages = false;
        cache.write(at(0), &[1; 8 * SECTOR]).unwrap();
        let covered = cache.begin_sync();
        cache.write(at(4), &[2; 8 * SECTOR]).unwrap();
        cache.end_sync(covered).unwrap();
        cache.lose(0.0).unwrap();
        let mut expected = vec![0; SECTORS * SECTOR];
        expected[..8 * SECTOR].fill(1);
        assert!(content(&cache) == expected);
    }

    #[test]
    fn a_sync_that_a_cut_meets_has_promised_nothing() {
        let mut cache = cache(1);
        cache.destages = false;
        cache.write(at(0), &[1; 8 * SECTOR]).unwrap();
        cache.begin_sync();
        cache.lose(0.0).unwrap();
        assert!(content(&cache) == vec![0; SECTORS * SECTOR]);
    }

    #[test]
    fn survival_is_drawn() {
        let lose = |survival| {
            let mut cache = cache(3);
            cache.destages = false;
            cache.write(0, &[1; SECTORS * SECTOR]).unwrap();
            cache.lose(survival).unwrap()
        };
        let all = SECTORS as u64;
        assert_eq!(lose(0.0), Loss { lost: all, survived: 0 });
        assert_eq!(lose(1.0), Loss { lost: 0, survived: all });
        let half = lose(0.5);
        assert!(half.lost > 0 && half.survived > 0 && half.lost + half.survived == all, "{half}");
    }

    #[test]
    fn what_is_no_sector_of_the_disk_is_refused() {
        let mut cache = cache(1);
        assert!(cache.write(100, &[0; SECTOR]).is_err());
        assert!(cache.write(0, &[0; 100]).is_err());
        assert!(cache.write(at(SECTORS), &[0; SECTOR]).is_err());
        assert!(cache.read(u64::MAX, &mut [0; 2]).is_err());
    }
}
