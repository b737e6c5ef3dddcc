//! Reads of what has left memory, without the shard: from where its partition's map says that a batch is, to a job of the read threads that holds
//! the segment.

use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use rustmq_engine_api::ReadError;
use rustmq_engine_api::request::{ColdRead, DiskRead, DiskReads, Submitted};
use rustmq_engine_core::shard::{NextLocation, NoPlan, ReadPlan, plan_read};
use rustmq_engine_core::wal::read_check::BatchQuery;
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_engine_core::wal::segments::{LocatedExtents, Location};
use rustmq_engine_core::wal::{SharedSegments, WalId};

use crate::read_ahead::{Ahead, IndexedRange, NextPlace};
use crate::read_job::{Destination, ReadJob};
use crate::read_pool::ReadPool;
use crate::segment_file::SegmentFile;
use crate::slot_files::SlotFiles;

/// One shard's log, for those who read it. It goes with the shard.
#[derive(Debug)]
pub(crate) struct ShardReads {
    wal: WalId,
    /// What the device reads in.
    block_size: u32,
    segments: SharedSegments,
    /// Those that the shard has: a slot with a segment in it is among them.
    files: RwLock<SlotFiles>,
    pool: ReadPool,
}

impl ShardReads {
    pub(crate) fn new(
        wal: WalId,
        block_size: u32,
        segments: SharedSegments,
        files: SlotFiles,
        pool: ReadPool,
    ) -> Arc<Self> {
        Arc::new(Self { wal, block_size, segments, files: RwLock::new(files), pool })
    }

    /// Slots have come or gone.
    pub(crate) fn set_files(&self, files: SlotFiles) {
        *self.files.write() = files;
    }

    fn read(&self, read: Box<DiskRead>) -> Submitted {
        let mut cold = read.read;
        cold.max_bytes = cold.max_bytes.min(self.pool.read_bytes_max());
        match plan_read(&cold, &read.locations, &self.segments) {
            Ok(plan) => {
                let DiskRead { room_by, place, reply, .. } = *read;
                self.pool.submit(self.job(&cold, plan, Destination::Reader { reply, room_by, place }));
                Submitted::Taken
            }
            Err(NoPlan::Retired) => Submitted::Retired(read),
            Err(NoPlan::Refused(error)) => {
                // Whoever asked may have gone.
                let _ = read.reply.send(Err(error));
                Submitted::Taken
            }
        }
    }

    pub(crate) fn job(&self, read: &ColdRead, plan: ReadPlan, destination: Destination) -> ReadJob {
        let ReadPlan { location, next, hold } = plan;
        let segment = self.segment(&location).expect("the file of a segment that is held is open");
        let Location { from, until, extents, runs, .. } = location;
        ReadJob {
            segment,
            hold,
            extents,
            runs,
            next: next.and_then(|next| self.next_place(read, next)),
            query: BatchQuery { partition: read.id, from, until },
            max_bytes: read.max_bytes,
            at_least_one: read.at_least_one,
            destination,
        }
    }

    fn next_place(&self, read: &ColdRead, next: NextLocation) -> Option<NextPlace> {
        let NextLocation { location, from } = next;
        let segment = self.segment(&location)?;
        let ahead = match location.extents {
            LocatedExtents::Known(_) => location.runs.into_iter().map(Ahead::Run).collect(),
            LocatedExtents::Indexed(trailer) => {
                vec![Ahead::First(IndexedRange { trailer, partition: read.id, from, until: read.until })]
            }
        };
        Some(NextPlace { segment, ahead })
    }

    fn segment(&self, location: &Location) -> Option<SegmentFile> {
        let Location { slot, generation, shape, end, .. } = *location;
        let place = SegmentPlace { wal: self.wal, shape, generation };
        let file = Arc::clone(self.files.read().file(slot)?);
        Some(SegmentFile { place, file, end, block_size: self.block_size, turns: self.pool.turns() })
    }
}

/// The same, as a partition's readers have it: they may outlast the shard.
#[derive(Clone, Debug)]
pub(crate) struct ReadsOfShard(Weak<ShardReads>);

impl ReadsOfShard {
    pub(crate) fn of(reads: &Arc<ShardReads>) -> Self {
        Self(Arc::downgrade(reads))
    }
}

impl DiskReads for ReadsOfShard {
    fn submit(&self, read: Box<DiskRead>) -> Submitted {
        match self.0.upgrade() {
            Some(reads) => reads.read(read),
            None => {
                let _ = read.reply.send(Err(ReadError::Closed));
                Submitted::Taken
            }
        }
    }
}
