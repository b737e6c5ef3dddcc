//! Acknowledged batches are read back, now and after a restart or a kill.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use engine_fixture::{append_value, id, on_every_disk, open, values};
use rustmq_engine_api::{EpochEnd, LogConfig, OpenPartition};
use rustmq_model::{LeaderEpoch, Offset};

#[test]
fn a_restart_finds_everything_that_was_acknowledged() {
    on_every_disk(async |fixture| {
        for round in 0..3_i64 {
            let engine = fixture.start();
            assert_eq!(engine.partitions().len(), if round == 0 { 0 } else { 2 });
            let readers = [open(&engine, 0).await, open(&engine, 1).await];
            for (partition, reader) in (0..).zip(&readers) {
                assert_eq!(reader.frontiers().high_watermark, Offset(10 * round));
                for n in 0..10 {
                    let value = format!("{partition}-{round}-{n}");
                    assert_eq!(append_value(&engine, partition, value.as_bytes()).await, Ok(Offset(10 * round + n)));
                }
                let expected: Vec<_> =
                    (0..=round).flat_map(|round| (0..10).map(move |n| format!("{partition}-{round}-{n}"))).collect();
                assert_eq!(values(reader).await, expected);
            }
            engine.shutdown().await;
        }
    });
}

#[test]
fn a_kill_loses_nothing_that_was_acknowledged() {
    on_every_disk(async |fixture| {
        let mut fixture = fixture;
        let mut expected = Vec::new();
        for round in 0..4 {
            let engine = fixture.start();
            let reader = open(&engine, 0).await;
            assert_eq!(values(&reader).await, expected);
            for n in 0..50 {
                let value = format!("{round}-{n}");
                append_value(&engine, 0, value.as_bytes()).await.unwrap();
                expected.push(value);
            }
            let killed = fixture.snapshot();
            engine.shutdown().await;
            fixture = killed;
        }
    });
}

#[test]
fn leader_epochs_survive() {
    on_every_disk(async |fixture| {
        let config = LogConfig::unlimited();
        let engine = fixture.start();
        for epoch in [3, 5] {
            let open = OpenPartition { id: id(0), leader_epoch: LeaderEpoch(epoch), config };
            engine.open(vec![open]).await.remove(0).unwrap();
            append_value(&engine, 0, b"v").await.unwrap();
        }
        engine.shutdown().await;
        let engine = fixture.start();
        let reader = engine.reader(id(0)).unwrap();
        assert_eq!(reader.leader_epoch(), LeaderEpoch(5));
        let ended = |epoch, end| Some(EpochEnd { epoch: LeaderEpoch(epoch), end_offset: Offset(end) });
        assert_eq!(reader.end_offset_for_epoch(LeaderEpoch(4)), ended(3, 1));
        assert_eq!(reader.end_offset_for_epoch(LeaderEpoch(5)), ended(5, 2));
        engine.shutdown().await;
    });
}
