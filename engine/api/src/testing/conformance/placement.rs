//! Opening, trimming, deleting, retention, space.

use std::time::Duration;

use rustmq_model::{ByteSize, LeaderEpoch, Offset, Timestamp};

use super::Subject;
use crate::testing::operations::{
    append, append_value, batch, batch_at, id, open, open_with, producer_batch, read_all, read_from, to_append, until,
    values,
};
use crate::{AppendError, DeleteError, LogConfig, OpenError, OpenPartition, ReadError, TrimError, TrimTo};

static VALUE: [u8; 30_000] = [b'v'; 30_000];

pub(super) async fn partitions_are_opened_once_and_listed(subject: &impl Subject) {
    let engine = subject.engine();
    assert!(engine.partitions().is_empty() && engine.reader(id(0)).is_none());
    let open = |partition, epoch| OpenPartition {
        id: id(partition),
        leader_epoch: LeaderEpoch(epoch),
        config: LogConfig::unlimited(),
    };
    let opened = engine.open(vec![open(2, 4), open(0, 0), open(2, 3), open(1, 0), open(2, 4)]).await;
    let ids: Vec<_> = opened.iter().map(|result| result.as_ref().map(|reader| reader.id().partition.0)).collect();
    let fenced = OpenError::FencedLeaderEpoch { given: LeaderEpoch(3), current: LeaderEpoch(4) };
    assert_eq!(ids, [Ok(2), Ok(0), Err(&fenced), Ok(1), Ok(2)]);
    assert_eq!(engine.partitions(), [id(0), id(1), id(2)]);
    append_value(engine, 2, b"v").await.unwrap();
    for reader in [opened[0].as_ref().unwrap(), opened[4].as_ref().unwrap(), &engine.reader(id(2)).unwrap()] {
        assert_eq!(values(reader).await, ["v"], "all of them read the same log");
    }
    let shards = engine.status().shards;
    assert_eq!(shards.iter().map(|shard| shard.partitions).sum::<u64>(), 3);
    assert!(shards.iter().all(|shard| shard.partitions < 3 && shard.poisoned.is_none() && !shard.full));
    assert!(shards.iter().all(|shard| shard.wal_used_bytes > 0 && shard.wal_used_bytes <= shard.wal_capacity_bytes));
    assert_eq!(engine.configure(id(9), LogConfig::unlimited()).await, Ok(()), "there is nothing to configure");
}

pub(super) async fn a_trim_raises_the_log_start(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    for _ in 0..10 {
        append_value(engine, 0, b"v").await.unwrap();
    }
    assert_eq!(engine.trim(id(0), TrimTo::Offset(Offset(4))).await, Ok(Offset(4)));
    assert_eq!(engine.trim(id(0), TrimTo::Offset(Offset(2))).await, Ok(Offset(4)), "it never falls");
    assert_eq!(reader.frontiers().log_start, Offset(4));
    let (requested, high_watermark) = (Offset(11), Offset(10));
    let above = engine.trim(id(0), TrimTo::Offset(requested)).await;
    assert_eq!(above, Err(TrimError::AboveHighWatermark { requested, high_watermark }));
    assert_eq!(engine.trim(id(1), TrimTo::HighWatermark).await, Err(TrimError::UnknownPartition));
    assert!(matches!(read_all(&reader, 3).await, Err(ReadError::OutOfRange { .. })));
    assert_eq!(values(&reader).await.len(), 6);
    assert_eq!(engine.trim(id(0), TrimTo::HighWatermark).await, Ok(Offset(10)));
    assert_eq!((values(&reader).await.len(), reader.size_bytes()), (0, 0));
    let appended = append(engine, 0, batch(&[b"v"])).await.unwrap();
    assert_eq!((appended.base_offset, appended.log_start), (Offset(10), Offset(10)));
}

pub(super) async fn a_deleted_partition_is_gone(subject: &impl Subject) {
    let engine = subject.engine();
    let (kept, reader) = (open(engine, 1).await, open(engine, 0).await);
    append_value(engine, 1, b"kept").await.unwrap();
    append_value(engine, 0, b"deleted").await.unwrap();
    assert_eq!(engine.delete(vec![id(0), id(9)]).await, [Ok(()), Err(DeleteError::UnknownPartition)]);
    assert!(reader.is_closed());
    assert_eq!(engine.partitions(), [id(1)]);
    assert_eq!(append_value(engine, 0, b"v").await, Err(AppendError::UnknownPartition));
    assert_eq!(engine.trim(id(0), TrimTo::HighWatermark).await, Err(TrimError::UnknownPartition));
    assert_eq!(engine.delete(vec![id(0)]).await, [Err(DeleteError::UnknownPartition)]);
    assert_eq!(values(&kept).await, ["kept"]);
}

pub(super) async fn a_partition_that_is_opened_right_after_its_deletion_starts_empty(subject: &impl Subject) {
    let engine = subject.engine();
    open(engine, 0).await;
    for _ in 0..50 {
        let old = engine.append(vec![to_append(0, batch(&[b"old"]))]).await;
        let (deleted, reader) = tokio::join!(engine.delete(vec![id(0)]), open(engine, 0));
        assert_eq!(deleted, [Ok(())]);
        let _ = old.wait().await;
        assert_eq!(reader.frontiers().high_watermark, Offset(0));
        assert_eq!(append_value(engine, 0, b"new").await, Ok(Offset(0)));
        assert_eq!(values(&reader).await, ["new"]);
    }
}

pub(super) async fn the_size_counts_what_lies_above_the_log_start(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    for _ in 0..10 {
        let trim = engine.trim(id(0), TrimTo::HighWatermark);
        let appends = async {
            let mut waits = Vec::new();
            for _ in 0..20 {
                waits.push(engine.append(vec![to_append(0, batch(&[&[b'v'; 1_000]]))]).await);
                tokio::task::yield_now().await;
            }
            for wait in waits {
                wait.wait().await.remove(0).unwrap();
            }
        };
        let (trimmed, ()) = tokio::join!(trim, appends);
        trimmed.unwrap();
        let read = reader.read(read_from(reader.frontiers().log_start, 1 << 20)).await.unwrap();
        assert_eq!(reader.size_bytes(), read.bytes() as u64);
    }
}

pub(super) async fn retention_cuts_by_size_and_by_time(subject: &impl Subject) {
    let engine = subject.engine();
    let by_size = LogConfig { retention_bytes: Some(500_000), ..LogConfig::unlimited() };
    let by_size = open_with(engine, 0, by_size).await;
    let by_time = LogConfig { retention_time: Some(Duration::from_secs(3_600)), ..LogConfig::unlimited() };
    let by_time = open_with(engine, 1, by_time).await;
    let unlimited = open(engine, 2).await;
    for _ in 0..100 {
        append_value(engine, 0, &VALUE).await.unwrap();
    }
    for partition in [1, 2] {
        append(engine, partition, batch_at(Timestamp(1_000), &[b"old"])).await.unwrap();
        append(engine, partition, batch_at(Timestamp(i64::MAX / 2), &[b"new"])).await.unwrap();
    }
    until("retention by size", async || by_size.frontiers().log_start > Offset(60)).await;
    assert!(by_size.size_bytes() >= 500_000, "{}", by_size.size_bytes());
    until("retention by time", async || by_time.frontiers().log_start == Offset(1)).await;
    assert_eq!(values(&by_time).await, ["new"]);
    assert_eq!(values(&unlimited).await, ["old", "new"]);
    // A partition's configuration may change while it is open.
    let config = LogConfig { retention_time: Some(Duration::from_secs(3_600)), ..LogConfig::unlimited() };
    engine.configure(id(2), config).await.unwrap();
    until("the new retention", async || unlimited.frontiers().log_start == Offset(1)).await;
}

pub(super) async fn idle_producers_are_forgotten_as_configured(subject: &impl Subject) {
    let engine = subject.engine();
    open(engine, 0).await;
    append(engine, 0, producer_batch(7, 0, 0, &[b"a"])).await.unwrap();
    let gap = async || append(engine, 0, producer_batch(7, 0, 5, &[b"b"])).await;
    assert!(matches!(gap().await, Err(AppendError::OutOfOrderSequence { .. })));
    let config = LogConfig { producer_expiry: Duration::from_millis(1), ..LogConfig::unlimited() };
    engine.configure(id(0), config).await.unwrap();
    // A producer that is not remembered begins where it likes.
    until("the expiry", async || gap().await.is_ok()).await;
}

pub(super) async fn a_full_log_refuses_appends_and_comes_back_by_a_trim(subject: &impl Subject) {
    let engine = subject.engine();
    let (reader, quiet) = (open(engine, 0).await, open(engine, 1).await);
    append_value(engine, 1, b"kept").await.unwrap();
    let large = vec![b'v'; 200_000];
    for round in 0..2 {
        let mut appended = 0_u64;
        loop {
            match append_value(engine, 0, &large).await {
                Ok(_) => appended += large.len() as u64,
                Err(AppendError::Full) => break,
                Err(error) => panic!("{error}"),
            }
            assert!(appended < 2 * ByteSize::mib(32).0, "the log is never full");
        }
        assert!(engine.status().shards[0].full);
        assert!(appended > ByteSize::mib(4).0, "round {round}: {appended}");
        assert!(!values(&reader).await.is_empty(), "a full log is readable");
        assert_eq!(values(&quiet).await, ["kept"]);
        engine.trim(id(0), TrimTo::HighWatermark).await.unwrap();
        until("room", async || append_value(engine, 0, &large).await.is_ok()).await;
        engine.trim(id(0), TrimTo::HighWatermark).await.unwrap();
        until("a log that is not full", async || !engine.status().shards[0].full).await;
    }
    assert_eq!(values(&quiet).await, ["kept"], "also what was moved to make room");
}
