//! A shard whose turns and commits the test makes itself, on one thread: the shard takes and stages
//! the same in every run. Its slots and reads use threads as always; a turn takes their events, or
//! the test takes them one by one.

use std::sync::Arc;
use std::time::{Duration, Instant};

use rustmq_engine_api::request::Request;
use rustmq_engine_api::{
    Append, AppendError, AppendFrontier, AppendSource, Appended, DeleteError, Engine, LogConfig, OpenError,
    OpenPartition, PartitionReader, ShardStatus, TrimError, TrimTo,
};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    ByteSize, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId,
    TopicIdPartition,
};
use tokio::sync::{mpsc, oneshot};

use crate::config::{Driver, EngineConfig, EngineSettings};
use crate::disk::Disk;
use crate::driver::ShardDriver;
use crate::event::Event;
use crate::start::shard_without_thread;

/// Longer than any thread needs for its event.
const EVENT_TIMEOUT: Duration = Duration::from_secs(60);

pub(super) type Answer<T> = oneshot::Receiver<T>;

pub(super) struct ManualShard {
    pub driver: Box<ShardDriver>,
    pub disk: Disk,
    pub engine: Engine,
    requests: mpsc::Sender<Request>,
    /// The inbox of events, while turns take none.
    kept_events: Option<mpsc::Receiver<Event>>,
    config: EngineConfig,
    folder: tempfile::TempDir,
}

pub(super) fn id(partition: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(7 << 64 | 9), partition: PartitionId(partition) }
}

impl ManualShard {
    /// A shard with partitions from 0 on, all of them durable.
    pub(super) fn new(partitions: i32, change: impl FnOnce(&mut EngineConfig)) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = EngineSettings {
            shards: Some(1),
            driver: Driver::Epoll,
            segment_size: ByteSize::mib(1),
            tail_memory: Some(ByteSize::mib(128)),
            ..EngineSettings::default()
        };
        let mut config = EngineConfig::new(settings, folder.path().join("wal"));
        config.capacity = ByteSize::mib(32);
        config.retention_interval = Duration::from_secs(86_400);
        // No timeout passes, unless a test says when.
        config.idle_proof_after = Duration::from_secs(3_600);
        change(&mut config);
        let mut shard = Self::start(config, folder);
        shard.driver.begin();
        let opened = shard.open(0..partitions);
        shard.settle();
        assert!(answer(opened).iter().all(Result::is_ok));
        shard
    }

    /// A shard before its first turn.
    fn start(config: EngineConfig, folder: tempfile::TempDir) -> Self {
        let (engine, mut driver, disk) = shard_without_thread(&config).unwrap();
        let (requests, taken_requests) = mpsc::channel(10_000);
        driver.inboxes.requests = taken_requests;
        Self { driver, disk, engine, requests, kept_events: None, config, folder }
    }

    /// Shuts the shard down in order and starts it again. The new one has made no turn yet.
    pub(super) fn restart(mut self) -> Self {
        let (reply, closed) = oneshot::channel();
        self.send(Request::Shutdown { reply });
        loop {
            self.turn();
            if self.driver.machine.is_finished() {
                break;
            }
            if !self.commit() {
                self.take_event();
            }
        }
        let Self { driver, config, folder, .. } = self;
        driver.end();
        answer(closed);
        Self::start(config, folder)
    }

    // Turns and commits.

    pub(super) fn turn(&mut self) {
        self.driver.turn();
    }

    /// Moves the shard's clock forward.
    pub(super) fn pass(&mut self, time: Duration) {
        self.driver.clock.advance(time);
    }

    /// Executes the next commit if batches have gathered. Returns whether they had.
    pub(super) fn commit(&mut self) -> bool {
        let Some(work) = self.driver.start_commit() else { return false };
        let (number, result) = (work.number, self.disk.execute_here(work));
        self.driver.on_committed(number, result);
        true
    }

    /// Makes turns and commits until every request is answered.
    pub(super) fn settle(&mut self) {
        loop {
            self.turn();
            if !self.commit() {
                if self.driver.machine.awaits_requests() && self.driver.inboxes.requests.is_empty() {
                    return;
                }
                // The appends wait for a segment.
                self.take_event();
            }
        }
    }

    /// From here on turns take no events; the test takes them one by one.
    pub(super) fn keep_events(&mut self) {
        let (_, none) = mpsc::channel(1);
        self.kept_events = Some(std::mem::replace(&mut self.driver.inboxes.events, none));
    }

    /// The next event of another thread.
    pub(super) fn next_event(&mut self) -> Event {
        let until = Instant::now() + EVENT_TIMEOUT;
        let events = self.kept_events.as_mut().unwrap_or(&mut self.driver.inboxes.events);
        loop {
            if let Ok(event) = events.try_recv() {
                return event;
            }
            assert!(Instant::now() < until, "no other thread has sent an event");
            std::thread::yield_now();
        }
    }

    pub(super) fn take_event(&mut self) {
        let event = self.next_event();
        self.driver.on_event(event);
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

    /// Appends a batch for each of these lengths, with one record of that length.
    pub(super) fn append(&self, partition: i32, lengths: &[usize]) -> Answer<Vec<Result<Appended, AppendError>>> {
        let batches = lengths.iter().map(|length| {
            let mut builder = BatchBuilder::new(Codec::None);
            builder.push(Timestamp(1_000), None, Some(&vec![b'v'; *length]), &[]);
            let batch = builder.build();
            let header = BatchHeader::parse(&batch).unwrap();
            Append {
                id: id(partition),
                leader_epoch: None,
                batch,
                header,
                source: AppendSource::Coordinator,
                until: AppendFrontier::DurableEnd,
            }
        });
        let (reply, answer) = oneshot::channel();
        self.send(Request::Append { appends: batches.collect(), reply });
        answer
    }

    /// Appends the first batch of a transaction, which stays open.
    pub(super) fn append_in_transaction(&self, partition: i32) -> Answer<Vec<Result<Appended, AppendError>>> {
        let builder = BatchBuilder::new(Codec::None);
        let mut builder = builder.producer(ProducerId(7), ProducerEpoch(0), Sequence(0));
        builder.push(Timestamp(1_000), None, Some(b"v"), &[]);
        let mut batch = builder.build().to_vec();
        // The attributes' low byte. The log does not compare checksums.
        batch[22] |= 0x10;
        let header = BatchHeader::parse(&batch).unwrap();
        let until = AppendFrontier::DurableEnd;
        let append = Append {
            id: id(partition),
            leader_epoch: None,
            batch: batch.into(),
            header,
            source: AppendSource::Coordinator,
            until,
        };
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

    // The state that others see.

    pub(super) fn reader(&self, partition: i32) -> PartitionReader {
        self.engine.reader(id(partition)).unwrap()
    }

    pub(super) fn status(&self) -> ShardStatus {
        self.engine.status().shards.remove(0)
    }

    /// Fills the log with a partition's batches until it is full.
    pub(super) fn fill_with(&mut self, partition: i32) {
        while !self.driver.machine.table().is_full() {
            drop(self.append(partition, &[500_000]));
            self.settle();
        }
    }
}

/// An answer that has arrived already.
pub(super) fn answer<T>(mut answer: Answer<T>) -> T {
    answer.try_recv().expect("the request is answered")
}
