//! Acknowledged batches are read back, now and after a restart or a kill.

#![allow(clippy::unwrap_used)]

mod engine_fixture;

use bytes::Bytes;
use engine_fixture::{append, append_value, batch, id, on_every_disk, open, read_all, to_append, values};
use rustmq_engine_api::{
    AppendError, Awaited, EpochEnd, FetchWaiter, Isolation, OpenPartition, ReadError, ReadFrontier, ReadRequest,
};
use rustmq_model::{LeaderEpoch, Offset};

#[test]
fn appended_batches_get_offsets_in_order_and_are_read_from_memory() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        assert_eq!(append_value(&engine, 0, b"a").await, Ok(Offset(0)));
        let appends =
            vec![to_append(0, batch(&[b"b", b"c"])), to_append(1, batch(&[b"x"])), to_append(0, batch(&[b"d"]))];
        let results = engine.append(appends).await.wait().await;
        assert_eq!(results[0].as_ref().unwrap().base_offset, Offset(1));
        assert_eq!(results[1], Err(AppendError::UnknownPartition));
        assert_eq!(results[2].as_ref().unwrap().base_offset, Offset(3));
        assert_eq!(reader.frontiers().high_watermark, Offset(4));
        let request = ReadRequest {
            from: Offset(2),
            max_bytes: 1 << 20,
            at_least_one: true,
            isolation: Isolation::ReadCommitted,
        };
        let read = reader.read_in_memory(request).unwrap().expect("the tail is in memory");
        assert_eq!(read.batches.len(), 2, "the batch with offsets 1 and 2, and the one with 3");
        assert_eq!(values(&reader).await, ["a", "b", "c", "d"].map(Bytes::from));
        let beyond = reader.read(ReadRequest { from: Offset(5), ..request }).await;
        assert!(matches!(beyond, Err(ReadError::OutOfRange { requested: Offset(5), .. })), "{beyond:?}");
        engine.shutdown().await;
        assert!(reader.is_closed());
    });
}

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
fn leader_epochs_fence_and_survive() {
    on_every_disk(async |fixture| {
        let config = rustmq_engine_api::LogConfig::unlimited();
        let engine = fixture.start();
        let open_in = |epoch| OpenPartition { id: id(0), leader_epoch: LeaderEpoch(epoch), config };
        let reader = engine.open(vec![open_in(3)]).await.remove(0).unwrap();
        append_value(&engine, 0, b"in 3").await.unwrap();
        engine.open(vec![open_in(5)]).await.remove(0).unwrap();
        append_value(&engine, 0, b"in 5").await.unwrap();
        assert!(engine.open(vec![open_in(4)]).await.remove(0).is_err());
        let mut stale = to_append(0, batch(&[b"stale"]));
        stale.leader_epoch = Some(LeaderEpoch(3));
        let refused = engine.append(vec![stale]).await.wait().await.remove(0);
        assert!(matches!(refused, Err(AppendError::FencedLeaderEpoch { .. })), "{refused:?}");
        let ended = |epoch, end| Some(EpochEnd { epoch: LeaderEpoch(epoch), end_offset: Offset(end) });
        assert_eq!(reader.end_offset_for_epoch(LeaderEpoch(3)), ended(3, 1));
        engine.shutdown().await;
        let engine = fixture.start();
        let reader = engine.reader(id(0)).unwrap();
        assert_eq!(reader.leader_epoch(), LeaderEpoch(5));
        assert_eq!(reader.end_offset_for_epoch(LeaderEpoch(4)), ended(3, 1));
        assert_eq!(reader.end_offset_for_epoch(LeaderEpoch(5)), ended(5, 2));
        engine.shutdown().await;
    });
}

#[test]
fn a_waiter_is_woken_by_the_next_append() {
    on_every_disk(async |fixture| {
        let engine = fixture.start();
        let reader = open(&engine, 0).await;
        let waiter = FetchWaiter::new();
        let awaited = Awaited { from: Offset(0), frontier: ReadFrontier::HighWatermark, above: Offset(0) };
        reader.watch(&waiter, awaited);
        let (wait, appended) = tokio::join!(waiter.wait(), append(&engine, 0, batch(&[b"news"])));
        let () = wait;
        appended.unwrap();
        assert_eq!(read_all(&reader, 0).await.unwrap(), [(0, Bytes::from("news"))]);
        engine.shutdown().await;
        reader.watch(&waiter, awaited);
        waiter.wait().await;
    });
}
