//! The engine in memory passes the suite of all engines.

use rustmq_engine_api::Engine;
use rustmq_engine_api::testing::conformance::{Settings, Subject, check_all};
use rustmq_engine_api::testing::{InMemoryEngine, InMemoryOptions};
use rustmq_model::ByteSize;

struct InMemory(InMemoryEngine);

impl InMemory {
    async fn start(settings: Settings) -> Self {
        let Settings { shards, capacity, tail_memory, read_memory, retention_interval } = settings;
        let each = |size: ByteSize| ByteSize(size.0 / shards as u64);
        let (capacity, tail_memory) = (each(capacity), each(tail_memory));
        let options = InMemoryOptions {
            shards,
            capacity,
            tail_memory,
            read_memory,
            retention_interval,
            ..InMemoryOptions::default()
        };
        Self(InMemoryEngine::start(options))
    }
}

impl Subject for InMemory {
    fn engine(&self) -> &Engine {
        &self.0
    }

    fn stall(&self) {
        self.0.stall();
    }

    fn resume(&self) {
        self.0.resume();
    }

    fn break_device(&self) {
        self.0.break_device();
    }
}

#[tokio::test]
async fn the_engine_in_memory_conforms() {
    check_all(InMemory::start).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_engine_in_memory_conforms_on_two_threads() {
    check_all(InMemory::start).await;
}
