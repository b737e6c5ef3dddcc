//! Reads: limits, memory, older batches, times, waiters.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rustmq_model::{LeaderEpoch, Offset, Timestamp};

use super::{Subject, poll_once};
use crate::testing::operations::{
    append, append_value, batch, batch_at, id, open, read_all, read_from, to_append, values,
};
use crate::{
    Awaited, FetchWaiter, FoundOffset, Isolation, LogConfig, OpenPartition, PartitionReader, ReadError, ReadFrontier,
    ReadRequest, TrimTo,
};

pub(super) async fn a_read_gives_whole_batches_within_its_limit(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    let batches = [batch(&[b"a", b"b"]), batch(&[b"c"]), batch(&[b"d", b"e", b"f"])];
    let lengths = batches.each_ref().map(Bytes::len);
    for batch in batches {
        append(engine, 0, batch).await.unwrap();
    }
    let count = async |from: i64, max_bytes: usize, at_least_one: bool| {
        let isolation = Isolation::ReadCommitted;
        let read = reader.read(ReadRequest { from: Offset(from), max_bytes, at_least_one, isolation }).await.unwrap();
        assert_eq!(read.frontiers, reader.frontiers());
        assert_eq!(read.bytes(), read.batches.iter().map(Bytes::len).sum::<usize>());
        read.batches.len()
    };
    assert_eq!(count(0, 1 << 20, false).await, 3);
    assert_eq!(count(1, lengths[0] + lengths[1], false).await, 2, "the first begins below the offset");
    assert_eq!(count(0, lengths[0] + lengths[1] + lengths[2] - 1, false).await, 2);
    assert_eq!(count(0, lengths[0] - 1, false).await, 0);
    assert_eq!(count(0, 1, true).await, 1);
    assert_eq!(count(0, 0, false).await, 0);
    assert_eq!(count(6, 1 << 20, true).await, 0, "the end of the log");
    for from in [-1, 7] {
        let beyond = reader.read(read_from(Offset(from), 100)).await;
        let expected = ReadError::OutOfRange { requested: Offset(from), frontiers: reader.frontiers() };
        assert_eq!(beyond.unwrap_err(), expected);
    }
    let in_memory = reader.read_in_memory(read_from(Offset(2), 1 << 20)).unwrap();
    assert_eq!(in_memory.expect("recent batches are in memory").batches.len(), 2);
}

/// Records with large values, which take 8 MB in all.
async fn fill(subject: &impl Subject, reader: &PartitionReader) -> Vec<Bytes> {
    let value = |number: u8| vec![number; 100_000];
    for number in 0..80 {
        append_value(subject.engine(), reader.id().partition.0, &value(number)).await.unwrap();
    }
    (0..80).map(|number| Bytes::from(value(number))).collect()
}

pub(super) async fn batches_that_have_left_memory_are_read_the_same(subject: &impl Subject) {
    let reader = open(subject.engine(), 0).await;
    let expected = fill(subject, &reader).await;
    assert!(reader.read_in_memory(read_from(Offset(0), 100)).unwrap().is_none(), "8 MB do not fit in 1 MiB");
    assert!(reader.read_in_memory(read_from(Offset(79), 100)).unwrap().is_some());
    assert_eq!(values(&reader).await, expected);
    let inside = reader.read(read_from(Offset(3), 250_000)).await.unwrap();
    assert_eq!((inside.batches.len(), inside.frontiers), (2, reader.frontiers()));
    // A trim takes them from readers as well.
    subject.engine().trim(id(0), TrimTo::Offset(Offset(10))).await.unwrap();
    assert!(matches!(reader.read(read_from(Offset(9), 100)).await, Err(ReadError::OutOfRange { .. })));
    assert_eq!(read_all(&reader, 10).await.unwrap()[0], (10, expected[10].clone()));
}

pub(super) async fn a_read_waits_for_memory_that_others_hold(subject: &impl Subject) {
    let reader = open(subject.engine(), 0).await;
    fill(subject, &reader).await;
    let short = Duration::from_millis(20);
    let mut held = Vec::new();
    let from = loop {
        let from = Offset(i64::try_from(held.len()).unwrap());
        assert!(from < Offset(60), "2 MiB cannot hold more than 6 MB");
        match reader.read_within(read_from(from, 300_000), short).await {
            Ok(read) => held.extend(read.batches),
            Err(error) => {
                assert_eq!(error, ReadError::Busy);
                // A reader that may go without waits for nothing. It gets batches where the time
                // has passed for another reason than memory.
                let request = ReadRequest { at_least_one: false, ..read_from(from, 300_000) };
                let read = reader.read(request).await.unwrap();
                assert_eq!(read.frontiers, reader.frontiers());
                if read.batches.is_empty() {
                    break from;
                }
                held.extend(read.batches);
            }
        }
    };
    let mut patient = pin!(reader.read(read_from(from, 300_000)));
    assert!(poll_once(patient.as_mut()).is_pending());
    drop(held);
    assert!(!patient.await.unwrap().batches.is_empty());
}

pub(super) async fn records_are_found_by_time(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    assert_eq!(reader.max_timestamp().await, Ok(None));
    assert_eq!(reader.offset_for_timestamp(Timestamp(0)).await, Ok(None));
    for time in [1_000, 3_000, 2_000] {
        append(engine, 0, batch_at(Timestamp(time), &[b"one", b"two"])).await.unwrap();
    }
    // So that the others are not in memory, where that is small.
    for _ in 0..40 {
        append(engine, 0, batch_at(Timestamp(2_500), &[&vec![b'v'; 100_000]])).await.unwrap();
    }
    let found = |offset, timestamp| {
        let (offset, timestamp) = (Offset(offset), Timestamp(timestamp));
        Ok(Some(FoundOffset { offset, timestamp, leader_epoch: LeaderEpoch(0) }))
    };
    assert_eq!(reader.offset_for_timestamp(Timestamp(0)).await, found(0, 1_000));
    assert_eq!(reader.offset_for_timestamp(Timestamp(1_001)).await, found(2, 3_000));
    assert_eq!(reader.offset_for_timestamp(Timestamp(3_001)).await, Ok(None));
    assert_eq!(reader.max_timestamp().await, found(2, 3_000));
    engine.trim(id(0), TrimTo::Offset(Offset(3))).await.unwrap();
    assert_eq!(reader.offset_for_timestamp(Timestamp(0)).await, found(3, 3_000), "not below the log start");
    engine.trim(id(0), TrimTo::Offset(Offset(4))).await.unwrap();
    assert_eq!(reader.max_timestamp().await, found(6, 2_500));
}

pub(super) async fn waiters_are_woken_by_what_they_wait_for(subject: &impl Subject) {
    let engine = subject.engine();
    let (reader, other) = (open(engine, 0).await, open(engine, 1).await);
    for _ in 0..4 {
        append_value(engine, 0, b"v").await.unwrap();
    }
    let watch = |above: i64, from: i64| {
        let waiter = FetchWaiter::new();
        let (from, frontier, above) = (Offset(from), ReadFrontier::LastStable, Offset(above));
        reader.watch(&waiter, Awaited { from, frontier, above });
        waiter
    };
    let is_woken = |waiter: &Arc<FetchWaiter>| poll_once(pin!(waiter.wait())).is_ready();
    // By an append, if it is enough, and whichever partition it is in.
    let (next, later, either) = (watch(4, 0), watch(5, 0), watch(9, 0));
    other.watch(&either, Awaited { from: Offset(0), frontier: ReadFrontier::HighWatermark, above: Offset(0) });
    append_value(engine, 0, b"v").await.unwrap();
    assert_eq!([is_woken(&next), is_woken(&later), is_woken(&either)], [true, false, false]);
    append_value(engine, 1, b"v").await.unwrap();
    assert_eq!([is_woken(&next), is_woken(&later), is_woken(&either)], [false, false, true]);
    // By a log start above the offset that is read from.
    let (taken_from, spared) = (watch(9, 1), watch(9, 2));
    engine.trim(id(0), TrimTo::Offset(Offset(2))).await.unwrap();
    assert_eq!([is_woken(&taken_from), is_woken(&spared)], [true, false]);
    // By another leadership.
    let config = LogConfig::unlimited();
    let open = OpenPartition { id: id(0), leader_epoch: LeaderEpoch(1), config };
    engine.open(vec![open]).await.remove(0).unwrap();
    assert_eq!([is_woken(&later), is_woken(&spared)], [true, true]);
    // By the end of the partition, even after it.
    let deleted = watch(9, 2);
    assert_eq!(engine.delete(vec![id(0)]).await, [Ok(())]);
    assert!(is_woken(&deleted) && is_woken(&watch(9, 2)));
    // By the end of the engine.
    let ended = FetchWaiter::new();
    other.watch(&ended, Awaited { from: Offset(1), frontier: ReadFrontier::HighWatermark, above: Offset(1) });
    engine.shutdown().await;
    assert!(is_woken(&ended));
}

pub(super) async fn a_reader_outlives_its_partition(subject: &impl Subject) {
    let engine = subject.engine();
    let (deleted, kept) = (open(engine, 0).await, open(engine, 1).await);
    for partition in [0, 1] {
        append_value(engine, partition, b"v").await.unwrap();
    }
    let unanswered = engine.append(vec![to_append(0, batch(&[b"unanswered"]))]).await;
    assert_eq!(engine.delete(vec![id(0)]).await, [Ok(())]);
    unanswered.wait().await.remove(0).unwrap();
    assert!(deleted.is_closed() && engine.reader(id(0)).is_none());
    assert_eq!(deleted.read(read_from(Offset(0), 100)).await.unwrap_err(), ReadError::Closed);
    assert!(!kept.is_closed());
    engine.shutdown().await;
    assert!(kept.is_closed());
    assert_eq!(kept.read(read_from(Offset(0), 100)).await.unwrap_err(), ReadError::Closed);
    assert_eq!(kept.frontiers().high_watermark, Offset(1), "figures stay");
}
