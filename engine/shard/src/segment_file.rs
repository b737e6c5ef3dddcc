//! An open segment, as its readers hold it.

use std::sync::Arc;

use rustmq_engine_core::wal::scan::SegmentPlace;

use crate::disk::{DiskTurns, SlotFile};

#[derive(Clone, Debug)]
pub(crate) struct SegmentFile {
    pub place: SegmentPlace,
    pub file: Arc<SlotFile>,
    /// The end of its durable content, which does not change any more. Readers read beyond it only
    /// if they are asked to.
    pub end: u32,
    /// The block size of reads, in bytes. It may exceed the segment's own block size: the folder
    /// may have moved to another device.
    pub block_size: u32,
    pub turns: Arc<DiskTurns>,
}
