//! Caches the segment indexes that reads have loaded.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rustmq_engine_core::wal::recovery::read_index;
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_engine_core::wal::{SegmentIndex, Trailer};
use rustmq_engine_memory::ChunkPool;

use crate::direct_io::read_at;
use crate::index_scan::scan_index;
use crate::read_around::Fault;
use crate::segment_file::SegmentFile;
use crate::window::WindowError;

/// The number of indexes that are kept.
const CACHED_INDEXES: usize = 16;
/// A rebuilt index expires, because it lacks groups that were unreadable then and may be readable
/// now.
const REBUILT_INDEX_AGE_MAX: Duration = Duration::from_secs(10);

/// The most recently used indexes of sealed segments.
#[derive(Debug, Default)]
pub(crate) struct IndexCache {
    entries: Mutex<VecDeque<CachedIndex>>,
}

#[derive(Clone, Debug)]
struct CachedIndex {
    place: SegmentPlace,
    index: Arc<SegmentIndex>,
    /// When the index was rebuilt from the readable groups; `None` for an index that was read from
    /// disk.
    rebuilt: Option<Instant>,
}

impl IndexCache {
    pub(crate) fn load(&self, segment: &SegmentFile, trailer: Trailer) -> Result<Arc<SegmentIndex>, WindowError> {
        let path = &segment.file.path;
        let of = |error: io::Error| {
            let (path, offset) = (path.display(), trailer.index_group);
            WindowError::of(&error, format!("{path}, offset {offset}: the index: {error}"))
        };
        if let Some(index) = self.load_stored(segment, trailer).map_err(of)? {
            return Ok(index);
        }
        tracing::warn!(path = %path.display(), "a segment's index is damaged: it is rebuilt from the groups");
        let index = scan_index(path, segment.place, trailer).map_err(of)?;
        Ok(self.keep(segment.place, index, Some(Instant::now())))
    }

    /// Loads the index without rebuilding it: `None` if the index on disk is damaged, or the slot
    /// has been reused.
    pub(crate) fn load_stored(&self, segment: &SegmentFile, trailer: Trailer) -> io::Result<Option<Arc<SegmentIndex>>> {
        if let Some(index) = self.cached(segment.place) {
            return Ok(Some(index));
        }
        let index = read_stored_index(segment, trailer)?;
        Ok(index.map(|index| self.keep(segment.place, index, None)))
    }

    fn cached(&self, place: SegmentPlace) -> Option<Arc<SegmentIndex>> {
        let mut entries = self.entries.lock();
        entries.retain(|entry| entry.rebuilt.is_none_or(|rebuilt| rebuilt.elapsed() < REBUILT_INDEX_AGE_MAX));
        let at = entries.iter().position(|known| known.place == place)?;
        let entry = entries.remove(at)?;
        let index = Arc::clone(&entry.index);
        entries.push_front(entry);
        Some(index)
    }

    fn keep(&self, place: SegmentPlace, index: SegmentIndex, rebuilt: Option<Instant>) -> Arc<SegmentIndex> {
        let index = Arc::new(index);
        let mut entries = self.entries.lock();
        entries.push_front(CachedIndex { place, index: Arc::clone(&index), rebuilt });
        entries.truncate(CACHED_INDEXES);
        index
    }

    pub(crate) fn clear(&self) {
        self.entries.lock().clear();
    }

    /// Drops a rebuilt index, so that its next use rebuilds it again.
    pub(crate) fn forget_rebuilt(&self, place: SegmentPlace) {
        self.entries.lock().retain(|known| known.place != place || known.rebuilt.is_none());
    }
}

/// The index at the end of a sealed segment; `None` if it is damaged.
fn read_stored_index(segment: &SegmentFile, trailer: Trailer) -> io::Result<Option<SegmentIndex>> {
    let (at, length) = (trailer.index_group, trailer.end.saturating_sub(trailer.index_group));
    // Reads whole blocks of the device.
    let before = at % segment.block_size;
    let length = (before + length).next_multiple_of(segment.block_size) as usize;
    match read_at(&segment.file.file, u64::from(at - before), length, &ChunkPool::default()) {
        Ok(bytes) => Ok(read_index(segment.place, at, bytes.get(before as usize..).unwrap_or_default())),
        Err(error) if Fault::of(&error) == Fault::Medium => Ok(None),
        Err(error) => Err(error),
    }
}
