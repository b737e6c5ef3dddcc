//! The index of a sealed segment whose own cannot be read: made anew from the segment's groups.

use std::io;
use std::path::Path;

use rustmq_engine_api::chunk::ChunkPool;
use rustmq_engine_core::wal::scan::{DamagePolicy, ScanNeed, SegmentPlace, SegmentScan};
use rustmq_engine_core::wal::{FormatVersion, GroupError, Run, SegmentIndex, Trailer};

use crate::read_around::{AroundFile, Persistence};

/// Bytes to read at a time.
const WINDOW: u32 = 1 << 20;

/// Reads the whole segment, through the page cache. What cannot be read is not in the index. If a
/// newer build wrote something that must not be passed over, there is none: it may say anything of
/// the batches.
pub(crate) fn scan_index(path: &Path, place: SegmentPlace, trailer: Trailer) -> io::Result<SegmentIndex> {
    let mut file = AroundFile::open(path, Persistence::WhileItAnswers)?;
    let pool = ChunkPool::default();
    let policy = DamagePolicy::PassOver { proven: trailer.index_group };
    let mut scan = SegmentScan::new(place, Run(0), FormatVersion::CURRENT, policy);
    let mut need = scan.first_need(WINDOW);
    while let ScanNeed::Bytes { offset, length } = need {
        let bytes = file.read(u64::from(offset), length as usize, &pool, |_, _| {})?;
        need = scan.on_bytes(&bytes, WINDOW);
        // Replay is not asked for, and a segment of it would take memory.
        scan.items.clear();
    }
    match scan.unknown {
        Some((offset, unknown)) => Err(io::Error::other(format!("offset {offset}: {}", GroupError::Unknown(unknown)))),
        None => Ok(scan.index),
    }
}
