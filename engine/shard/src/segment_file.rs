//! A segment as those who read from it hold it.

use std::sync::Arc;

use rustmq_engine_core::wal::scan::SegmentPlace;

use crate::disk::{DiskTurns, SlotFile};

/// A segment to read from.
#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub place: SegmentPlace,
    pub file: Arc<SlotFile>,
    /// Where its durable content ends: what lies below does not change. Nothing beyond is read unless it is asked for.
    pub end: u32,
    /// What the device reads in, which may be more than the segment is laid out by: the folder has moved to it.
    pub block_size: u32,
    pub turns: Arc<DiskTurns>,
}
