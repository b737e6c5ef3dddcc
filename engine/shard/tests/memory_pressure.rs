//! Recent batches give memory back while the system is short of it, or when their memory is made
//! smaller, even if nobody writes. Evicted batches are read from disk.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use engine_fixture::{append_value, on_every_disk, open};
use rustmq_engine_api::{Engine, Isolation, PartitionReader, ReadRequest};
use rustmq_engine_shard::{MemoryLevel, MemorySource, TailMemory};
use rustmq_model::batch::BatchHeader;
use rustmq_model::{ByteSize, Offset};

const MIB: u64 = 1 << 20;
const TOTAL: u64 = 1_000 * MIB;
/// The watch checks twice a second. The test allows more, because other tests may keep the
/// processors busy.
const WAIT_MAX: Duration = Duration::from_secs(20);

#[derive(Debug)]
struct Dial {
    available: AtomicU64,
}

impl MemorySource for Dial {
    fn levels(&self) -> io::Result<Vec<MemoryLevel>> {
        Ok(vec![MemoryLevel { total: TOTAL, available: self.available.load(Ordering::Relaxed) }])
    }
}

/// The tail memory that is live, spare, and budgeted, in bytes.
fn memory(engine: &Engine) -> (u64, u64, u64) {
    let status = engine.status().shards.remove(0);
    (status.tail_memory_bytes, status.tail_memory_spare_bytes, status.tail_memory_budget_bytes)
}

async fn eventually(engine: &Engine, is_so: impl Fn((u64, u64, u64)) -> bool, what: &str) {
    let begun = Instant::now();
    while !is_so(memory(engine)) {
        assert!(begun.elapsed() < WAIT_MAX, "{what}: {:?} after {WAIT_MAX:?}", memory(engine));
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Reads the records one by one and holds none of them, because reads from disk have a budget of
/// their own.
async fn count(reader: &PartitionReader) -> i64 {
    let mut next = Offset(0);
    while next < reader.frontiers().high_watermark {
        let isolation = Isolation::ReadUncommitted;
        let request = ReadRequest { from: next, max_bytes: 1 << 20, at_least_one: true, isolation };
        let read = reader.read(request).await.unwrap();
        let header = BatchHeader::parse(read.batches.last().unwrap()).unwrap();
        assert!(header.base_offset >= next, "no repeat at {next:?}");
        next = header.next_offset();
    }
    next.0
}

#[test]
fn half_is_given_back_when_memory_is_short_and_nobody_writes() {
    on_every_disk(async |mut fixture| {
        const RECORDS: i64 = 160;
        let dial = Arc::new(Dial { available: AtomicU64::new(TOTAL / 2) });
        fixture.config.settings.segment_size = ByteSize::mib(16);
        fixture.config.capacity = ByteSize::mib(256);
        let source = Arc::clone(&dial) as Arc<dyn MemorySource>;
        fixture.config.tail_memory = TailMemory::following(ByteSize::mib(64), source);
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        assert!(memory(&engine).0 < 16 * MIB, "memory is taken as needed");
        let value = vec![7; 512 << 10];
        for _ in 0..RECORDS {
            append_value(&engine, 0, &value).await.unwrap();
        }
        let (full, _, budget) = memory(&engine);
        assert!(full > 40 * MIB && budget == 64 * MIB, "{full} of {budget}");

        dial.available.store(TOTAL / 10 - 1, Ordering::Relaxed);
        eventually(&engine, |(held, spare, _)| held + spare <= full / 2, "half is given back").await;
        eventually(
            &engine,
            |(held, spare, allowed)| held + spare <= 16 * MIB && allowed == 16 * MIB,
            "down to the floor",
        )
        .await;

        assert_eq!(count(&reader).await, RECORDS);
        assert!(fixture.metrics.cold_reads.get() > 0, "evicted batches are read from disk");
        engine.shutdown().await;
    });
}

#[test]
fn a_running_engine_follows_a_new_size_in_both_directions() {
    on_every_disk(async |mut fixture| {
        const RECORDS: i64 = 40;
        fixture.config.settings.segment_size = ByteSize::mib(16);
        fixture.config.capacity = ByteSize::mib(256);
        let tail_memory = TailMemory::new(Some(ByteSize::mib(32)));
        fixture.config.tail_memory = tail_memory.clone();
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        let value = vec![7; 512 << 10];
        for _ in 0..RECORDS {
            append_value(&engine, 0, &value).await.unwrap();
        }
        assert!(memory(&engine).0 > 16 * MIB, "{:?}", memory(&engine));

        tail_memory.resize(Some(ByteSize::mib(8)));
        let is_small = |(held, spare, budget)| held + spare <= 8 * MIB && budget == 8 * MIB;
        eventually(&engine, is_small, "a smaller size takes recent batches out of memory").await;
        assert_eq!(count(&reader).await, RECORDS);

        tail_memory.resize(Some(ByteSize::mib(64)));
        eventually(&engine, |(_, _, budget)| budget == 64 * MIB, "a larger size").await;
        for _ in 0..RECORDS {
            append_value(&engine, 0, &value).await.unwrap();
        }
        assert!(memory(&engine).0 > 16 * MIB, "it is used: {:?}", memory(&engine));
        engine.shutdown().await;
    });
}
