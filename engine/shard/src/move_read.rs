//! Reads batches back for moves, on a thread of its own, and decides how many of them count as
//! damaged: the log must not wait forever for data that a device has lost.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus_client::metrics::gauge::Gauge;
use rustmq_engine_core::shard::{MoveError, READ_ATTEMPTS};
use rustmq_engine_core::wal::scan::SegmentPlace;
use rustmq_engine_memory::ChunkPool;
use rustmq_model::{Offset, TopicIdPartition};

use crate::damaged_copies::copy_damaged_segment;
use crate::direct_io::read_at;
use crate::event::Event;
use crate::read_job::{Destination, ReadJob};
use crate::read_memory::ReadMemory;
use crate::read_queue::IDLE_SWEEP_AFTER;
use crate::reader::Reader;
use crate::rebuild_job::RebuildJob;
use crate::segment_file::SegmentFile;
use crate::window::WindowError;
use crate::window_cache::{Demand, WindowCache};

/// The memory for reads of moves, in bytes.
const MOVE_MEMORY: usize = 32 << 20;
/// How long a segment must be unreadable before its data counts as lost, while neither of its ends
/// can be read, or while reads fail otherwise than for a lost sector: a path to the device may come
/// back. A device that still fails after this time has lost the data.
const DEVICE_TIMEOUT: Duration = Duration::from_secs(600);
/// The number of failing segments that are remembered.
const FAILING_SEGMENTS_MAX: usize = 64;

/// A job of the mover thread.
#[derive(Debug)]
pub(crate) enum ReadBack {
    Move(Box<ReadJob>),
    Rebuild(RebuildJob),
}

impl ReadBack {
    /// A shard has at most one job of each kind at a time.
    pub(crate) const KINDS: usize = 2;
}

/// A segment with places that cannot be read.
#[derive(Clone, Copy, Debug)]
struct FailingSegment {
    place: SegmentPlace,
    /// The partition and offset where the last failed read began.
    of: (TopicIdPartition, Offset),
    /// The smallest end of the damage that the failed reads from there reported.
    until: Offset,
    /// The first failure of reads from there, whatever was suspected. Forgotten after a success, or
    /// after [`DEVICE_TIMEOUT`] without another failure.
    first: Instant,
    /// The first failure since the device last failed.
    since: Instant,
    /// Since when every failure has been one of [`Suspect::Device`]; `None` if the last one was
    /// not.
    device_since: Option<Instant>,
    last: Instant,
    /// Whether some data of the segment counts as lost. Then other unreadable places in it need no
    /// wait of their own.
    is_abandoned: bool,
}

/// Reads for one move at a time, for all shards. Never waits: the shard retries a failed move, and
/// other moves continue meanwhile.
#[derive(Debug)]
pub(crate) struct Mover {
    /// Has memory and windows of its own, so that freeing the log does not wait for readers.
    reader: Reader,
    /// In the order of their last failures.
    failing: VecDeque<FailingSegment>,
    /// How long a place must be unreadable in a segment that can be read at one of its ends.
    place_timeout: Duration,
    /// See [`DEVICE_TIMEOUT`].
    device_timeout: Duration,
}

/// The likely cause of a job's failures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suspect {
    /// Only the requested group.
    Place,
    /// The device, or the path to it.
    Device,
}

impl Mover {
    pub(crate) fn new(reader: &Reader, place_timeout: Duration) -> Self {
        let memory = ReadMemory::new(MOVE_MEMORY, Gauge::default(), Arc::default());
        let windows = Arc::new(WindowCache::new(memory.clone(), reader.metrics.clone()));
        let reader = Reader { windows, memory, ..reader.clone() };
        Self { reader, failing: VecDeque::new(), place_timeout, device_timeout: DEVICE_TIMEOUT }
    }

    /// Runs until every sender is dropped. Keeps the windows for a while, because the next job is
    /// likely to need the same ones.
    pub(crate) fn run(&mut self, inbox: &mpsc::Receiver<ReadBack>) {
        while let Ok(job) = inbox.recv() {
            let mut next = Some(job);
            while let Some(job) = next {
                match job {
                    ReadBack::Move(job) => self.run_move(*job),
                    ReadBack::Rebuild(job) => job.run(),
                }
                next = inbox.recv_timeout(IDLE_SWEEP_AFTER).ok();
            }
            self.reader.windows.sweep();
        }
    }

    fn run_move(&mut self, job: ReadJob) {
        // A panic of one job must not end the thread, which all shards need. The state is
        // consistent between any two steps.
        let batches = catch_unwind(AssertUnwindSafe(|| self.read(&job))).unwrap_or_else(|_| {
            let reason = "the thread that reads has panicked".to_owned();
            Err(MoveError::Later { reason })
        });
        let ReadJob { destination, hold, .. } = job;
        // Released before the shard gets the event, because the shard may then have to free the
        // segment.
        drop(hold);
        if let Destination::Move { number, done } = destination {
            done.send(Event::MoveRead { number, batches });
        }
    }

    /// Reads at least one batch, or returns the reason why it cannot.
    fn read(&mut self, job: &ReadJob) -> Result<Vec<Bytes>, MoveError> {
        // A rebuilt index may lack groups that were unreadable only for a moment.
        self.reader.indexes.forget_rebuilt(job.segment.place);
        let mut suspect = Suspect::Device;
        let mut reason = String::new();
        for attempt in 0..READ_ATTEMPTS {
            // Checked before the last attempt, so that the attempt succeeds if the path has just
            // come back.
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
                Some(WindowError::Lost { first, end }) => {
                    format!("offsets {first} to {} are marked as damaged", end.0 - 1)
                }
                None => format!("{}: the batch is not in its group", job.segment.file.path.display()),
                Some(WindowError::Failed { reason }) => {
                    suspect = Suspect::Device;
                    reason
                }
                Some(error @ (WindowError::NoMemory { .. } | WindowError::Hindered { .. })) => {
                    return Err(later(error));
                }
            };
        }
        let until = self.damaged_until(job)?;
        let (place_timeout, device_timeout) = (self.place_timeout, self.device_timeout);
        let failing = self.note_failure(job, until, suspect);
        let is_lost = match failing.device_since {
            None => failing.since.elapsed() >= place_timeout,
            Some(since) => since.elapsed() >= device_timeout,
        };
        // If place and device are suspected alternately, neither timeout passes. The sum of both
        // bounds this case.
        let is_lost = is_lost || failing.first.elapsed() >= device_timeout.saturating_add(place_timeout);
        if !is_lost {
            return Err(MoveError::Later { reason });
        }
        if !std::mem::replace(&mut failing.is_abandoned, true) {
            keep_copy(job);
        }
        Err(MoveError::Damaged { until: failing.until, reason })
    }

    fn note_success(&mut self, job: &ReadJob) {
        // Data that counts as lost remains so, unless the device was the suspect: then it is
        // suspected anew.
        self.failing.retain(|failing| {
            failing.place != job.segment.place || (failing.is_abandoned && failing.device_since.is_none())
        });
    }

    fn note_failure(&mut self, job: &ReadJob, until: Offset, suspect: Suspect) -> &mut FailingSegment {
        let (place, of, now) = (job.segment.place, (job.query.partition, job.query.from), Instant::now());
        let known = self.failing.iter().position(|failing| failing.place == place);
        let failing = match known.and_then(|at| self.failing.remove(at)) {
            Some(known) if known.last.elapsed() < DEVICE_TIMEOUT && (known.of == of || known.is_abandoned) => {
                let until = if known.of == of { known.until.min(until) } else { until };
                let first = if known.of == of { known.first } else { now };
                FailingSegment { of, until, first, last: now, ..known }
            }
            _ => FailingSegment {
                place,
                of,
                until,
                first: now,
                since: now,
                device_since: None,
                last: now,
                is_abandoned: false,
            },
        };
        let device_since = (suspect == Suspect::Device).then(|| failing.device_since.unwrap_or(now));
        // While the device did not answer, nothing was learnt about the place.
        let failing = match failing.device_since {
            Some(_) if device_since.is_none() => FailingSegment { since: now, is_abandoned: false, ..failing },
            _ => failing,
        };
        if self.failing.len() == FAILING_SEGMENTS_MAX {
            self.failing.pop_front();
        }
        self.failing.push_back(FailingSegment { device_since, ..failing });
        self.failing.back_mut().expect("it was pushed above")
    }

    fn count(&self, batches: Vec<Bytes>) -> Vec<Bytes> {
        self.reader.metrics.cold_reads.inc();
        self.reader.metrics.cold_read_bytes.inc_by(batches.iter().map(|batch| batch.len() as u64).sum());
        batches
    }

    /// The end of the batches in the group of the first requested offset. If no group has that
    /// offset, the next offset that a group has. If the groups are unknown because the index is
    /// lost as well, the end of the requested offsets.
    fn damaged_until(&self, job: &ReadJob) -> Result<Offset, MoveError> {
        let extents = match self.reader.locate(job) {
            Ok(locations) => locations.extents,
            Err(WindowError::Damaged { .. } | WindowError::Lost { .. } | WindowError::Failed { .. }) => Vec::new(),
            Err(error @ (WindowError::NoMemory { .. } | WindowError::Hindered { .. })) => return Err(later(error)),
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

/// Whether the device answers a read of the segment's first or last block. A device that answers
/// neither has lost more than one group.
fn is_readable_at_its_ends(segment: &SegmentFile) -> bool {
    let last = segment.place.shape.length().saturating_sub(segment.block_size);
    let pool = ChunkPool::default();
    [0, last]
        .into_iter()
        .any(|at| read_at(&segment.file.file, u64::from(at), segment.block_size as usize, &pool).is_ok())
}

/// Keeps a copy of the damaged segment for later investigation, before its slot is reused.
fn keep_copy(job: &ReadJob) {
    let path = &job.segment.file.path;
    match copy_damaged_segment(path, job.segment.place.generation) {
        Ok(copy) => {
            tracing::error!(path = %path.display(), copy = %copy.display(), "a damaged segment was copied for investigation");
        }
        Err(error) => tracing::error!(path = %path.display(), %error, "a damaged segment cannot be copied"),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use prometheus_client::metrics::gauge::Gauge;
    use rustmq_engine_core::tagged_fields::CRITICAL;
    use rustmq_engine_core::wal::read_check::BatchQuery;
    use rustmq_engine_core::wal::segments::LocatedExtents;
    use rustmq_engine_core::wal::{Trailer, WalSession};
    use rustmq_model::{Offset, TopicIdPartition};

    use super::{MOVE_MEMORY, MoveError, Mover, Suspect};
    use crate::direct_io::spoiled::SpoiledFile;
    use crate::event::EventSender;
    use crate::metrics::Metrics;
    use crate::read_job::{Destination, ReadJob};
    use crate::read_memory::ReadMemory;
    use crate::reader::Reader;
    use crate::window::tests::{BLOCK, TestSegment, tagged_field};
    use crate::window_cache::WindowCache;

    fn mover() -> Mover {
        let (metrics, queue) = (Metrics::default(), Arc::default());
        let memory = ReadMemory::new(1 << 20, Gauge::default(), Arc::clone(&queue));
        let windows = Arc::new(WindowCache::new(memory.clone(), metrics.clone()));
        let reader =
            Reader { indexes: Arc::default(), sequential_reads: Arc::default(), windows, memory, queue, metrics };
        Mover::new(&reader, Duration::from_secs(3_600))
    }

    /// A job for the batches of the groups from `first` on.
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
    fn a_move_that_finds_no_memory_is_retried_later() {
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

    /// A mover without a timeout for this suspect, and with a long one for the other.
    fn mover_without_timeout_for(suspect: Suspect) -> Mover {
        let mut mover = mover();
        match suspect {
            Suspect::Device => mover.device_timeout = Duration::ZERO,
            Suspect::Place => mover.place_timeout = Duration::ZERO,
        }
        mover
    }

    #[test]
    fn a_segment_that_is_unreadable_at_its_ends_counts_as_lost_much_later() {
        let test = TestSegment::new(1, &[100, 100]);
        let file = spoiled(&test, 0, 5);
        let length = u64::from(test.segment.place.shape.length());
        file.spoil(0..1, 5);
        file.spoil(length - 1..length, 5);
        let mut mover = mover_without_timeout_for(Suspect::Place);
        let read = mover.read(&job(&test, 0));
        assert!(matches!(&read, Err(MoveError::Later { .. })), "{read:?}");
        mover.device_timeout = Duration::ZERO;
        let read = mover.read(&job(&test, 0));
        assert!(matches!(&read, Err(MoveError::Damaged { until: Offset(1), .. })), "{read:?}");

        // One end can be read now, so the place is the suspect.
        file.mend();
        mover.device_timeout = Duration::from_secs(3_600);
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
        assert_eq!(
            mover.note_failure(&job, Offset(1), Suspect::Place).since,
            place_since,
            "the time continues from there"
        );
        // If the two alternate, neither timeout passes.
        mover.note_failure(&job, Offset(1), Suspect::Device);
        assert!(mover.note_failure(&job, Offset(1), Suspect::Place).since > place_since);
        assert!(mover.failing[0].first <= first);
        mover.device_timeout = Duration::from_millis(10);
        mover.place_timeout = Duration::from_millis(10);
        mover.failing[0].since = Instant::now() + Duration::from_secs(3_600);
        let _file = spoiled(&test, 0, 5);
        let read = mover.read(&job);
        assert!(matches!(&read, Err(MoveError::Damaged { .. })), "{read:?}");
    }

    #[test]
    fn a_loss_by_the_device_is_suspected_anew_after_a_success() {
        let test = TestSegment::new(1, &[100, 100]);
        let job = job(&test, 0);
        let mut mover = mover();
        mover.note_failure(&job, Offset(1), Suspect::Place).is_abandoned = true;
        mover.note_success(&job);
        assert!(mover.failing[0].is_abandoned, "one place of the segment is lost all the same");
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
            let read = mover_without_timeout_for(Suspect::Place).read(&job(&test, 0));
            assert!(matches!(&read, Err(MoveError::Later { .. })), "{read:?}");
            let read = mover_without_timeout_for(Suspect::Device).read(&job(&test, 0));
            match &read {
                Err(MoveError::Damaged { until: Offset(1), .. }) => assert!(is_damage, "{read:?}"),
                Err(MoveError::Later { .. }) => assert!(!is_damage, "{read:?}"),
                _ => panic!("{read:?}"),
            }
        }
    }

    #[test]
    fn a_short_device_failure_loses_nothing_of_a_segment_that_was_damaged_long_ago() {
        let test = TestSegment::new(1, &[100, 100]);
        let mut mover = mover_without_timeout_for(Suspect::Place);
        let file = spoiled(&test, 0, 5);
        assert!(matches!(mover.read(&job(&test, 0)), Err(MoveError::Damaged { .. })));
        // Pretends that this was an hour ago.
        let long_ago = Duration::from_secs(3_600);
        mover.failing[0].since = Instant::now().checked_sub(long_ago).unwrap();
        mover.device_timeout = Duration::from_secs(600);
        let whole = u64::from(test.segment.place.shape.length());
        file.spoil(0..whole, 5);
        let read = mover.read(&job(&test, 1));
        assert!(matches!(&read, Err(MoveError::Later { .. })), "{read:?}");
        file.mend();
        assert_eq!(mover.read(&job(&test, 1)).unwrap().len(), 1);
        assert!(mover.failing.iter().all(|failing| failing.device_since.is_none()), "{:?}", mover.failing);
    }

    #[test]
    fn without_a_readable_index_the_whole_request_counts_as_lost_in_the_end() {
        const ETIMEDOUT: i32 = 110;
        let test = TestSegment::new(1, &[100, 100]);
        let file = SpoiledFile::new(&test.segment.file.path);
        file.spoil(0..u64::from(test.segment.place.shape.length()), ETIMEDOUT);
        let (generation, session) = (test.segment.place.generation, WalSession(1));
        let trailer = Trailer { generation, session, index_group: test.segment.end, end: test.segment.end + BLOCK };
        let job = ReadJob { extents: LocatedExtents::Indexed(trailer), ..job(&test, 0) };
        let mut mover = mover();
        assert!(matches!(mover.read(&job), Err(MoveError::Later { .. })));
        mover.device_timeout = Duration::ZERO;
        let read = mover.read(&job);
        assert!(matches!(&read, Err(MoveError::Damaged { until: Offset(2), .. })), "{read:?}");
    }

    #[test]
    fn a_batch_moves_with_the_parts_that_follow_it() {
        let (mut mover, fields) = (mover(), tagged_field(5));
        let test = TestSegment::with_tagged_fields(1, &[(100, &fields), (100, &[])]);
        let moved = mover.read(&job(&test, 0)).unwrap();
        assert_eq!(moved[0].len(), moved[1].len() + fields.len());
        assert!(moved[0].ends_with(&fields));
    }

    /// A mover that gives up damaged batches at once.
    fn mover_without_timeouts() -> Mover {
        Mover { place_timeout: Duration::ZERO, device_timeout: Duration::ZERO, ..mover() }
    }

    #[test]
    fn frames_of_a_newer_build_are_never_given_up() {
        let fields = tagged_field(CRITICAL | 5);
        let test = TestSegment::with_tagged_fields(1, &[(100, &[]), (100, &fields), (100, &[])]);
        let mut mover = mover_without_timeouts();
        assert_eq!(mover.read(&job(&test, 0)).unwrap().len(), 1);
        for _ in 0..2 {
            let read = mover.read(&job(&test, 1));
            let Err(MoveError::Later { reason }) = &read else { panic!("{read:?}") };
            assert!(reason.contains("0x8005") && reason.contains("a newer RustMQ wrote it"), "{reason}");
        }
        assert_eq!(mover.read(&job(&test, 2)).unwrap().len(), 1);
        // The same if the index is lost as well, and is built again.
        let (generation, session) = (test.segment.place.generation, WalSession(1));
        let trailer = Trailer { generation, session, index_group: test.segment.end, end: test.segment.end + BLOCK };
        let job = ReadJob { extents: LocatedExtents::Indexed(trailer), ..job(&test, 0) };
        let read = mover.read(&job);
        let Err(MoveError::Later { reason }) = &read else { panic!("{read:?}") };
        assert!(reason.contains(&format!("offset {}: ", test.offsets[1])) && reason.contains("0x8005"), "{reason}");
        assert!(mover.failing.is_empty());
    }

    #[test]
    fn an_unreadable_group_counts_as_lost_after_a_while_and_its_segment_is_copied() {
        let (mut mover, test) = (mover(), TestSegment::new(3, &[100, 100, 100]));
        test.damage(test.offsets[1] + 200);
        assert_eq!(mover.read(&job(&test, 0)).unwrap().len(), 1, "the batch before the damage");
        let copy = test.segment.file.path.with_extension("generation-3.damaged");
        for _ in 0..2 {
            let read = mover.read(&job(&test, 1));
            assert!(matches!(&read, Err(MoveError::Later { .. })), "{read:?}");
            assert!(!copy.exists());
        }
        // Damaging the byte again restores it.
        test.damage(test.offsets[1] + 200);
        assert_eq!(mover.read(&job(&test, 1)).unwrap().len(), 2, "it was for a moment only");
        mover.reader.windows.sweep();
        test.damage(test.offsets[1] + 200);
        assert!(matches!(mover.read(&job(&test, 1)), Err(MoveError::Later { .. })));
        mover.place_timeout = Duration::ZERO;
        let read = mover.read(&job(&test, 1));
        let Err(MoveError::Damaged { until, reason }) = read else { panic!("{read:?}") };
        assert_eq!(until, Offset(2));
        assert!(reason.contains(&format!("offset {}", test.offsets[1])), "{reason}");
        assert!(std::fs::read(copy).unwrap() == std::fs::read(&test.segment.file.path).unwrap());
        assert_eq!(mover.read(&job(&test, 2)).unwrap().len(), 1);
    }
}
