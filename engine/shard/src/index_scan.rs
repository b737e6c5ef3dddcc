//! Rebuilds the index of a sealed segment from its groups, for a segment whose own index cannot be
//! read.

use std::io;
use std::path::Path;

use rustmq_engine_core::wal::scan::{DamagePolicy, ScanNeed, SegmentPlace, SegmentScan};
use rustmq_engine_core::wal::{FormatVersion, GroupError, SegmentIndex, SegmentShape, Trailer, WalSession};
use rustmq_engine_memory::ChunkPool;

use crate::read_around::{AroundFile, BadRunLimit};

/// The number of bytes to read at a time.
const WINDOW: u32 = 1 << 20;
const _: () = assert!(WINDOW.is_multiple_of(SegmentShape::BLOCK_SIZE_MAX), "a read has whole blocks");

/// Reads the whole segment through the page cache. The index lacks groups that cannot be read.
///
/// # Errors
///
/// If a newer build wrote something that must not be passed over: it may say anything of the
/// batches.
pub(crate) fn scan_index(path: &Path, place: SegmentPlace, trailer: Trailer) -> io::Result<SegmentIndex> {
    let mut file = AroundFile::open(path, BadRunLimit::WhileFileAnswers)?;
    let pool = ChunkPool::default();
    let policy = DamagePolicy::PassOver { proven: trailer.index_group };
    let mut scan = SegmentScan::new(place, WalSession(0), FormatVersion::CURRENT, policy);
    let mut need = scan.first_need(WINDOW);
    while let ScanNeed::Bytes { offset, length } = need {
        let bytes = file.read(u64::from(offset), length as usize, &pool, |_, _| {})?;
        need = scan.on_bytes(&bytes, WINDOW);
        // Nobody replays these items, and those of a whole segment would take memory.
        scan.items.clear();
    }
    match scan.unknown {
        Some((offset, unknown)) => Err(io::Error::other(format!("offset {offset}: {}", GroupError::Unknown(unknown)))),
        None => Ok(scan.index),
    }
}
