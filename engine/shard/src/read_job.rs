//! A job for a read thread: the batches that are wanted, their location, and the requester.

use std::ops::Range;
use std::time::Instant;

use bytes::Bytes;
use rustmq_engine_api::request::Reply;
use rustmq_engine_api::{Frontiers, ReadBatches, ReadError};
use rustmq_engine_core::wal::SegmentHold;
use rustmq_engine_core::wal::read_check::BatchQuery;
use rustmq_engine_core::wal::segments::LocatedExtents;
use tokio::sync::OwnedSemaphorePermit;

use crate::event::EventSender;
use crate::read_ahead::NextSegment;
use crate::segment_file::SegmentFile;

/// The receiver of the batches.
#[derive(Debug)]
pub(crate) enum Destination {
    /// A reader. The job holds its permit until the answer.
    Reader {
        reply: Reply<Result<ReadBatches, ReadError>>,
        /// The read is refused if it has found no memory by then.
        deadline: Instant,
        permit: OwnedSemaphorePermit,
    },
    /// The shard, which writes the batches again. `number` is that of the shard's request.
    Move { number: u64, done: EventSender },
}

#[derive(Debug)]
pub(crate) struct ReadJob {
    pub segment: SegmentFile,
    /// Keeps the segment from being freed while the job exists.
    pub hold: SegmentHold,
    pub extents: LocatedExtents,
    /// The byte ranges to read ahead after the last of the known extents.
    pub runs: Vec<Range<u32>>,
    /// The segment to read ahead after these, if it is near.
    pub next: Option<NextSegment>,
    pub query: BatchQuery,
    pub max_bytes: usize,
    pub at_least_one: bool,
    pub destination: Destination,
}

impl ReadJob {
    /// Whether nobody waits for the answer any more.
    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(&self.destination, Destination::Reader { reply, .. } if reply.is_closed())
    }

    /// The end of the wait for memory. A move has memory of its own and no deadline.
    pub(crate) const fn deadline(&self) -> Option<Instant> {
        match self.destination {
            Destination::Reader { deadline, .. } => Some(deadline),
            Destination::Move { .. } => None,
        }
    }

    pub(crate) fn answer(self, batches: Result<Vec<Bytes>, ReadError>) {
        if let Destination::Reader { reply, permit: _permit, .. } = self.destination {
            let answer =
                batches.map(|batches| ReadBatches { batches, aborted: Vec::new(), frontiers: Frontiers::default() });
            // A reader that has gone needs no answer.
            let _ = reply.send(answer);
        }
    }
}
