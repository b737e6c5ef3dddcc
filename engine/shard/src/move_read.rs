//! Reads batches back to be moved, on a thread of its own, and finds out how much of them cannot be read: the log must not wait for ever for
//! what a device has lost.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use rustmq_engine_api::chunk::ChunkPool;
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_model::{Offset, TopicIdPartition};

use crate::aside::keep_segment;
use crate::dio::read_at;
use crate::event::Event;
use crate::read_memory::ReadMemory;
use crate::read_queue::WARM;
use crate::reads::{ReadJob, Reader};
use crate::window::{SegmentFile, WindowError};
use crate::window_cache::{Demand, WindowCache};

/// Memory for what is read to be moved.
const MOVE_MEMORY: usize = 32 << 20;
/// Reads in a row that must fail: a device may fail once what it can do.
const ATTEMPTS: u32 = 3;
/// For so long after the first failure in a segment nothing of it is given up while not even its ends can be read: a path to the device that is down
/// comes back. In the end they may be what the device has lost.
const PATIENCE_WITH_SILENCE: Duration = Duration::from_secs(600);
/// Segments of which it is remembered that reads of them fail.
const FAILING_MAX: usize = 64;

/// Why a move cannot go on with a range of offsets.
#[derive(Debug)]
pub(crate) enum MoveError {
    /// For a reason that may pass: the shard asks again.
    Later { reason: String },
    /// The batches from the first offset asked for on, up to `until`, cannot be read back.
    Damaged { until: Offset, reason: String },
}

/// A segment that cannot be read everywhere.
#[derive(Clone, Copy, Debug)]
struct Failing {
    place: SegmentPlace,
    /// Where the last read that failed was to begin.
    of: (TopicIdPartition, Offset),
    /// The least of what the failed reads from there say.
    until: Offset,
    /// The first failure. One that is followed by success, or by nothing for as long as patience lasts, is forgotten.
    since: Instant,
    last: Instant,
    /// Something of the segment was given up: what else cannot be read need not wait anew.
    is_given_up: bool,
}

/// Reads for one move at a time, for all shards. It waits for nothing: a move that failed is asked for again by its shard, and others go on meanwhile.
#[derive(Debug)]
pub(crate) struct Mover {
    /// With memory and windows of its own: what frees the log does not wait for readers.
    reader: Reader,
    /// By their last failure.
    failing: VecDeque<Failing>,
    /// The same for a segment that can be read at its ends.
    patience: Duration,
}

impl Mover {
    pub(crate) fn new(reader: &Reader, patience: Duration) -> Self {
        let memory = ReadMemory::new(MOVE_MEMORY, Gauge::default(), Arc::default());
        let windows = Arc::new(WindowCache::new(memory.clone(), reader.metrics.clone()));
        Self { reader: Reader { windows, memory, ..reader.clone() }, failing: VecDeque::new(), patience }
    }

    /// Until nobody can send any more. The next job is likely to want the same windows, so they are kept for a while.
    pub(crate) fn run(&mut self, inbox: &mpsc::Receiver<ReadJob>) {
        while let Ok(job) = inbox.recv() {
            let mut next = Some(job);
            while let Some(job) = next {
                // One job that panics must not take the thread with it, which all shards need. What it leaves is consistent between any two steps.
                let batches = catch_unwind(AssertUnwindSafe(|| self.read(&job))).unwrap_or_else(|_| {
                    let reason = "the thread that reads has panicked".to_owned();
                    Err(MoveError::Later { reason })
                });
                let (partition, generation) = (job.query.partition, job.segment.place.generation);
                job.done.send(Event::MoveRead { partition, generation, batches });
                job.done.release(generation);
                next = inbox.recv_timeout(WARM).ok();
            }
            self.reader.windows.sweep();
        }
    }

    /// At least one batch, or the reason why there is none.
    fn read(&mut self, job: &ReadJob) -> Result<Vec<Bytes>, MoveError> {
        // It may lack what could not be read for a moment.
        self.reader.indexes.forget_rebuilt(job.segment.place);
        let mut patience = None;
        let mut reason = String::new();
        for attempt in 0..ATTEMPTS {
            if attempt + 1 == ATTEMPTS {
                // Before the last one, which finds a path that has just come back.
                patience = is_readable_at_its_ends(&job.segment).then_some(self.patience);
            }
            let found = self.reader.find(job, Demand::Reader);
            if !found.batches.is_empty() {
                self.failing.retain(|failing| failing.place != job.segment.place || failing.is_given_up);
                return Ok(self.count(self.reader.bytes_of(&found.batches)));
            }
            reason = match found.error {
                Some(WindowError::Damaged { reason }) => reason,
                None => format!("{}: the batch is not in its group", job.segment.file.path.display()),
                Some(error) => return Err(later(error)),
            };
        }
        let until = self.damaged_until(job)?;
        let patience = patience.unwrap_or(PATIENCE_WITH_SILENCE);
        let failing = self.note_failure(job, until);
        if failing.since.elapsed() < patience {
            return Err(MoveError::Later { reason });
        }
        if !std::mem::replace(&mut failing.is_given_up, true) {
            keep(job);
        }
        Err(MoveError::Damaged { until: failing.until, reason })
    }

    fn note_failure(&mut self, job: &ReadJob, until: Offset) -> &mut Failing {
        let (place, of, now) = (job.segment.place, (job.query.partition, job.query.from), Instant::now());
        let known = self.failing.iter().position(|failing| failing.place == place);
        let failing = match known.and_then(|at| self.failing.remove(at)) {
            Some(known) if known.last.elapsed() < PATIENCE_WITH_SILENCE && (known.of == of || known.is_given_up) => {
                let until = if known.of == of { known.until.min(until) } else { until };
                Failing { of, until, last: now, ..known }
            }
            _ => Failing { place, of, until, since: now, last: now, is_given_up: false },
        };
        if self.failing.len() == FAILING_MAX {
            self.failing.pop_front();
        }
        self.failing.push_back(failing);
        self.failing.back_mut().expect("it was put there")
    }

    fn count(&self, batches: Vec<Bytes>) -> Vec<Bytes> {
        self.reader.metrics.cold_reads.inc();
        self.reader.metrics.cold_read_bytes.inc_by(batches.iter().map(|batch| batch.len() as u64).sum());
        batches
    }

    /// How far the batches go that stand in the group of the first offset asked for; where no group has it, up to the next that one has.
    fn damaged_until(&self, job: &ReadJob) -> Result<Offset, MoveError> {
        let extents = self.reader.extents(job).map_err(later)?;
        let until = extents
            .first()
            .map_or(job.query.until, |extent| if extent.first > job.query.from { extent.first } else { extent.end });
        Ok(until.min(job.query.until))
    }
}

fn later(error: WindowError) -> MoveError {
    let reason =
        error.into_read_error().map_or_else(|| "there is no memory to read into".to_owned(), |error| error.to_string());
    MoveError::Later { reason }
}

/// Whether the device answers for the segment's first or last block. Where it answers for neither, its fault is not one group's.
fn is_readable_at_its_ends(segment: &SegmentFile) -> bool {
    let last = segment.place.shape.length().saturating_sub(segment.block_size);
    let pool = ChunkPool::default();
    [0, last]
        .into_iter()
        .any(|at| read_at(&segment.file.file, u64::from(at), segment.block_size as usize, &pool).is_ok())
}

/// The damage is left for whoever looks into it, before the slot is used again.
fn keep(job: &ReadJob) {
    let path = &job.segment.file.path;
    match keep_segment(path, job.segment.place.generation) {
        Ok(copy) => {
            tracing::error!(path = %path.display(), copy = %copy.display(), "a damaged segment is kept as a copy");
        }
        Err(error) => tracing::error!(path = %path.display(), %error, "a damaged segment is not kept"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use prometheus_client::metrics::gauge::Gauge;
    use rustmq_engine_core::wal::Extent;
    use rustmq_engine_core::wal::read_check::BatchQuery;
    use rustmq_engine_core::wal::segments::LocatedExtents;
    use rustmq_model::{Offset, Timestamp, TopicIdPartition};

    use super::{MOVE_MEMORY, MoveError, Mover};
    use crate::event::EventSender;
    use crate::metrics::Metrics;
    use crate::read_memory::ReadMemory;
    use crate::reads::{Destination, ReadJob, Reader};
    use crate::window::tests::TestSegment;
    use crate::window_cache::WindowCache;

    fn mover() -> Mover {
        let (metrics, queue) = (Metrics::default(), Arc::default());
        let memory = ReadMemory::new(1 << 20, Gauge::default(), Arc::clone(&queue));
        let windows = Arc::new(WindowCache::new(memory.clone(), metrics.clone()));
        let reader = Reader { indexes: Arc::default(), followers: Arc::default(), windows, memory, queue, metrics };
        Mover::new(&reader, Duration::from_secs(3_600))
    }

    /// Asks for the batches of the groups from that one on.
    fn job(test: &TestSegment, first: usize) -> ReadJob {
        let extent = |at: usize| {
            let offset = i64::try_from(at).unwrap();
            let (first, end) = (Offset(offset), Offset(offset + 1));
            let group_offset = test.offsets[at];
            Extent { group_offset, bytes: 1, first, end, max_timestamp: Timestamp(1), is_damaged: false }
        };
        let extents: Vec<_> = (first..test.offsets.len()).map(extent).collect();
        let (from, until) = (extents[0].first, extents.last().unwrap().end);
        ReadJob {
            segment: test.segment.clone(),
            extents: LocatedExtents::Known(extents),
            query: BatchQuery { partition: TopicIdPartition::default(), from, until },
            max_bytes: 1 << 20,
            at_least_one: true,
            room_by: Instant::now(),
            destination: Destination::Move,
            done: EventSender::channel(1).0,
        }
    }

    #[test]
    fn a_move_that_finds_no_memory_is_told_so() {
        let (mut mover, test) = (mover(), TestSegment::new(1, &[100, 100]));
        let held = mover.reader.memory.take(MOVE_MEMORY).unwrap();
        let read = mover.read(&job(&test, 0));
        assert!(matches!(&read, Err(MoveError::Later { .. })), "{read:?}");
        drop(held);
        assert_eq!(mover.read(&job(&test, 0)).unwrap().len(), 2);
    }

    #[test]
    fn a_group_that_cannot_be_read_is_given_up_after_a_while_and_its_segment_kept() {
        let (mut mover, test) = (mover(), TestSegment::new(3, &[100, 100, 100]));
        test.damage(test.offsets[1] + 200);
        assert_eq!(mover.read(&job(&test, 0)).unwrap().len(), 1, "what is before the damage");
        let copy = test.segment.file.path.with_extension("generation-3.damaged");
        for _ in 0..2 {
            let read = mover.read(&job(&test, 1));
            assert!(matches!(&read, Err(MoveError::Later { .. })), "{read:?}");
            assert!(!copy.exists());
        }
        // Once more is as it was.
        test.damage(test.offsets[1] + 200);
        assert_eq!(mover.read(&job(&test, 1)).unwrap().len(), 2, "it was for a moment only");
        mover.reader.windows.sweep();
        test.damage(test.offsets[1] + 200);
        assert!(matches!(mover.read(&job(&test, 1)), Err(MoveError::Later { .. })));
        mover.patience = Duration::ZERO;
        let read = mover.read(&job(&test, 1));
        let Err(MoveError::Damaged { until, reason }) = read else { panic!("{read:?}") };
        assert_eq!(until, Offset(2));
        assert!(reason.contains(&format!("offset {}", test.offsets[1])), "{reason}");
        assert!(std::fs::read(copy).unwrap() == std::fs::read(&test.segment.file.path).unwrap());
        assert_eq!(mover.read(&job(&test, 2)).unwrap().len(), 1);
    }
}
