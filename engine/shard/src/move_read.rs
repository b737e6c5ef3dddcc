//! Reads batches back to be moved, on a thread of its own, and finds out how much of them cannot be read: the log must not wait for ever for
//! what a device has lost.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use rustmq_engine_api::chunk::ChunkPool;
use rustmq_engine_core::shard::{MoveError, READ_ATTEMPTS};
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_model::{Offset, TopicIdPartition};

use crate::aside::keep_segment;
use crate::dio::read_at;
use crate::event::Event;
use crate::read_job::{Destination, ReadJob};
use crate::read_memory::ReadMemory;
use crate::read_queue::WARM;
use crate::reader::Reader;
use crate::rebuild_job::RebuildJob;
use crate::segment_file::SegmentFile;
use crate::window::WindowError;
use crate::window_cache::{Demand, WindowCache};

/// Memory for what is read to be moved.
const MOVE_MEMORY: usize = 32 << 20;
/// A segment is not given up before this while neither of its ends can be read, or while reads fail in another way than those of a lost sector:
/// a path to the device that is down comes back. A device that still fails after it has lost the data.
const PATIENCE_WITH_DEVICE: Duration = Duration::from_secs(600);
/// Segments of which it is remembered that reads of them fail.
const FAILING_MAX: usize = 64;

/// What the thread does.
#[derive(Debug)]
pub(crate) enum ReadBack {
    Move(Box<ReadJob>),
    Rebuild(RebuildJob),
}

impl ReadBack {
    pub(crate) const KINDS: usize = 2;
}

/// A segment that cannot be read everywhere.
#[derive(Clone, Copy, Debug)]
struct Failing {
    place: SegmentPlace,
    /// Where the last read that failed was to begin.
    of: (TopicIdPartition, Offset),
    /// The least of what the failed reads from there say.
    until: Offset,
    /// The first failure there, whatever was suspected. One that is followed by success, or by nothing for as long as patience lasts, is forgotten.
    first: Instant,
    /// The first one since the device last failed.
    since: Instant,
    /// Since when each failure has been one of [`Suspect::Device`]; `None` if the last one was not.
    device_since: Option<Instant>,
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
    /// How long a place must be unreadable in a segment that can be read at its ends.
    patience: Duration,
    /// See [`PATIENCE_WITH_DEVICE`].
    patience_with_device: Duration,
}

/// The likely cause of a job's failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspect {
    /// The group that was asked for, and nothing around it.
    Place,
    /// The device, or the path to it.
    Device,
}

impl Mover {
    pub(crate) fn new(reader: &Reader, patience: Duration) -> Self {
        let memory = ReadMemory::new(MOVE_MEMORY, Gauge::default(), Arc::default());
        let windows = Arc::new(WindowCache::new(memory.clone(), reader.metrics.clone()));
        let reader = Reader { windows, memory, ..reader.clone() };
        Self { reader, failing: VecDeque::new(), patience, patience_with_device: PATIENCE_WITH_DEVICE }
    }

    /// Until nobody can send any more. The next job is likely to want the same windows, so they are kept for a while.
    pub(crate) fn run(&mut self, inbox: &mpsc::Receiver<ReadBack>) {
        while let Ok(job) = inbox.recv() {
            let mut next = Some(job);
            while let Some(job) = next {
                match job {
                    ReadBack::Move(job) => self.run_move(*job),
                    ReadBack::Rebuild(job) => job.run(),
                }
                next = inbox.recv_timeout(WARM).ok();
            }
            self.reader.windows.sweep();
        }
    }

    fn run_move(&mut self, job: ReadJob) {
        // One job that panics must not take the thread with it, which all shards need. What it leaves is consistent between any two steps.
        let batches = catch_unwind(AssertUnwindSafe(|| self.read(&job))).unwrap_or_else(|_| {
            let reason = "the thread that reads has panicked".to_owned();
            Err(MoveError::Later { reason })
        });
        let ReadJob { destination, hold, .. } = job;
        // Before the shard hears of it, which may have to free the segment then.
        drop(hold);
        if let Destination::Move { number, done } = destination {
            done.send(Event::MoveRead { number, batches });
        }
    }

    /// At least one batch, or the reason why there is none.
    fn read(&mut self, job: &ReadJob) -> Result<Vec<Bytes>, MoveError> {
        // It may lack what could not be read for a moment.
        self.reader.indexes.forget_rebuilt(job.segment.place);
        let mut suspect = Suspect::Device;
        let mut reason = String::new();
        for attempt in 0..READ_ATTEMPTS {
            // Before the last one, which finds a path that has just come back.
            if attempt + 1 == READ_ATTEMPTS && is_readable_at_its_ends(&job.segment) {
                suspect = Suspect::Place;
            }
            let found = self.reader.find(job, Demand::Reader);
            if !found.batches.is_empty() {
                self.note_success(job);
                return Ok(self.count(self.reader.bytes_of(&found.batches)));
            }
            reason = match found.error {
                Some(WindowError::Damaged { reason }) => reason,
                None => format!("{}: the batch is not in its group", job.segment.file.path.display()),
                Some(WindowError::Failed { reason }) => {
                    suspect = Suspect::Device;
                    reason
                }
                Some(error @ (WindowError::NoRoom { .. } | WindowError::Hindered { .. })) => return Err(later(error)),
            };
        }
        let until = self.damaged_until(job)?;
        let (patience, patience_with_device) = (self.patience, self.patience_with_device);
        let failing = self.note_failure(job, until, suspect);
        let is_lost = match failing.device_since {
            None => failing.since.elapsed() >= patience,
            Some(since) => since.elapsed() >= patience_with_device,
        };
        // Where place and device are suspected in turn, neither time comes to its end. The place has its own beyond the device's.
        let is_lost = is_lost || failing.first.elapsed() >= patience_with_device.saturating_add(patience);
        if !is_lost {
            return Err(MoveError::Later { reason });
        }
        if !std::mem::replace(&mut failing.is_given_up, true) {
            keep(job);
        }
        Err(MoveError::Damaged { until: failing.until, reason })
    }

    fn note_success(&mut self, job: &ReadJob) {
        // What is given up stays so, unless it was the device: then it is suspected anew.
        self.failing.retain(|failing| {
            failing.place != job.segment.place || (failing.is_given_up && failing.device_since.is_none())
        });
    }

    fn note_failure(&mut self, job: &ReadJob, until: Offset, suspect: Suspect) -> &mut Failing {
        let (place, of, now) = (job.segment.place, (job.query.partition, job.query.from), Instant::now());
        let known = self.failing.iter().position(|failing| failing.place == place);
        let failing = match known.and_then(|at| self.failing.remove(at)) {
            Some(known) if known.last.elapsed() < PATIENCE_WITH_DEVICE && (known.of == of || known.is_given_up) => {
                let until = if known.of == of { known.until.min(until) } else { until };
                let first = if known.of == of { known.first } else { now };
                Failing { of, until, first, last: now, ..known }
            }
            _ => {
                Failing { place, of, until, first: now, since: now, device_since: None, last: now, is_given_up: false }
            }
        };
        let device_since = (suspect == Suspect::Device).then(|| failing.device_since.unwrap_or(now));
        // As long as the device did not answer, nothing was heard of the place.
        let failing = match failing.device_since {
            Some(_) if device_since.is_none() => Failing { since: now, is_given_up: false, ..failing },
            _ => failing,
        };
        if self.failing.len() == FAILING_MAX {
            self.failing.pop_front();
        }
        self.failing.push_back(Failing { device_since, ..failing });
        self.failing.back_mut().expect("it was put there")
    }

    fn count(&self, batches: Vec<Bytes>) -> Vec<Bytes> {
        self.reader.metrics.cold_reads.inc();
        self.reader.metrics.cold_read_bytes.inc_by(batches.iter().map(|batch| batch.len() as u64).sum());
        batches
    }

    /// The end of the batches in the group of the first offset asked for. If no group has that offset, the next offset that one has; if the
    /// groups are not known, because the index is lost as well, the end of the offsets asked for.
    fn damaged_until(&self, job: &ReadJob) -> Result<Offset, MoveError> {
        let extents = match self.reader.places(job) {
            Ok(places) => places.extents,
            Err(WindowError::Damaged { .. } | WindowError::Failed { .. }) => Vec::new(),
            Err(error @ (WindowError::NoRoom { .. } | WindowError::Hindered { .. })) => return Err(later(error)),
        };
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
    use rustmq_engine_core::wal::read_check::BatchQuery;
    use rustmq_engine_core::wal::segments::LocatedExtents;
    use rustmq_engine_core::wal::{Run, Trailer};
    use rustmq_model::{Offset, TopicIdPartition};

    use super::{MOVE_MEMORY, MoveError, Mover, Suspect};
    use crate::dio::spoiled::SpoiledFile;
    use crate::event::EventSender;
    use crate::metrics::Metrics;
    use crate::read_job::{Destination, ReadJob};
    use crate::read_memory::ReadMemory;
    use crate::reader::Reader;
    use crate::window::tests::{BLOCK, TestSegment};
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
        let extents: Vec<_> = (first..test.offsets.len()).map(|at| test.extent(at)).collect();
        let (from, until) = (extents[0].first, extents.last().unwrap().end);
        ReadJob {
            segment: test.segment.clone(),
            hold: test.hold(),
            extents: LocatedExtents::Known(extents),
            runs: Vec::new(),
            next: None,
            query: BatchQuery { partition: TopicIdPartition::default(), from, until },
            max_bytes: 1 << 20,
            at_least_one: true,
            destination: Destination::Move { number: 1, done: EventSender::channel(1).0 },
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

    /// Makes one group of the test's segment unreadable.
    fn spoiled(test: &TestSegment, group: usize, errno: i32) -> SpoiledFile {
        let file = SpoiledFile::new(&test.segment.file.path);
        let at = u64::from(test.offsets[group]);
        file.spoil(at..at + 1, errno);
        file
    }

    /// A mover that gives up at once where this is the suspect, and never where the other one is.
    fn mover_that_gives_up(suspect: Suspect) -> Mover {
        let mut mover = mover();
        match suspect {
            Suspect::Device => mover.patience_with_device = Duration::ZERO,
            Suspect::Place => mover.patience = Duration::ZERO,
        }
        mover
    }

    #[test]
    fn a_segment_that_cannot_be_read_at_its_ends_is_given_up_much_later() {
        let test = TestSegment::new(1, &[100, 100]);
        let file = spoiled(&test, 0, 5);
        let length = u64::from(test.segment.place.shape.length());
        file.spoil(0..1, 5);
        file.spoil(length - 1..length, 5);
        let mut mover = mover_that_gives_up(Suspect::Place);
        let read = mover.read(&job(&test, 0));
        assert!(matches!(&read, Err(MoveError::Later { .. })), "{read:?}");
        mover.patience_with_device = Duration::ZERO;
        let read = mover.read(&job(&test, 0));
        assert!(matches!(&read, Err(MoveError::Damaged { until: Offset(1), .. })), "{read:?}");

        // At one end it can: then it is the place.
        file.mend();
        mover.patience_with_device = Duration::from_secs(3_600);
        let at = u64::from(test.offsets[0]);
        file.spoil(at..at + 1, 5);
        file.spoil(0..1, 5);
        mover.reader.windows.sweep();
        let read = mover.read(&job(&test, 0));
        assert!(matches!(&read, Err(MoveError::Damaged { .. })), "{read:?}");
    }

    #[test]
    fn a_place_is_suspected_from_when_the_device_answers_again() {
        let test = TestSegment::new(1, &[100, 100]);
        let job = job(&test, 0);
        let mut mover = mover();
        let first = mover.note_failure(&job, Offset(1), Suspect::Device).since;
        while first.elapsed() < Duration::from_millis(20) {
            std::thread::sleep(Duration::from_millis(5));
        }
        let failing = mover.note_failure(&job, Offset(1), Suspect::Place);
        assert!(failing.device_since.is_none());
        let place_since = failing.since;
        assert!(place_since >= first + Duration::from_millis(20), "the outage does not count");
        assert_eq!(mover.note_failure(&job, Offset(1), Suspect::Place).since, place_since, "it goes on from there");
        // Where the two alternate, neither of their times comes to its end.
        mover.note_failure(&job, Offset(1), Suspect::Device);
        assert!(mover.note_failure(&job, Offset(1), Suspect::Place).since > place_since);
        assert!(mover.failing[0].first <= first);
        mover.patience_with_device = Duration::from_millis(10);
        mover.patience = Duration::from_millis(10);
        mover.failing[0].since = Instant::now() + Duration::from_secs(3_600);
        let _file = spoiled(&test, 0, 5);
        let read = mover.read(&job);
        assert!(matches!(&read, Err(MoveError::Damaged { .. })), "{read:?}");
    }

    #[test]
    fn what_a_device_failed_at_is_suspected_anew_after_a_success() {
        let test = TestSegment::new(1, &[100, 100]);
        let job = job(&test, 0);
        let mut mover = mover();
        mover.note_failure(&job, Offset(1), Suspect::Place).is_given_up = true;
        mover.note_success(&job);
        assert!(mover.failing[0].is_given_up, "one place of the segment is lost all the same");
        mover.note_failure(&job, Offset(1), Suspect::Device);
        mover.note_success(&job);
        assert!(mover.failing.is_empty());
    }

    #[test]
    fn another_failure_of_the_device_is_damage_in_the_end_and_a_shortage_never() {
        const ETIMEDOUT: i32 = 110;
        const ENOMEM: i32 = 12;
        for (errno, is_damage) in [(ETIMEDOUT, true), (ENOMEM, false)] {
            let test = TestSegment::new(1, &[100, 100]);
            let _file = spoiled(&test, 0, errno);
            let read = mover_that_gives_up(Suspect::Place).read(&job(&test, 0));
            assert!(matches!(&read, Err(MoveError::Later { .. })), "{read:?}");
            let read = mover_that_gives_up(Suspect::Device).read(&job(&test, 0));
            match &read {
                Err(MoveError::Damaged { until: Offset(1), .. }) => assert!(is_damage, "{read:?}"),
                Err(MoveError::Later { .. }) => assert!(!is_damage, "{read:?}"),
                _ => panic!("{read:?}"),
            }
        }
    }

    #[test]
    fn a_device_that_fails_for_a_moment_takes_nothing_of_a_segment_that_is_damaged_long_since() {
        let test = TestSegment::new(1, &[100, 100]);
        let mut mover = mover_that_gives_up(Suspect::Place);
        let file = spoiled(&test, 0, 5);
        assert!(matches!(mover.read(&job(&test, 0)), Err(MoveError::Damaged { .. })));
        // As if that had been an hour ago.
        let long_ago = Duration::from_secs(3_600);
        mover.failing[0].since = Instant::now().checked_sub(long_ago).unwrap();
        mover.patience_with_device = Duration::from_secs(600);
        let whole = u64::from(test.segment.place.shape.length());
        file.spoil(0..whole, 5);
        let read = mover.read(&job(&test, 1));
        assert!(matches!(&read, Err(MoveError::Later { .. })), "{read:?}");
        file.mend();
        assert_eq!(mover.read(&job(&test, 1)).unwrap().len(), 1);
        assert!(mover.failing.iter().all(|failing| failing.device_since.is_none()), "{:?}", mover.failing);
    }

    #[test]
    fn where_not_even_the_index_can_be_read_all_that_is_asked_for_is_given_up_in_the_end() {
        const ETIMEDOUT: i32 = 110;
        let test = TestSegment::new(1, &[100, 100]);
        let file = SpoiledFile::new(&test.segment.file.path);
        file.spoil(0..u64::from(test.segment.place.shape.length()), ETIMEDOUT);
        let (generation, run) = (test.segment.place.generation, Run(1));
        let trailer = Trailer { generation, run, index_group: test.segment.end, end: test.segment.end + BLOCK };
        let job = ReadJob { extents: LocatedExtents::Indexed(trailer), ..job(&test, 0) };
        let mut mover = mover();
        assert!(matches!(mover.read(&job), Err(MoveError::Later { .. })));
        mover.patience_with_device = Duration::ZERO;
        let read = mover.read(&job);
        assert!(matches!(&read, Err(MoveError::Damaged { until: Offset(2), .. })), "{read:?}");
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
