//! A started engine on a folder of its own, and the operations that every test uses. Each scenario
//! runs on every way to the disk.

#![allow(clippy::unwrap_used, dead_code)]

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustmq_engine_api::{
    Append, AppendError, AppendFrontier, Appended, Engine, Isolation, LogConfig, OpenPartition, PartitionReader,
    ReadError, ReadRequest,
};
use rustmq_engine_core::wal::{GroupHeader, GroupKind, GroupWriter, SegmentHeader, WalPosition};
use rustmq_engine_shard::{DiskFaults, Driver, EngineConfig, EngineSettings, Metrics, start};
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::record::{self, BatchBuilder};
use rustmq_model::{
    ByteSize, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, Sequence, Timestamp, TopicId,
    TopicIdPartition,
};

pub struct Fixture {
    pub config: EngineConfig,
    pub metrics: Metrics,
    folder: tempfile::TempDir,
}

impl Fixture {
    pub fn new(driver: Driver) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let settings = EngineSettings {
            driver,
            shards: Some(1),
            segment_size: ByteSize::mib(1),
            tail_memory: Some(ByteSize::mib(1)),
            ..EngineSettings::default()
        };
        let mut config = EngineConfig::new(settings, folder.path().join("wal"));
        config.capacity = ByteSize::mib(16);
        config.faults = Some(Arc::new(DiskFaults::default()));
        Self { config, metrics: Metrics::default(), folder }
    }

    pub fn start(&self) -> Engine {
        start(&self.config, &self.metrics).unwrap().0
    }

    pub fn faults(&self) -> &DiskFaults {
        self.config.faults.as_ref().unwrap()
    }

    /// A copy of the folder as a kill leaves it, made while the engine runs.
    pub fn snapshot(&self) -> Self {
        let folder = tempfile::tempdir().unwrap();
        copy_dir(&self.config.dir, &folder.path().join("wal"));
        let mut config = self.config.clone();
        config.dir = folder.path().join("wal");
        config.faults = Some(Arc::new(DiskFaults::default()));
        Self { config, metrics: Metrics::default(), folder }
    }

    pub fn slots(&self) -> Vec<PathBuf> {
        let mut slots: Vec<_> =
            std::fs::read_dir(self.config.dir.join("wal-000")).unwrap().map(|entry| entry.unwrap().path()).collect();
        slots.sort();
        slots
    }

    /// Appends frames to the end of a log that nobody has open, as the next commit of its newest
    /// WAL session would. Returns the path of the slot's file.
    pub fn append_at_end(&self, put: impl FnOnce(&mut GroupWriter, &mut [u8])) -> PathBuf {
        let headers = self.slots().into_iter().filter_map(|path| {
            let header = SegmentHeader::parse(&std::fs::read(&path).unwrap()).ok()?;
            Some((path, header))
        });
        let (path, header) = headers.max_by_key(|(_, header)| header.generation).unwrap();
        let SegmentHeader { wal, shape, generation, .. } = header;
        let bytes = std::fs::read(&path).unwrap();
        let mut at = WalPosition { generation, offset: shape.first_group() };
        let mut session = None;
        while let Ok(header) = GroupHeader::parse_at(wal, shape, at, &bytes[at.offset as usize..]) {
            (session, at.offset) = (Some(header.session), at.offset + shape.padded(header.length));
        }
        let mut region = vec![0; 16 << 10];
        let mut writer = GroupWriter::new(wal, session.unwrap(), at, shape);
        put(&mut writer, &mut region);
        let group = writer.finish(&mut region, GroupKind::Data, at);
        let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(&region[..group.padded as usize], u64::from(at.offset)).unwrap();
        path
    }
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    std::fs::create_dir(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_dir(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// Runs a scenario on each driver, with one commit in flight and with two, and once with a shard
/// that executes small commits itself, however slow the disk.
pub fn on_every_disk<F: Future<Output = ()>>(scenario: impl Fn(Fixture) -> F) {
    const NEVER: Duration = Duration::from_secs(60);
    let ways = [
        (Driver::Uring, Duration::ZERO, NEVER),
        (Driver::Epoll, Duration::ZERO, NEVER),
        (Driver::Uring, Duration::ZERO, Duration::ZERO),
        (Driver::Epoll, Duration::ZERO, Duration::ZERO),
        (Driver::Uring, NEVER, NEVER),
    ];
    for (driver, quick_commit, slow_commit) in ways {
        on_disk(driver, quick_commit, slow_commit, &scenario);
    }
}

/// Runs a scenario on each driver, with two commits in flight.
pub fn on_slow_disks<F: Future<Output = ()>>(scenario: impl Fn(Fixture) -> F) {
    for driver in [Driver::Uring, Driver::Epoll] {
        on_disk(driver, Duration::ZERO, Duration::ZERO, &scenario);
    }
}

fn on_disk<F: Future<Output = ()>>(
    driver: Driver,
    quick_commit: Duration,
    slow_commit: Duration,
    scenario: impl Fn(Fixture) -> F,
) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let mut fixture = Fixture::new(driver);
    (fixture.config.quick_commit, fixture.config.slow_commit) = (quick_commit, slow_commit);
    let bounded = async { tokio::time::timeout(Duration::from_secs(60), scenario(fixture)).await };
    runtime.block_on(bounded).unwrap_or_else(|_| {
        panic!("the scenario on {driver:?} with quick_commit {quick_commit:?} and slow_commit {slow_commit:?} takes more than a minute")
    });
}

pub async fn until(what: &str, condition: impl AsyncFn() -> bool) {
    let mut patience = tokio::time::interval(Duration::from_millis(10));
    for _ in 0..1_000 {
        if condition().await {
            return;
        }
        patience.tick().await;
    }
    panic!("{what} does not come about in ten seconds");
}

pub fn id(partition: i32) -> TopicIdPartition {
    TopicIdPartition { topic_id: TopicId(7 << 64 | 9), partition: PartitionId(partition) }
}

pub async fn open(engine: &Engine, partition: i32) -> PartitionReader {
    open_with(engine, partition, LogConfig::unlimited()).await
}

pub async fn open_with(engine: &Engine, partition: i32, config: LogConfig) -> PartitionReader {
    let open = OpenPartition { id: id(partition), leader_epoch: LeaderEpoch(0), config };
    engine.open(vec![open]).await.remove(0).unwrap()
}

/// A batch with one record for each value.
pub fn batch(values: &[&[u8]]) -> Bytes {
    batch_at(Timestamp(1_000), values)
}

pub fn batch_at(timestamp: Timestamp, values: &[&[u8]]) -> Bytes {
    let mut builder = BatchBuilder::new(Codec::None);
    values.iter().for_each(|value| builder.push(timestamp, None, Some(value), &[]));
    builder.build()
}

pub fn producer_batch(producer: i64, epoch: i16, sequence: i32, values: &[&[u8]]) -> Bytes {
    let builder = BatchBuilder::new(Codec::None);
    let mut builder = builder.producer(ProducerId(producer), ProducerEpoch(epoch), Sequence(sequence));
    values.iter().for_each(|value| builder.push(Timestamp(1_000), None, Some(value), &[]));
    builder.build()
}

pub fn to_append(partition: i32, batch: Bytes) -> Append {
    let header = BatchHeader::parse(&batch).unwrap();
    Append { id: id(partition), leader_epoch: None, batch, header, until: AppendFrontier::DurableEnd }
}

pub async fn append(engine: &Engine, partition: i32, batch: Bytes) -> Result<Appended, AppendError> {
    engine.append(vec![to_append(partition, batch)]).await.wait().await.remove(0)
}

pub async fn append_value(engine: &Engine, partition: i32, value: &[u8]) -> Result<Offset, AppendError> {
    append(engine, partition, batch(&[value])).await.map(|appended| appended.base_offset)
}

/// Reads all records from `from` to the high watermark: their offsets and values.
pub async fn read_all(reader: &PartitionReader, from: i64) -> Result<Vec<(i64, Bytes)>, ReadError> {
    let mut next = Offset(from);
    let mut records = Vec::new();
    while next < reader.frontiers().high_watermark {
        let isolation = Isolation::ReadUncommitted;
        let request = ReadRequest { from: next, max_bytes: 256 << 10, at_least_one: true, isolation };
        let read = reader.read(request).await?;
        assert!(!read.batches.is_empty(), "at least one batch from {next:?} of {:?}", reader.frontiers());
        for batch in read.batches {
            let header = BatchHeader::parse(&batch).unwrap();
            header.validate(&batch).unwrap();
            assert!(header.base_offset <= next && header.next_offset() > next, "no gap and no repeat at {next:?}");
            next = header.next_offset();
            let read = record::read(&batch, 64 << 20).unwrap();
            records.extend(read.into_iter().map(|record| (record.offset.0, record.value.unwrap())));
        }
    }
    records.retain(|(offset, _)| *offset >= from);
    Ok(records)
}

pub async fn values(reader: &PartitionReader) -> Vec<Bytes> {
    let from = reader.frontiers().log_start.0;
    read_all(reader, from).await.unwrap().into_iter().map(|(_, value)| value).collect()
}
