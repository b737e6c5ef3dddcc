//! The disk's own share of a synced acknowledgement: overwriting 4 KiB of a written file with O_DIRECT, then fdatasync.

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;
const BLOCKS: u64 = 1024;

/// Latencies in nanoseconds of what could be done one after another in `time`.
pub fn probe(folder: &Path, time: Duration) -> Result<Histogram<u64>> {
    let path = folder.join(format!("{}-probe", std::process::id()));
    let outcome = overwrite(&path, time);
    // What stays is removed by the next run, like any run's data.
    let _ = fs::remove_file(&path);
    outcome
}

fn overwrite(path: &Path, time: Duration) -> Result<Histogram<u64>> {
    let mut file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
    file.write_all(&vec![1; BLOCK * usize::try_from(BLOCKS)?])?;
    file.sync_all()?;
    let flags = i32::try_from(OFlags::DIRECT.bits())?;
    let direct = File::options().write(true).custom_flags(flags).open(path);
    let direct = direct.with_context(|| format!("opening {} with O_DIRECT", path.display()))?;
    let memory = vec![2_u8; 2 * BLOCK];
    let aligned = memory.as_ptr().align_offset(BLOCK);
    let block = memory.get(aligned..aligned + BLOCK).context("an aligned block")?;
    let mut histogram = Histogram::new_with_max(60_000_000_000, 3)?;
    let begun = Instant::now();
    for number in 0_u64.. {
        if begun.elapsed() > time {
            break;
        }
        let at = Instant::now();
        direct.write_all_at(block, number % BLOCKS * BLOCK as u64)?;
        direct.sync_data()?;
        histogram.saturating_record(crate::timeline::nanos(at.elapsed()));
    }
    Ok(histogram)
}
