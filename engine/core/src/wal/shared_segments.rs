//! The segments in use, shared between their writer and the readers: a reader finds a segment by
//! its generation, on its own thread, and holds it while it reads. A held segment is not retired,
//! so its slot is not reused.
//!
//! ```text
//! add --> in use (on_durable: end moves up) --on_indexed--> indexed --retire, unless held--> gone
//! ```
//! A segment that is sealed without an index is retired without having been indexed.
//!
//! Readers of recent batches do not take this lock. The writer takes it to start or retire a
//! segment, once for each chunk that leaves memory, when it shows moves, and to hold a segment for
//! a move or a rebuild.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::index::Trailer;
use super::position::{SegmentGeneration, SegmentShape, SlotId};

/// One segment in use.
#[derive(Debug)]
pub struct SharedSegment {
    pub slot: SlotId,
    pub generation: SegmentGeneration,
    pub shape: SegmentShape,
    /// The end of the durable content. The content below it never changes while the segment is in
    /// use.
    durable_end: AtomicU32,
    /// The place of the segment's index, once the segment is sealed and synced.
    trailer: OnceLock<Trailer>,
    holds: AtomicU32,
}

impl SharedSegment {
    #[must_use]
    pub fn durable_end(&self) -> u32 {
        self.durable_end.load(Ordering::Acquire)
    }

    #[must_use]
    pub fn trailer(&self) -> Option<Trailer> {
        self.trailer.get().copied()
    }

    pub(super) fn on_durable(&self, end: u32) {
        self.durable_end.store(end, Ordering::Release);
    }

    pub(super) fn on_indexed(&self, trailer: Trailer) {
        self.trailer.get_or_init(|| trailer);
    }
}

/// Prevents a segment from being retired until it is dropped.
#[derive(Debug)]
pub struct SegmentHold(Arc<SharedSegment>);

impl SegmentHold {
    #[must_use]
    pub fn segment(&self) -> &SharedSegment {
        &self.0
    }
}

impl Drop for SegmentHold {
    fn drop(&mut self) {
        // Release: the reads happen before the segment is retired by a thread that sees this.
        self.0.holds.fetch_sub(1, Ordering::Release);
    }
}

/// The generations of the segments in use whose index was not on disk when the writer looked; a few
/// at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnindexedSegments(Vec<SegmentGeneration>);

impl UnindexedSegments {
    #[must_use]
    pub fn contains(&self, generation: SegmentGeneration) -> bool {
        self.0.contains(&generation)
    }
}

/// The segments in use, see the module. A clone shares them.
#[derive(Clone, Debug, Default)]
pub struct SharedSegments(Arc<Mutex<BTreeMap<SegmentGeneration, Arc<SharedSegment>>>>);

impl SharedSegments {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<SegmentGeneration, Arc<SharedSegment>>> {
        // A panic cannot leave the map half changed: each change is a single insertion or removal.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // For readers.

    /// Finds a segment; `None` if it is retired, and its batches have been relocated or freed.
    #[must_use]
    pub fn find(&self, generation: SegmentGeneration) -> Option<Arc<SharedSegment>> {
        self.lock().get(&generation).map(Arc::clone)
    }

    /// Finds a segment, and keeps it in use until the hold is dropped.
    #[must_use]
    pub fn hold(&self, generation: SegmentGeneration) -> Option<SegmentHold> {
        let segments = self.lock();
        let segment = segments.get(&generation)?;
        segment.holds.fetch_add(1, Ordering::Relaxed);
        Some(SegmentHold(Arc::clone(segment)))
    }

    // For the writer.

    /// The segments in use whose index is not on disk, the active one included.
    #[must_use]
    pub fn unindexed(&self) -> UnindexedSegments {
        let segments = self.lock();
        let unindexed = segments.values().filter(|segment| segment.trailer().is_none());
        UnindexedSegments(unindexed.map(|segment| segment.generation).collect())
    }

    pub fn add(&self, slot: SlotId, generation: SegmentGeneration, shape: SegmentShape) -> Arc<SharedSegment> {
        let (durable_end, trailer, holds) = (AtomicU32::new(0), OnceLock::new(), AtomicU32::new(0));
        let segment = Arc::new(SharedSegment { slot, generation, shape, durable_end, trailer, holds });
        self.lock().insert(generation, Arc::clone(&segment));
        segment
    }

    /// Removes the segment, so that no reader finds it any more. Returns false, and leaves it, if a
    /// reader holds it.
    pub(super) fn retire(&self, generation: SegmentGeneration) -> bool {
        let mut segments = self.lock();
        if segments.get(&generation).is_some_and(|segment| segment.holds.load(Ordering::Acquire) > 0) {
            return false;
        }
        segments.remove(&generation);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::SharedSegments;
    use crate::wal::position::{SegmentGeneration, SegmentShape, SlotId};

    #[test]
    fn a_segment_is_retired_after_its_last_hold_and_is_not_found_any_more() {
        let shape = SegmentShape::new(4096, 1 << 20).expect("the shape is valid");
        let segments = SharedSegments::default();
        segments.add(SlotId(3), SegmentGeneration(7), shape);
        assert!(segments.hold(SegmentGeneration(8)).is_none());
        let holds = [segments.hold(SegmentGeneration(7)), segments.hold(SegmentGeneration(7))];
        let [Some(one), Some(other)] = holds else { panic!("it is in use") };
        assert!(!segments.retire(SegmentGeneration(7)));
        drop(one);
        assert!(!segments.retire(SegmentGeneration(7)));
        assert_eq!(other.segment().slot, SlotId(3));
        drop(other);
        assert!(segments.find(SegmentGeneration(7)).is_some() && segments.retire(SegmentGeneration(7)));
        assert!(segments.find(SegmentGeneration(7)).is_none() && segments.hold(SegmentGeneration(7)).is_none());
    }
}
