//! Measures the disk alone: its part of a synced acknowledgement (overwriting 4 KiB of a written
//! file with O_DIRECT, then fdatasync), and reading whole files.

use crate::figure::count;
use anyhow::{Context, Result, ensure};
use hdrhistogram::Histogram;
use rustix::fs::OFlags;
use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const BLOCK: usize = 4096;
const BLOCKS: u64 = 1024;

/// Returns the latencies, in nanoseconds, of as many operations as fit in `time`, one after
/// another.
pub fn probe(folder: &Path, time: Duration) -> Result<Histogram<u64>> {
    let path = folder.join(format!("{}-probe", std::process::id()));
    let outcome = overwrite(&path, time);
    // The next run removes a file that stays, like the data of any run.
    let _ = fs::remove_file(&path);
    outcome
}

/// Reads the files one after another with O_DIRECT, 1 MiB at a time. Returns megabytes (10^6 bytes)
/// a second.
pub fn read_plainly(files: &[PathBuf]) -> Result<f64> {
    const AT_ONCE: usize = 1 << 20;
    let mut memory = vec![0_u8; AT_ONCE + BLOCK];
    let aligned = memory.as_ptr().align_offset(BLOCK);
    let buffer = memory.get_mut(aligned..aligned + AT_ONCE).context("an aligned buffer")?;
    let flags = i32::try_from(OFlags::DIRECT.bits())?;
    let begun = Instant::now();
    let mut bytes = 0;
    for path in files {
        let file = File::options().read(true).custom_flags(flags).open(path);
        let file = file.with_context(|| format!("opening {} with O_DIRECT", path.display()))?;
        let mut at = 0;
        loop {
            let read = file.read_at(buffer, at)? as u64;
            at += read;
            // A read of less than a whole block is the file's end.
            if read == 0 || !read.is_multiple_of(BLOCK as u64) {
                break;
            }
        }
        bytes += at;
    }
    ensure!(bytes > 0, "the log has no bytes");
    Ok(count(bytes) / 1e6 / begun.elapsed().as_secs_f64())
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
