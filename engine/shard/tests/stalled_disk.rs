//! While the disk stalls nothing is acknowledged, and requests that do not need the disk do not
//! wait for it.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use std::time::Duration;

use engine_fixture::{Fixture, append_value, batch, on_every_disk, open, read_all, to_append};
use rustmq_engine_api::{Engine, PartitionReader};
use rustmq_model::{ByteSize, Offset, Timestamp};

const RECORDS: i64 = 700;

/// An engine whose disk syncs nothing from now on, with records that have left memory.
async fn stalled(fixture: &Fixture) -> (Engine, PartitionReader) {
    let engine = fixture.start();
    let reader = open(&engine, 0).await;
    for _ in 0..RECORDS {
        append_value(&engine, 0, &[b'v'; 3_000]).await.unwrap();
    }
    fixture.faults().hold_syncs();
    (engine, reader)
}

#[test]
fn requests_that_need_no_sync_do_not_wait_for_one() {
    on_every_disk(async |fixture| {
        let (engine, reader) = stalled(&fixture).await;
        let held = engine.append(vec![to_append(0, batch(&[b"held"]))]).await;
        let found = reader.offset_for_timestamp(Timestamp(1_000)).await.unwrap().unwrap();
        assert_eq!(found.offset, Offset(0));
        assert_eq!(reader.offset_for_timestamp(Timestamp(2_000)).await.unwrap(), None);
        assert_eq!(read_all(&reader, 0).await.unwrap().len(), 700, "most of them are read from disk");
        assert_eq!(reader.frontiers().high_watermark, Offset(RECORDS), "nothing is readable without its sync");
        fixture.faults().release_syncs();
        assert_eq!(held.wait().await[0].as_ref().unwrap().base_offset, Offset(RECORDS));
        engine.shutdown().await;
    });
}

#[test]
fn appends_gather_behind_a_sync_that_stalls() {
    on_every_disk(async |fixture| {
        let (engine, reader) = stalled(&fixture).await;
        // The inbox alone could not hold them.
        let mut waits = Vec::new();
        for _ in 0..3 * fixture.config.inbox {
            waits.push(engine.append(vec![to_append(0, batch(&[b"v"]))]).await);
        }
        assert_eq!(reader.frontiers().high_watermark, Offset(RECORDS), "nothing is acknowledged without its sync");
        fixture.faults().release_syncs();
        for (offset, wait) in (RECORDS..).zip(waits) {
            assert_eq!(wait.wait().await[0].as_ref().unwrap().base_offset, Offset(offset));
        }
        engine.shutdown().await;
    });
}

#[test]
fn look_ups_do_not_wait_behind_appends_that_have_no_room() {
    on_every_disk(async |mut fixture| {
        fixture.config.settings.segment_size = ByteSize::mib(16);
        // Memory for two commits in flight, the batches that gather behind them, and all queues.
        fixture.config.capacity = ByteSize::mib(512);
        let (engine, reader) = stalled(&fixture).await;
        // Appends until gathered batches reach their bound, and then the queues before them.
        let mut waits = Vec::new();
        let large = || engine.append(vec![to_append(0, batch(&[&[b'v'; 30_000]]))]);
        while let Ok(wait) = tokio::time::timeout(Duration::from_secs(1), large()).await {
            waits.push(wait);
            assert!(waits.len() < 10_000, "gathered batches have a bound");
        }
        let found = reader.offset_for_timestamp(Timestamp(1_000)).await.unwrap().unwrap();
        assert_eq!(found.offset, Offset(0));
        assert_eq!(read_all(&reader, 0).await.unwrap().len(), 700);
        fixture.faults().release_syncs();
        for (offset, wait) in (RECORDS..).zip(waits) {
            assert_eq!(wait.wait().await[0].as_ref().unwrap().base_offset, Offset(offset));
        }
        engine.shutdown().await;
    });
}

#[test]
fn a_shutdown_with_a_limit_does_not_wait_for_a_stalled_disk() {
    on_every_disk(async |fixture| {
        let (engine, _) = stalled(&fixture).await;
        let held = engine.append(vec![to_append(0, batch(&[b"held"]))]).await;
        engine.shutdown_within(Duration::from_millis(100)).await.unwrap_err();
        // A real process would end here. In this one, a sync that succeeds later is still
        // acknowledged.
        fixture.faults().release_syncs();
        held.wait().await.remove(0).unwrap();
        engine.shutdown_within(Duration::from_secs(60)).await.unwrap();
        let engine = fixture.start();
        assert_eq!(open(&engine, 0).await.frontiers().high_watermark, Offset(RECORDS + 1));
        engine.shutdown().await;
    });
}
