//! Reads of what has left memory: from where the machine says that it is, to a job of the read threads.

use std::sync::Arc;

use rustmq_engine_api::request::{ColdRead, DiskRead};
use rustmq_engine_core::shard::{LogRebuild, NextLocation, ReadPlan};
use rustmq_engine_core::wal::read_check::BatchQuery;
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_engine_core::wal::segments::{LocatedExtents, Location};

use crate::driver::ShardDriver;
use crate::read_ahead::{Ahead, IndexedRange, NextPlace};
use crate::read_job::{Destination, ReadJob};
use crate::rebuild_job::RebuildJob;
use crate::segment_file::SegmentFile;

impl ShardDriver {
    /// Hands a read to the read threads. Whoever asked may have gone.
    pub(crate) fn read(&mut self, request: DiskRead) {
        let DiskRead { mut read, room_by, place, reply } = request;
        read.max_bytes = read.max_bytes.min(self.around.reads.read_bytes_max());
        match self.machine.plan_read(&read) {
            Ok(plan) => {
                let job = self.job(&read, plan, Destination::Reader { reply, room_by, place });
                self.around.reads.submit(job);
            }
            Err(error) => drop(reply.send(Err(error))),
        }
    }

    /// Hands a read for a move to the thread that moves. Answers whether that took it.
    pub(crate) fn submit_move(&self, number: u64, read: &ColdRead, plan: ReadPlan) -> bool {
        let mut job = self.job(read, plan, Destination::Move { number });
        // Who frees a full log does not wait for readers.
        job.segment.turns = Arc::default();
        self.around.reads.submit_move(job)
    }

    /// Hands a log that is to be read back to the same thread. Answers whether that took it.
    pub(crate) fn submit_rebuild(&self, number: u64, rebuild: Box<LogRebuild>) -> bool {
        let (files, block_size, done) = (self.files.clone(), self.io.block_size, self.around.events.clone());
        self.around.reads.submit_rebuild(RebuildJob { number, rebuild, files, block_size, done })
    }

    fn job(&self, read: &ColdRead, plan: ReadPlan, destination: Destination) -> ReadJob {
        let ReadPlan { location, next } = plan;
        let segment = self.segment(&location);
        let Location { from, until, extents, runs, .. } = location;
        ReadJob {
            segment,
            extents,
            runs,
            next: next.map(|next| self.next_place(read, next)),
            query: BatchQuery { partition: read.id, from, until },
            max_bytes: read.max_bytes,
            at_least_one: read.at_least_one,
            destination,
            done: self.around.events.clone(),
        }
    }

    fn next_place(&self, read: &ColdRead, next: NextLocation) -> NextPlace {
        let NextLocation { location, from } = next;
        let segment = self.segment(&location);
        let ahead = match location.extents {
            LocatedExtents::Known(_) => location.runs.into_iter().map(Ahead::Run).collect(),
            LocatedExtents::Indexed(trailer) => {
                vec![Ahead::First(IndexedRange { trailer, partition: read.id, from, until: read.until })]
            }
        };
        NextPlace { segment, ahead }
    }

    fn segment(&self, location: &Location) -> SegmentFile {
        let Location { slot, generation, shape, end, .. } = *location;
        let place = SegmentPlace { wal: self.folder.id, shape, generation };
        let file = self.files.file(slot).expect("the file of a segment in use is open");
        let (block_size, turns) = (self.io.block_size, self.around.reads.turns());
        SegmentFile { place, file: Arc::clone(file), end, block_size, turns }
    }
}
