//! Plans reads of batches that have left memory, without the shard: turns the partition's location
//! map into a job for the read threads, which holds the segment.

use std::sync::{Arc, Weak};

use parking_lot::RwLock;
use rustmq_engine_api::ReadError;
use rustmq_engine_api::request::{ColdRead, DiskRead, DiskReads, Submitted};
use rustmq_engine_core::shard::{NextLocation, NoPlan, ReadPlan, plan_read};
use rustmq_engine_core::wal::read_check::BatchQuery;
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_engine_core::wal::segments::{LocatedExtents, Location};
use rustmq_engine_core::wal::{SharedSegments, WalId};

use crate::read_ahead::{Ahead, IndexedRange, NextSegment};
use crate::read_job::{Destination, ReadJob};
use crate::read_pool::ReadPool;
use crate::segment_file::SegmentFile;
use crate::slot_files::SlotFiles;

/// One shard's log, for its readers. The shard owns it.
#[derive(Debug)]
pub(crate) struct ShardReads {
    wal: WalId,
    /// The block size of reads, in bytes.
    block_size: u32,
    segments: SharedSegments,
    /// The shard's files, among them the file of every slot with a segment.
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

    /// Replaces the files after slots were added or removed.
    pub(crate) fn set_files(&self, files: SlotFiles) {
        *self.files.write() = files;
    }

    fn read(&self, read: Box<DiskRead>) -> Submitted {
        let mut cold = read.read;
        cold.max_bytes = cold.max_bytes.min(self.pool.read_bytes_max());
        match plan_read(&cold, &read.locations, &self.segments) {
            Ok(plan) => {
                let DiskRead { deadline, permit, reply, .. } = *read;
                self.pool.submit(self.job(&cold, plan, Destination::Reader { reply, deadline, permit }));
                Submitted::Taken
            }
            Err(NoPlan::Retired) => Submitted::Retired(read),
            Err(NoPlan::Refused(error)) => {
                // The requester may have gone.
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
            next: next.and_then(|next| self.next_segment(read, next)),
            query: BatchQuery { partition: read.id, from, until },
            max_bytes: read.max_bytes,
            at_least_one: read.at_least_one,
            destination,
        }
    }

    fn next_segment(&self, read: &ColdRead, next: NextLocation) -> Option<NextSegment> {
        let NextLocation { location, from } = next;
        let segment = self.segment(&location)?;
        let ahead = match location.extents {
            LocatedExtents::Known(_) => location.runs.into_iter().map(Ahead::Run).collect(),
            LocatedExtents::Indexed(trailer) => {
                vec![Ahead::Indexed(IndexedRange { trailer, partition: read.id, from, until: read.until })]
            }
        };
        Some(NextSegment { segment, ahead })
    }

    fn segment(&self, location: &Location) -> Option<SegmentFile> {
        let Location { slot, generation, shape, end, .. } = *location;
        let place = SegmentPlace { wal: self.wal, shape, generation };
        let file = Arc::clone(self.files.read().file(slot)?);
        Some(SegmentFile { place, file, end, block_size: self.block_size, turns: self.pool.turns() })
    }
}

/// Gives a partition's readers access to [`ShardReads`]. They may outlive the shard.
#[derive(Clone, Debug)]
pub(crate) struct WeakShardReads(Weak<ShardReads>);

impl WeakShardReads {
    pub(crate) fn of(reads: &Arc<ShardReads>) -> Self {
        Self(Arc::downgrade(reads))
    }
}

impl DiskReads for WeakShardReads {
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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use rustmq_engine_api::ReadError;
    use rustmq_engine_api::request::{ColdRead, DiskRead, DiskReads, Submitted};
    use rustmq_engine_core::wal::{
        Extent, LocationMap, PlacedBatches, SegmentGeneration, SegmentShape, SharedSegments, SlotId, WalId,
    };
    use rustmq_model::{Offset, Timestamp, TopicIdPartition};
    use tokio::sync::oneshot;

    use super::{ShardReads, WeakShardReads};
    use crate::Metrics;
    use crate::read_pool::{ReadLimits, ReadPool};
    use crate::slot_files::SlotFiles;

    #[test]
    fn a_read_by_an_old_map_comes_back_and_one_without_a_shard_is_refused_as_closed() {
        let memory_bytes = 16 << 20;
        let limits = ReadLimits { threads: 1, reads_max: 1, memory_bytes, damage_timeout: Duration::ZERO };
        let pool = ReadPool::start(limits, 1, &Metrics::default()).unwrap();
        let (old, segments) = (SharedSegments::default(), SharedSegments::default());
        old.add(SlotId(1), SegmentGeneration(1), SegmentShape::new(4096, 1 << 20).unwrap());
        let (first, end, max_timestamp) = (Offset(0), Offset(5), Timestamp(0));
        let extent = Extent { group_offset: 4096, bytes: 100, first, end, max_timestamp, is_damaged: false };
        let mut locations = LocationMap::default();
        locations.extend([PlacedBatches { generation: SegmentGeneration(1), extent }], &old.unindexed());
        let reads = ShardReads::new(WalId([1; 16]), 4096, segments, SlotFiles::default(), pool.clone());
        let of_shard = WeakShardReads::of(&reads);

        let (reply, mut answer) = oneshot::channel();
        let read =
            ColdRead { id: TopicIdPartition::default(), from: first, until: end, max_bytes: 100, at_least_one: true };
        let permit = pool.permits().try_acquire_owned().unwrap();
        let read = DiskRead { read, locations: Arc::new(locations), deadline: Instant::now(), permit, reply };
        let Submitted::Retired(read) = of_shard.submit(Box::new(read)) else { panic!("the segment is not in use") };
        assert!(answer.try_recv().is_err() && pool.permits().available_permits() == 0, "the read keeps its permit");
        drop(reads);
        assert!(matches!(of_shard.submit(read), Submitted::Taken));
        assert!(matches!(answer.try_recv(), Ok(Err(ReadError::Closed))));
        assert_eq!(pool.permits().available_permits(), 1);
    }
}
