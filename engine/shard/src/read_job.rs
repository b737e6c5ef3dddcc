//! A read that a read thread is to do: what is asked for, where it lies, and who is told.

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
use crate::read_ahead::NextPlace;
use crate::segment_file::SegmentFile;

/// Where the batches go.
#[derive(Debug)]
pub(crate) enum Destination {
    /// With the place in the queue that it was given.
    Reader {
        reply: Reply<Result<ReadBatches, ReadError>>,
        /// Refused if it has not found memory by then.
        room_by: Instant,
        place: OwnedSemaphorePermit,
    },
    /// Back to the shard, to be written anew. The number is that of its question.
    Move { number: u64, done: EventSender },
}

#[derive(Debug)]
pub(crate) struct ReadJob {
    pub segment: SegmentFile,
    /// The segment is not freed while there is the job.
    pub hold: SegmentHold,
    pub extents: LocatedExtents,
    /// Where to read on from the last of known extents.
    pub runs: Vec<Range<u32>>,
    /// Where after that, if it is near.
    pub next: Option<NextPlace>,
    pub query: BatchQuery,
    pub max_bytes: usize,
    pub at_least_one: bool,
    pub destination: Destination,
}

impl ReadJob {
    /// Nobody waits for the answer.
    pub(crate) fn is_abandoned(&self) -> bool {
        matches!(&self.destination, Destination::Reader { reply, .. } if reply.is_closed())
    }

    /// Until when it waits for memory. A move has memory of its own.
    pub(crate) const fn room_by(&self) -> Option<Instant> {
        match self.destination {
            Destination::Reader { room_by, .. } => Some(room_by),
            Destination::Move { .. } => None,
        }
    }

    pub(crate) fn answer(self, batches: Result<Vec<Bytes>, ReadError>) {
        if let Destination::Reader { reply, place: _place, .. } = self.destination {
            let answer =
                batches.map(|batches| ReadBatches { batches, aborted: Vec::new(), frontiers: Frontiers::default() });
            // A reader that has gone does not need it.
            let _ = reply.send(answer);
        }
    }
}
