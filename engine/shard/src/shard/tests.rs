//! A shard whose turns and commits the test makes itself, on one thread: what it takes and lays is the same in every run.

#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use rustmq_engine_api::request::{ColdRead, DiskRead, Reply, Request, TimeSearch, TimeTarget};
use rustmq_engine_api::{Append, AppendError, Appended, Engine, LogConfig, OpenPartition, TrimTo};
use rustmq_engine_core::shard::Now;
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    ByteSize, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId,
    TopicIdPartition,
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::Shard;
use crate::clock::Clock;
use crate::config::{Driver, EngineConfig};
use crate::disk::{Disk, DiskError, Step};
use crate::event::Event;
use crate::inboxes::Inboxes;
use crate::move_read::MoveError;
use crate::start::shard_by_hand;

type AppendReply = oneshot::Receiver<Vec<Result<Appended, AppendError>>>;

struct ByHand {
    shard: Box<Shard>,
    disk: Disk,
    clock: Clock,
    /// The senders of the shard's inboxes.
    requests: mpsc::Sender<Request>,
    disk_reads: mpsc::Sender<DiskRead>,
    time_searches: mpsc::Sender<TimeSearch>,
    events: mpsc::Sender<Event>,
    engine: Engine,
    _folder: tempfile::TempDir,
}

fn id(partition: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(7 << 64 | 9), partition: PartitionId(partition) }
}

fn to_append(partition: i32, batch: bytes::Bytes) -> Append {
    let header = BatchHeader::parse(&batch).unwrap();
    Append { id: id(partition), leader_epoch: None, batch, header }
}

impl ByHand {
    /// With partitions 0 and up, on disk.
    fn new(partitions: i32, change: impl FnOnce(&mut EngineConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = EngineConfig::new(folder.path().join("wal"));
        (config.shards, config.driver) = (1, Driver::Epoll);
        (config.segment_size, config.capacity) = (ByteSize::mib(1), ByteSize::mib(32));
        config.retention_interval = Duration::from_secs(86_400);
        change(&mut config);
        let (engine, mut shard, disk, clock) = shard_by_hand(&config).unwrap();
        let (requests, taken_requests) = mpsc::channel(10_000);
        let (disk_reads, taken_reads) = mpsc::channel(10_000);
        let (time_searches, taken_searches) = mpsc::channel(10_000);
        let (events, taken_events) = mpsc::channel(10_000);
        let inboxes = Inboxes {
            requests: taken_requests,
            disk_reads: taken_reads,
            time_searches: taken_searches,
            events: taken_events,
        };
        // The preparation thread of slots has the sender of the first one.
        let mut prepared = std::mem::replace(&mut shard.inboxes, inboxes).events;
        let mut by_hand =
            Self { shard, disk, clock, requests, disk_reads, time_searches, events, engine, _folder: folder };
        let opens = (0..partitions).map(|partition| OpenPartition {
            id: id(partition),
            leader_epoch: LeaderEpoch(0),
            config: LogConfig::unlimited(),
        });
        let (reply, mut opened) = oneshot::channel();
        by_hand.requests.try_send(Request::Open { partitions: opens.collect(), reply }).unwrap();
        by_hand.shard.begin(clock.now());
        while opened.try_recv().is_err() {
            by_hand.turn();
            if !by_hand.commit() {
                by_hand.on_event(prepared.blocking_recv().unwrap());
            }
        }
        // Those that come later, too.
        let events = by_hand.events.clone();
        std::thread::spawn(
            move || while prepared.blocking_recv().is_some_and(|event| events.blocking_send(event).is_ok()) {},
        );
        by_hand
    }

    fn turn(&mut self) {
        self.turn_in(Duration::ZERO);
    }

    /// A turn as it will be after `time`.
    fn turn_in(&mut self, time: Duration) {
        self.shard.turn(self.now_in(time));
    }

    fn now_in(&self, time: Duration) -> Now {
        let now = self.clock.now();
        Now { at: now.at.plus(time), ..now }
    }

    fn on_event(&mut self, event: Event) {
        self.shard.on_event(event, self.clock.now());
    }

    fn start_commit(&mut self) -> Option<Vec<Step>> {
        self.shard.start_commit(self.clock.at())
    }

    fn on_committed(&mut self, result: Result<(), DiskError>) {
        self.shard.on_committed(result, self.clock.now());
    }

    /// Makes the next commit, if something has gathered.
    fn commit(&mut self) -> bool {
        let Some(steps) = self.start_commit() else { return false };
        let result = self.disk.execute_here(steps);
        self.on_committed(result);
        true
    }

    fn append(&self, partition: i32, values: &[usize]) -> AppendReply {
        let batches = values.iter().map(|length| {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.push(Timestamp(1_000), None, Some(&vec![b'v'; *length]), &[]);
            to_append(partition, builder.build())
        });
        self.send(batches.collect())
    }

    /// A batch of each of so many producers, which the partition's checkpoints name from then on.
    fn append_of_producers(&self, partition: i32, producers: i64) -> AppendReply {
        let batches = (0..producers).map(|producer| {
            let builder = BatchBuilder::new(Codec::None);
            let mut builder = builder.producer(ProducerId(producer), ProducerEpoch(0), Sequence(0));
            builder.push(Timestamp(1_000), None, Some(b"v"), &[]);
            to_append(partition, builder.build())
        });
        self.send(batches.collect())
    }

    fn send(&self, appends: Vec<Append>) -> AppendReply {
        let (reply, answer) = oneshot::channel();
        self.requests.try_send(Request::Append { appends, reply }).unwrap();
        answer
    }

    /// Makes turns and commits until nothing is left to do; what the largest commit had gathered.
    fn commit_all(&mut self) -> usize {
        let mut largest = 0;
        loop {
            self.turn();
            largest = largest.max(self.shard.wal.gathered_bytes());
            if !self.commit() {
                let is_all_laid = self.shard.backlog_length() == 0 && self.shard.head.is_none();
                if is_all_laid && self.shard.settling.is_none() && self.shard.inboxes.requests.is_empty() {
                    return largest;
                }
                // It waits for a segment, or for the folder.
                std::thread::yield_now();
            }
        }
    }

    fn read(&self) -> oneshot::Receiver<Result<rustmq_engine_api::ReadBatches, rustmq_engine_api::ReadError>> {
        let (reply, answer) = oneshot::channel();
        let read = ColdRead { id: id(0), from: Offset(0), until: Offset(1), max_bytes: 1, at_least_one: true };
        let place = Arc::new(Semaphore::new(1)).try_acquire_owned().unwrap();
        self.disk_reads.try_send(DiskRead { read, room_by: std::time::Instant::now(), place, reply }).unwrap();
        answer
    }

    fn search(&self) -> oneshot::Receiver<Option<Offset>> {
        let (reply, answer): (Reply<_>, _) = oneshot::channel();
        let target = TimeTarget::AtLeast(Timestamp(0));
        self.time_searches.try_send(TimeSearch { id: id(0), target, reply }).unwrap();
        answer
    }
}

#[test]
fn a_turn_takes_a_share_of_every_inbox_however_full_the_others_are() {
    let mut by_hand = ByHand::new(1, |_| {});
    let appended = by_hand.append(0, &[1]);
    by_hand.turn();
    by_hand.commit();
    drop(appended);
    (0..3_000).for_each(|_| by_hand.events.try_send(Event::Released).unwrap());
    let reads: Vec<_> = (0..3_000).map(|_| by_hand.read()).collect();
    let mut searches: Vec<_> = (0..3_000).map(|_| by_hand.search()).collect();
    let mut appends: Vec<_> = (0..3_000).map(|_| by_hand.append(0, &[1])).collect();
    for turn in 1..=3 {
        by_hand.turn();
        assert!(by_hand.commit());
        let inboxes = &by_hand.shard.inboxes;
        assert!(inboxes.events.len() >= 3_000 - 256 * turn, "{} events wait", inboxes.events.len());
        assert_eq!(inboxes.disk_reads.len(), 3_000 - 32 * turn);
        assert_eq!(inboxes.time_searches.len(), 3_000 - 32 * turn);
        assert_eq!(inboxes.requests.len(), 3_000 - 256 * turn);
        assert!(appends[256 * turn - 1].try_recv().is_ok(), "what a turn takes is acknowledged by its commit");
        assert!(appends[256 * turn].try_recv().is_err());
        assert_eq!(searches[32 * turn - 1].try_recv(), Ok(Some(Offset(0))));
    }
    drop(reads);
}

#[test]
fn the_last_group_is_proven_by_the_clock_also_while_reads_keep_the_shard_awake() {
    let mut by_hand = ByHand::new(1, |config| config.idle_proof_after = Duration::from_secs(3_600));
    let _appended = by_hand.append(0, &[1]);
    by_hand.turn();
    assert!(by_hand.commit());
    let reads: Vec<_> = (0..1_000).map(|_| by_hand.read()).collect();
    by_hand.turn();
    assert!(!by_hand.commit(), "it is not due yet");
    by_hand.turn_in(Duration::from_secs(3_601));
    assert!(by_hand.commit(), "the proof");
    by_hand.turn_in(Duration::from_secs(7_202));
    assert!(!by_hand.commit(), "once");
    drop(reads);
}

const BOUND: usize = 128 << 10;
const FRAME: usize = 40 << 10;
/// A frame, what it is padded to, and the index of a segment that ends with it.
const FRAME_MAX: usize = FRAME + (16 << 10);

#[test]
fn a_request_larger_than_a_commit_may_be_takes_several() {
    let mut by_hand = ByHand::new(1, |_| {});
    by_hand.shard.tuning.gathered_bytes_max = BOUND;
    let mut answer = by_hand.append(0, &[FRAME - 1_000; 100]);
    let largest = by_hand.commit_all();
    assert!((BOUND..BOUND + FRAME_MAX).contains(&largest), "{largest} bytes in a commit");
    let appended = answer.try_recv().unwrap();
    let offsets: Vec<_> = appended.into_iter().map(|result| result.unwrap().base_offset.0).collect();
    assert_eq!(offsets, Vec::from_iter(0..100));
}

#[test]
fn checkpoints_go_on_in_the_next_commit_at_the_bound_of_one() {
    const PARTITIONS: i32 = 12;
    const PRODUCERS: i64 = 150;
    let mut by_hand = ByHand::new(PARTITIONS, |_| {});
    for partition in 0..PARTITIONS {
        drop(by_hand.append_of_producers(partition, PRODUCERS));
        by_hand.commit_all();
    }
    by_hand.shard.tuning.gathered_bytes_max = BOUND;
    let checkpoints =
        |shard: &Shard| shard.partitions.values().map(|partition| partition.checkpoint().len()).sum::<usize>();
    assert!(checkpoints(&by_hand.shard) > 2 * BOUND / 3, "{}", checkpoints(&by_hand.shard));
    by_hand.shard.tuning.gathered_bytes_max = BOUND / 4;
    // After a repair, of every partition.
    by_hand.shard.settle_repair();
    let largest = by_hand.commit_all();
    assert!((BOUND / 4..BOUND / 4 + FRAME_MAX).contains(&largest), "{largest} bytes in a commit");
    assert!(by_hand.shard.settling.is_none());
    // At the head of a new segment, of those that have changed.
    let mut answers = Vec::new();
    for partition in 0..PARTITIONS {
        answers.push(by_hand.append(partition, &[FRAME - 1_000; 4]));
    }
    let largest = by_hand.commit_all();
    assert!(largest < BOUND / 4 + FRAME_MAX, "{largest} bytes in a commit");
    assert!(by_hand.shard.head.is_none());
    assert!(answers.iter_mut().all(|answer| answer.try_recv().is_ok_and(|results| results.iter().all(Result::is_ok))));
}

#[test]
fn an_epoch_is_published_by_its_own_commit_and_not_by_the_one_before() {
    let mut by_hand = ByHand::new(1, |_| {});
    let reader = by_hand.engine.reader(id(0)).unwrap();
    let _appended = by_hand.append(0, &[1]);
    by_hand.turn();
    let steps = by_hand.start_commit().unwrap();
    // While that one is in flight.
    let lead = OpenPartition { id: id(0), leader_epoch: LeaderEpoch(5), config: LogConfig::unlimited() };
    let (reply, mut leading) = oneshot::channel();
    by_hand.requests.try_send(Request::Open { partitions: vec![lead], reply }).unwrap();
    by_hand.turn();
    let result = by_hand.disk.execute_here(steps);
    by_hand.on_committed(result);
    assert_eq!(reader.offsets().high_watermark, Offset(1));
    assert_eq!(reader.offsets().leader_epoch, LeaderEpoch(0));
    assert_eq!(reader.end_offset_for_epoch(LeaderEpoch(5)), None);
    assert!(leading.try_recv().is_err());
    assert!(by_hand.commit());
    assert_eq!(reader.offsets().leader_epoch, LeaderEpoch(5));
    assert_eq!(reader.end_offset_for_epoch(LeaderEpoch(5)), Some((LeaderEpoch(5), Offset(1))));
    assert!(leading.try_recv().unwrap()[0].is_ok());
}

#[test]
fn a_shard_whose_log_has_failed_writes_nothing_more() {
    let mut by_hand = ByHand::new(1, |_| {});
    let _failed = by_hand.append(0, &[10]);
    by_hand.turn();
    let steps = by_hand.start_commit().unwrap();
    drop(steps);
    by_hand.on_committed(Err(DiskError::Ended));
    // Whatever lays a frame yet.
    by_hand.shard.wal.put_proof().unwrap();
    by_hand.turn();
    assert!(!by_hand.commit());
}

#[test]
fn a_move_that_cannot_go_on_now_is_begun_again_by_the_clock() {
    let mut by_hand = ByHand::new(2, |config| {
        config.capacity = ByteSize::mib(10);
        // Nothing else has the shard do something.
        config.idle_proof_after = Duration::from_secs(3_600);
    });
    drop(by_hand.append(0, &[10]));
    by_hand.commit_all();
    while !by_hand.shard.wal.table.is_full() {
        drop(by_hand.append(1, &[500_000]));
        by_hand.commit_all();
    }
    let (reply, _trimmed) = oneshot::channel();
    by_hand.requests.try_send(Request::Trim { id: id(1), to: TrimTo::HighWatermark, reply }).unwrap();
    by_hand.turn();
    assert!(by_hand.commit());
    let moving = by_hand.shard.moving.expect("the first partition keeps the oldest segment");
    assert_eq!(moving.batches.partition, id(0));
    // A look that is due while the read is under way finds nothing to do, and none is left.
    by_hand.shard.looks.take_due_at(by_hand.now_in(Duration::from_secs(2)).at);
    while by_hand.shard.moving.is_some() {
        let event = match by_hand.shard.inboxes.events.blocking_recv().unwrap() {
            Event::MoveRead { partition, generation, .. } => {
                let batches = Err(MoveError::Later { reason: "there is no memory".to_owned() });
                Event::MoveRead { partition, generation, batches }
            }
            event => event,
        };
        by_hand.on_event(event);
    }
    // There is no commit that it could wait for.
    assert!(by_hand.shard.wal.is_empty());
    assert!(by_hand.shard.turn_due() <= by_hand.now_in(Duration::from_secs(1)).at);
    by_hand.turn_in(Duration::from_secs(2));
    let is_moved = !by_hand.shard.wal.is_empty();
    assert!(by_hand.shard.moving.is_some() || is_moved, "the same turn may find that the read is done");
}
