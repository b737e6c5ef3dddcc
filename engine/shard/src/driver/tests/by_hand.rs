//! A shard whose turns and commits the test makes itself, on one thread: what it takes and stages is the same in every run. Its slots and its
//! reads have threads as always; their news is taken in a turn, or one by one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustmq_engine_api::request::Request;
use rustmq_engine_api::{
    Append, AppendError, AppendFrontier, Appended, DeleteError, Engine, LogConfig, OpenError, OpenPartition,
    PartitionReader, ShardStatus, TrimError, TrimTo,
};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    ByteSize, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId,
    TopicIdPartition,
};
use tokio::sync::{mpsc, oneshot};

use crate::config::{Driver, EngineConfig};
use crate::disk::Disk;
use crate::driver::ShardDriver;
use crate::event::Event;
use crate::start::shard_by_hand;

/// Longer than any thread needs for its news.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) type Answer<T> = oneshot::Receiver<T>;

pub(super) struct ByHand {
    pub shard: Box<ShardDriver>,
    pub disk: Disk,
    pub engine: Engine,
    requests: mpsc::Sender<Request>,
    /// The inbox of events, if no turn is to take any.
    kept_events: Option<mpsc::Receiver<Event>>,
    config: EngineConfig,
    folder: tempfile::TempDir,
}

pub(super) fn id(partition: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(7 << 64 | 9), partition: PartitionId(partition) }
}

impl ByHand {
    /// With partitions 0 and up, on disk.
    pub(super) fn new(partitions: i32, change: impl FnOnce(&mut EngineConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut config = EngineConfig::new(folder.path().join("wal"));
        (config.shards, config.driver) = (1, Driver::Epoll);
        (config.segment_size, config.capacity) = (ByteSize::mib(1), ByteSize::mib(32));
        config.retention_interval = Duration::from_secs(86_400);
        // Nothing is done by the clock, unless a test says when.
        config.idle_proof_after = Duration::from_secs(3_600);
        change(&mut config);
        let mut by_hand = Self::start(config, folder);
        by_hand.shard.begin();
        let opened = by_hand.open(0..partitions);
        by_hand.settle();
        assert!(answer(opened).iter().all(Result::is_ok));
        by_hand
    }

    /// Before its first turn.
    fn start(config: EngineConfig, folder: tempfile::TempDir) -> Self {
        let (engine, mut shard, disk) = shard_by_hand(&config).unwrap();
        let (requests, taken_requests) = mpsc::channel(10_000);
        shard.inboxes.requests = taken_requests;
        Self { shard, disk, engine, requests, kept_events: None, config, folder }
    }

    /// Ends the shard in good order and starts it again: the new one has made no turn yet.
    pub(super) fn restart(mut self) -> Self {
        let (reply, closed) = oneshot::channel();
        self.send(Request::Shutdown { reply });
        loop {
            self.turn();
            if self.shard.machine.is_finished() {
                break;
            }
            if !self.commit() {
                self.take_event();
            }
        }
        let Self { shard, config, folder, .. } = self;
        shard.end();
        answer(closed);
        Self::start(config, folder)
    }

    // Turns and commits.

    pub(super) fn turn(&mut self) {
        self.shard.turn();
    }

    /// From here on it is later by as much.
    pub(super) fn pass(&mut self, time: Duration) {
        self.shard.clock.advance(time);
    }

    /// Makes the next commit, if something has gathered.
    pub(super) fn commit(&mut self) -> bool {
        let Some(work) = self.shard.start_commit() else { return false };
        let (number, result) = (work.number, self.disk.execute_here(work));
        self.shard.on_committed(number, result);
        true
    }

    /// Makes turns and commits until every request is answered.
    pub(super) fn settle(&mut self) {
        loop {
            self.turn();
            if !self.commit() {
                if self.shard.machine.awaits_requests() && self.shard.inboxes.requests.is_empty() {
                    return;
                }
                // It waits for a segment.
                self.take_event();
            }
        }
    }

    /// From here on no turn takes an event: the test does, one by one.
    pub(super) fn keep_events(&mut self) {
        let (_, none) = mpsc::channel(1);
        self.kept_events = Some(std::mem::replace(&mut self.shard.inboxes.events, none));
    }

    /// The next piece of news of another thread.
    pub(super) fn next_event(&mut self) -> Event {
        let until = Instant::now() + PATIENCE;
        let events = self.kept_events.as_mut().unwrap_or(&mut self.shard.inboxes.events);
        loop {
            if let Ok(event) = events.try_recv() {
                return event;
            }
            assert!(Instant::now() < until, "no other thread has news");
            std::thread::yield_now();
        }
    }

    pub(super) fn take_event(&mut self) {
        let event = self.next_event();
        self.shard.on_event(event);
    }

    // Requests.

    pub(super) fn send(&self, request: Request) {
        self.requests.try_send(request).unwrap();
    }

    pub(super) fn open(
        &self,
        partitions: impl IntoIterator<Item = i32>,
    ) -> Answer<Vec<Result<Arc<rustmq_engine_api::published::Published>, OpenError>>> {
        self.lead(partitions, 0)
    }

    pub(super) fn lead(
        &self,
        partitions: impl IntoIterator<Item = i32>,
        epoch: i32,
    ) -> Answer<Vec<Result<Arc<rustmq_engine_api::published::Published>, OpenError>>> {
        let (leader_epoch, config) = (LeaderEpoch(epoch), LogConfig::unlimited());
        let open = |partition| OpenPartition { id: id(partition), leader_epoch, config };
        let (reply, answer) = oneshot::channel();
        self.send(Request::Open { partitions: partitions.into_iter().map(open).collect(), reply });
        answer
    }

    /// Batches with a record of each of these lengths.
    pub(super) fn append(&self, partition: i32, lengths: &[usize]) -> Answer<Vec<Result<Appended, AppendError>>> {
        let batches = lengths.iter().map(|length| {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.push(Timestamp(1_000), None, Some(&vec![b'v'; *length]), &[]);
            let batch = builder.build();
            let header = BatchHeader::parse(&batch).unwrap();
            Append { id: id(partition), leader_epoch: None, batch, header, until: AppendFrontier::DurableEnd }
        });
        let (reply, answer) = oneshot::channel();
        self.send(Request::Append { appends: batches.collect(), reply });
        answer
    }

    /// The first batch of a transaction, which stays open.
    pub(super) fn append_in_transaction(&self, partition: i32) -> Answer<Vec<Result<Appended, AppendError>>> {
        let builder = BatchBuilder::new(Codec::None);
        let mut builder = builder.producer(ProducerId(7), ProducerEpoch(0), Sequence(0));
        builder.push(Timestamp(1_000), None, Some(b"v"), &[]);
        let mut batch = builder.build().to_vec();
        // In the low byte of its attributes. The log does not compare checksums.
        batch[22] |= 0x10;
        let header = BatchHeader::parse(&batch).unwrap();
        let until = AppendFrontier::DurableEnd;
        let append = Append { id: id(partition), leader_epoch: None, batch: batch.into(), header, until };
        let (reply, answer) = oneshot::channel();
        self.send(Request::Append { appends: vec![append], reply });
        answer
    }

    pub(super) fn trim(&self, partition: i32) -> Answer<Result<Offset, TrimError>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Trim { id: id(partition), to: TrimTo::HighWatermark, reply });
        answer
    }

    pub(super) fn delete(&self, partition: i32) -> Answer<Vec<Result<(), DeleteError>>> {
        let (reply, answer) = oneshot::channel();
        self.send(Request::Delete { ids: vec![id(partition)], reply });
        answer
    }

    // What others see.

    pub(super) fn reader(&self, partition: i32) -> PartitionReader {
        self.engine.reader(id(partition)).unwrap()
    }

    pub(super) fn status(&self) -> ShardStatus {
        self.engine.status().shards.remove(0)
    }

    /// Fills the log with batches of a partition, until it takes no more.
    pub(super) fn fill_with(&mut self, partition: i32) {
        while !self.shard.machine.table().is_full() {
            drop(self.append(partition, &[500_000]));
            self.settle();
        }
    }
}

/// What has been answered by now.
pub(super) fn answer<T>(mut answer: Answer<T>) -> T {
    answer.try_recv().expect("it is answered")
}
