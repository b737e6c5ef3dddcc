//! The engine on threads and files passes the suite of all engines, on every way to the disk.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::time::Duration;

use engine_fixture::{Fixture, WAYS};
use rustmq_engine_api::Engine;
use rustmq_engine_api::testing::conformance::{Settings, Subject, check_all};
use rustmq_engine_shard::{Driver, TailMemory};

struct OnDisk {
    engine: Engine,
    fixture: Fixture,
}

impl OnDisk {
    fn start(settings: Settings, driver: Driver, quick_commit: Duration, slow_commit: Duration) -> Self {
        let Settings { shards, capacity, tail_memory, read_memory, retention_interval } = settings;
        let mut fixture = Fixture::new(driver);
        let config = &mut fixture.config;
        config.settings.shards = Some(shards);
        config.tail_memory = TailMemory::new(Some(tail_memory));
        (config.capacity, config.read_memory, config.retention_interval) = (capacity, read_memory, retention_interval);
        (config.quick_commit, config.slow_commit) = (quick_commit, slow_commit);
        Self { engine: fixture.start(), fixture }
    }
}

impl Subject for OnDisk {
    fn engine(&self) -> &Engine {
        &self.engine
    }

    fn stall(&self) {
        self.fixture.faults().hold_syncs();
    }

    fn resume(&self) {
        self.fixture.faults().release_syncs();
    }

    fn break_device(&self) {
        self.fixture.faults().fail_syncs_after(0);
    }
}

#[test]
fn the_engine_on_threads_conforms() {
    for (driver, quick_commit, slow_commit) in WAYS {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(check_all(async |settings| OnDisk::start(settings, driver, quick_commit, slow_commit)));
    }
}
