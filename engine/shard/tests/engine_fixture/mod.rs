//! A started engine on a folder of its own. Each scenario runs on every way to the disk. The
//! operations that every test uses are those of the engines' suite.

#![allow(clippy::unwrap_used, dead_code, unused_imports)]

use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rustmq_engine_api::Engine;
pub use rustmq_engine_api::testing::operations::*;
use rustmq_engine_core::wal::{GroupHeader, GroupKind, GroupWriter, SegmentHeader, WalPosition};
use rustmq_engine_shard::{DiskFaults, Driver, EngineConfig, EngineSettings, Metrics, start};
use rustmq_model::ByteSize;

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

const NEVER: Duration = Duration::from_secs(60);
/// Each driver, with one commit in flight and with two, and once a shard that executes small
/// commits itself, however slow the disk: the driver, `quick_commit` and `slow_commit`.
pub const WAYS: [(Driver, Duration, Duration); 5] = [
    (Driver::Uring, Duration::ZERO, NEVER),
    (Driver::Epoll, Duration::ZERO, NEVER),
    (Driver::Uring, Duration::ZERO, Duration::ZERO),
    (Driver::Epoll, Duration::ZERO, Duration::ZERO),
    (Driver::Uring, NEVER, NEVER),
];

pub fn on_every_disk<F: Future<Output = ()>>(scenario: impl Fn(Fixture) -> F) {
    for (driver, quick_commit, slow_commit) in WAYS {
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
