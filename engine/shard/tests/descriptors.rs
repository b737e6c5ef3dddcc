//! A log starts again with as many descriptors as it ran with: three for each slot. The limit
//! applies to the whole process, so this is the only test in this file.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use engine_fixture::{Fixture, append_value, open};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustmq_engine_shard::Driver;
use rustmq_model::ByteSize;

/// The descriptors that a start uses besides the slots': runtimes, the lock, the probe.
const OTHERS: u64 = 24;

fn open_files() -> u64 {
    std::fs::read_dir("/proc/self/fd").unwrap().count() as u64
}

#[test]
fn a_log_that_ran_starts_again_with_three_descriptors_a_slot() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut fixture = Fixture::new(Driver::Auto);
        fixture.config.settings.segment_size = ByteSize(64 << 10);
        fixture.config.capacity = ByteSize(128 * (64 << 10));
        let before = open_files();
        let engine = fixture.start();
        open(&engine, 0).await;
        for _ in 0..160 {
            append_value(&engine, 0, &[b'v'; 20_000]).await.unwrap();
        }
        engine.shutdown().await;
        drop(engine);
        let slots = fixture.slots().len() as u64;
        assert!(slots > 2 * OTHERS, "only {slots} slots");
        // The kernel closes the last descriptors with a delay.
        for _ in 0..1_000 {
            if open_files() < before + OTHERS / 2 {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        let current = Some(before + 3 * slots + OTHERS);
        setrlimit(Resource::Nofile, Rlimit { current, maximum: getrlimit(Resource::Nofile).maximum }).unwrap();
        let engine = fixture.start();
        append_value(&engine, 0, b"after").await.unwrap();
        engine.shutdown().await;
    });
}
