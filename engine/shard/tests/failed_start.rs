//! A start that fails in one WAL leaves no shard of the others behind. The only test of its
//! process, because it counts the process's threads.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::fs::{self, OpenOptions};
use std::time::{Duration, Instant};

use engine_fixture::{append_value, open};
use rustmq_engine_shard::{EngineConfig, EngineSettings, Metrics, StartError, start};
use rustmq_model::ByteSize;

fn shard_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").unwrap();
    // A thread may end between the listing and the read.
    let names = tasks.filter_map(|task| fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.filter(|name| name.starts_with("rustmq-shard")).count()
}

/// A joined thread may stay in the listing for a moment. A thread that was left behind stays for
/// good.
fn have_shards_ended() -> bool {
    let begun = Instant::now();
    while shard_threads() > 0 && begun.elapsed() < Duration::from_secs(1) {
        std::thread::yield_now();
    }
    shard_threads() == 0
}

#[test]
fn a_failed_start_leaves_no_shard_behind() {
    let folder = tempfile::tempdir().unwrap();
    let settings = EngineSettings {
        shards: Some(3),
        segment_size: ByteSize::mib(1),
        tail_memory: Some(ByteSize::mib(1)),
        ..EngineSettings::default()
    };
    let mut config = EngineConfig::new(settings, folder.path().join("wal"));
    config.capacity = ByteSize::mib(48);
    let (engine, _) = start(&config, &Metrics::default()).unwrap();
    assert_eq!(shard_threads(), 3);
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(async {
        // Every WAL holds some data.
        for partition in 0..64 {
            open(&engine, partition).await;
            append_value(&engine, partition, b"value").await.unwrap();
        }
        engine.shutdown().await;
    });
    while shard_threads() > 0 {
        std::thread::yield_now();
    }

    for slot in fs::read_dir(config.dir.join("wal-001")).unwrap() {
        OpenOptions::new().write(true).open(slot.unwrap().path()).unwrap().set_len(1 << 19).unwrap();
    }
    for _ in 0..10 {
        let refused = start(&config, &Metrics::default()).unwrap_err();
        assert!(matches!(refused, StartError::Recover(_)), "{refused}");
        assert!(have_shards_ended());
    }
}
