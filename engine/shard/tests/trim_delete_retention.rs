//! Trims, deletion and retention free space. A full WAL refuses appends, serves other requests, and
//! recovers by itself.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::fs::File;
use std::time::{Duration, SystemTime};

use engine_fixture::{
    append, append_value, batch_at, id, on_every_disk, open, open_with, producer_batch, read_all, until, values,
};
use rustmq_engine_api::{AppendError, DeleteError, Engine, LogConfig, ReadError, TrimError, TrimTo};
use rustmq_model::{Offset, Timestamp};

static VALUE: [u8; 30_000] = [b'v'; 30_000];

fn used(engine: &Engine) -> u64 {
    engine.status().shards[0].wal_used_bytes >> 20
}

#[test]
fn a_trim_is_answered_with_the_new_start_and_survives() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        for _ in 0..10 {
            append_value(&engine, 0, b"v").await.unwrap();
        }
        assert_eq!(engine.trim(id(0), TrimTo::Offset(Offset(4))).await, Ok(Offset(4)));
        assert_eq!(engine.trim(id(0), TrimTo::Offset(Offset(2))).await, Ok(Offset(4)), "a lower start changes nothing");
        let above = engine.trim(id(0), TrimTo::Offset(Offset(11))).await;
        let high_watermark = Offset(10);
        assert_eq!(above, Err(TrimError::AboveHighWatermark { requested: Offset(11), high_watermark }));
        assert_eq!(engine.trim(id(1), TrimTo::HighWatermark).await, Err(TrimError::UnknownPartition));
        assert!(matches!(read_all(&reader, 3).await, Err(ReadError::OutOfRange { .. })));
        assert_eq!(values(&reader).await.len(), 6);
        let killed = fixture.snapshot();
        engine.shutdown().await;
        let engine = killed.start();
        let reader = engine.reader(id(0)).unwrap();
        assert_eq!(reader.frontiers().log_start, Offset(4));
        assert_eq!(values(&reader).await.len(), 6);
        assert_eq!(engine.trim(id(0), TrimTo::HighWatermark).await, Ok(Offset(10)));
        assert_eq!(append_value(&engine, 0, b"v").await, Ok(Offset(10)));
        engine.shutdown().await;
    });
}

#[test]
fn a_full_wal_refuses_appends_and_recovers_by_a_trim() {
    on_every_disk(async |mut fixture| {
        fixture.config.capacity = rustmq_model::ByteSize::mib(12);
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        let quiet = open(&engine, 1).await;
        append_value(&engine, 1, b"kept").await.unwrap();
        for round in 0..4 {
            let mut appended = 0;
            loop {
                match append_value(&engine, 0, &VALUE).await {
                    Ok(_) => appended += 1,
                    Err(AppendError::Full) => break,
                    Err(error) => panic!("{error}"),
                }
                assert!(appended < 1_000, "a WAL of six segments is never full");
            }
            assert!(engine.status().shards[0].full);
            assert!(appended > 10, "round {round}: {appended}");
            assert!(!values(&reader).await.is_empty(), "a full WAL is readable");
            assert_eq!(values(&quiet).await, ["kept"]);
            engine.trim(id(0), TrimTo::HighWatermark).await.unwrap();
            until("room", async || append_value(&engine, 0, &VALUE).await.is_ok()).await;
        }
        let killed = fixture.snapshot();
        engine.shutdown().await;
        let engine = killed.start();
        assert_eq!(values(&engine.reader(id(1)).unwrap()).await, ["kept"]);
        engine.shutdown().await;
    });
}

#[test]
fn restarts_of_a_full_wal_take_no_more_disk() {
    on_every_disk(async |mut fixture| {
        fixture.config.capacity = rustmq_model::ByteSize::mib(8);
        for restart in 0..8 {
            let engine = fixture.start();
            open(&engine, 0).await;
            let mut refused = 0;
            // Appends without room are answered with a trim, so each life ends with segments that
            // are freed and not reused.
            while refused < 3 {
                if append_value(&engine, 0, &VALUE).await.is_err() {
                    refused += 1;
                    engine.trim(id(0), TrimTo::HighWatermark).await.unwrap();
                }
            }
            engine.shutdown().await;
            let slots = fixture.slots().len();
            assert!(slots <= 9, "{slots} slots of 1 MiB after {restart} restarts, of 8 MiB");
        }
    });
}

#[test]
fn a_deleted_partition_is_gone_and_its_segments_come_back() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        let kept = open(&engine, 1).await;
        let reader = open(&engine, 0).await;
        append_value(&engine, 1, b"kept").await.unwrap();
        for _ in 0..200 {
            append_value(&engine, 0, &VALUE).await.unwrap();
        }
        assert!(used(&engine) >= 6);
        assert_eq!(engine.delete(vec![id(0), id(9)]).await, [Ok(()), Err(DeleteError::UnknownPartition)]);
        assert!(reader.is_closed());
        assert!(matches!(read_all(&reader, 0).await, Ok(_) | Err(ReadError::Closed)));
        assert_eq!(append_value(&engine, 0, b"v").await, Err(AppendError::UnknownPartition));
        assert_eq!(values(&kept).await, ["kept"]);
        let killed = fixture.snapshot();
        engine.shutdown().await;
        let engine = killed.start();
        assert_eq!(engine.partitions(), [id(1)]);
        assert_eq!(values(&engine.reader(id(1)).unwrap()).await, ["kept"]);
        engine.shutdown().await;
    });
}

#[test]
fn retention_cuts_by_size_and_by_time() {
    on_every_disk(async |mut fixture| {
        fixture.config.retention_interval = Duration::from_millis(20);
        fixture.config.capacity = rustmq_model::ByteSize::mib(8);
        let engine = fixture.start();
        let by_size = LogConfig { retention_bytes: Some(500_000), ..LogConfig::unlimited() };
        let by_size = open_with(&engine, 0, by_size).await;
        let by_time = LogConfig { retention_time: Some(Duration::from_secs(3_600)), ..LogConfig::unlimited() };
        let by_time = open_with(&engine, 1, by_time).await;
        for _ in 0..100 {
            append_value(&engine, 0, &VALUE).await.unwrap();
        }
        engine_fixture::append(&engine, 1, batch_at(Timestamp(1_000), &[b"old"])).await.unwrap();
        engine_fixture::append(&engine, 1, batch_at(Timestamp(i64::MAX / 2), &[b"new"])).await.unwrap();
        until("retention by size", async || by_size.frontiers().log_start > Offset(60)).await;
        assert!(by_size.size_bytes() >= 500_000, "{}", by_size.size_bytes());
        assert!(values(&by_size).await.len() >= 16);
        until("retention by time", async || by_time.frontiers().log_start == Offset(1)).await;
        assert_eq!(values(&by_time).await, ["new"]);
        until("segments come back", async || used(&engine) <= 3).await;
        engine.shutdown().await;
    });
}

/// Waits until retention has checked every partition, including partition 1 with its records of
/// 1970.
async fn until_retention_has_looked(engine: &Engine) {
    let reader = engine.reader(id(1)).unwrap();
    let old = append(engine, 1, batch_at(Timestamp(1_000), &[b"old"])).await.unwrap().base_offset;
    until("retention by time", async || reader.frontiers().log_start > old).await;
}

fn hours(hours: u64) -> LogConfig {
    let time = Duration::from_secs(hours * 3_600);
    LogConfig { retention_time: Some(time), producer_expiry: time, ..LogConfig::unlimited() }
}

#[test]
fn records_without_a_time_age_from_their_append_on() {
    on_every_disk(async |mut fixture| {
        fixture.config.retention_interval = Duration::from_millis(10);
        let engine = fixture.start();
        let undated = batch_at(Timestamp::NONE, &[b"v"]);
        open_with(&engine, 0, hours(1)).await;
        open_with(&engine, 1, hours(1)).await;
        let brief = LogConfig { retention_time: Some(Duration::from_millis(20)), ..LogConfig::unlimited() };
        let brief = open_with(&engine, 2, brief).await;
        append(&engine, 0, undated.clone()).await.unwrap();
        append(&engine, 2, undated.clone()).await.unwrap();
        until("the end of 20 ms", async || brief.frontiers().log_start == Offset(1)).await;
        until_retention_has_looked(&engine).await;
        assert_eq!(engine.reader(id(0)).unwrap().frontiers().log_start, Offset(0), "an hour has not passed");
        let (young, old) = (fixture.snapshot(), fixture.snapshot());
        engine.shutdown().await;
        for slot in old.slots() {
            let two_hours_ago = SystemTime::now() - Duration::from_secs(7_200);
            File::options().write(true).open(slot).unwrap().set_modified(two_hours_ago).unwrap();
        }
        for (fixture, log_start) in [(young, Offset(0)), (old, Offset(1))] {
            let engine = fixture.start();
            let reader = open_with(&engine, 0, hours(1)).await;
            open_with(&engine, 1, hours(1)).await;
            until_retention_has_looked(&engine).await;
            until("its turn", async || reader.frontiers().log_start == log_start).await;
            engine.shutdown().await;
        }
    });
}

#[test]
fn an_idempotent_producer_of_old_records_is_remembered() {
    on_every_disk(async |mut fixture| {
        fixture.config.retention_interval = Duration::from_millis(10);
        let batch = || producer_batch(7, 0, 0, &[b"a"]);
        let engine = fixture.start();
        let mut log = hours(24);
        log.retention_time = None;
        open_with(&engine, 0, log).await;
        open_with(&engine, 1, hours(1)).await;
        append(&engine, 0, batch()).await.unwrap();
        until_retention_has_looked(&engine).await;
        let again = append(&engine, 0, batch()).await.unwrap();
        assert_eq!((again.base_offset, again.duplicate_of), (Offset(0), Some(Timestamp(1_000))));
        let killed = fixture.snapshot();
        engine.shutdown().await;
        let engine = killed.start();
        open_with(&engine, 0, log).await;
        open_with(&engine, 1, hours(1)).await;
        until_retention_has_looked(&engine).await;
        let again = append(&engine, 0, batch()).await.unwrap();
        assert_eq!((again.base_offset, again.duplicate_of), (Offset(0), Some(Timestamp(1_000))));
        engine.shutdown().await;
    });
}

/// Appends until there is no room. A quiet partition gets a batch in each segment, which pins the
/// segment.
async fn fill_up(engine: &Engine) -> i64 {
    let mut appended = 0;
    loop {
        match append_value(engine, 0, &VALUE).await {
            Ok(offset) => appended = offset.0 + 1,
            Err(AppendError::Full) => return appended,
            Err(error) => panic!("{error}"),
        }
        if appended % 12 == 0 {
            let _ = append_value(engine, 1, &VALUE).await;
        }
    }
}

#[test]
fn a_full_wal_is_cleaned_without_waiting_for_the_clock() {
    on_every_disk(async |mut fixture| {
        fixture.config.capacity = rustmq_model::ByteSize::mib(10);
        fixture.config.retention_interval = Duration::from_secs(3_600);
        let engine = fixture.start();
        open(&engine, 0).await;
        let quiet = open(&engine, 1).await;
        for _ in 0..3 {
            let end = fill_up(&engine).await;
            let mut trims = Vec::new();
            for to in (1..=end).rev().step_by(5).collect::<Vec<_>>().into_iter().rev() {
                let engine = engine.clone();
                trims.push(tokio::spawn(async move { engine.trim(id(0), TrimTo::Offset(Offset(to))).await }));
            }
            for trim in trims {
                trim.await.unwrap().unwrap();
            }
            until("room", async || append_value(&engine, 0, &VALUE).await.is_ok()).await;
        }
        fill_up(&engine).await;
        let kept = quiet.frontiers().high_watermark.0;
        // Shuts down before anything has moved.
        let (trimmed, ()) = tokio::join!(engine.trim(id(0), TrimTo::HighWatermark), engine.shutdown());
        trimmed.unwrap();
        let engine = fixture.start();
        until("room after a restart", async || append_value(&engine, 0, &VALUE).await.is_ok()).await;
        let quiet = engine.reader(id(1)).unwrap();
        assert_eq!(i64::try_from(values(&quiet).await.len()).unwrap(), kept);
        engine.shutdown().await;
    });
}
