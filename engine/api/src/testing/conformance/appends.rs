//! Appends: offsets, order, producers, epochs, durability.

use std::pin::pin;

use bytes::Bytes;
use rustmq_model::{LeaderEpoch, Offset};

use super::{Subject, poll_once};
use crate::testing::operations::{
    TIME, append, append_value, batch, id, open, producer_batch, read_all, read_from, to_append, values,
};
use crate::{Append, AppendError, AppendFrontier, LogConfig, OpenError, OpenPartition};

pub(super) async fn answers_come_in_the_order_of_the_request(subject: &impl Subject) {
    let engine = subject.engine();
    // Neighbours are on different shards.
    let readers = [open(engine, 0).await, open(engine, 1).await, open(engine, 2).await];
    let appends = [(2, "a"), (0, "b"), (9, "lost"), (1, "c"), (0, "d"), (2, "e")];
    let appends = appends.map(|(partition, value)| to_append(partition, batch(&[value.as_bytes()])));
    let results = engine.append(appends.to_vec()).await.wait().await;
    let offsets: Vec<_> = results.iter().map(|result| result.as_ref().map(|appended| appended.base_offset.0)).collect();
    assert_eq!(offsets, [Ok(0), Ok(0), Err(&AppendError::UnknownPartition), Ok(0), Ok(1), Ok(1)]);
    for (reader, expected) in readers.iter().zip([vec!["b", "d"], vec!["c"], vec!["a", "e"]]) {
        assert_eq!(values(reader).await, expected);
        let frontiers = reader.frontiers();
        let end = Offset(i64::try_from(expected.len()).unwrap());
        assert_eq!((frontiers.log_start, frontiers.high_watermark, frontiers.last_stable), (Offset(0), end, end));
    }
    assert!(engine.append(Vec::new()).await.wait().await.is_empty());
}

pub(super) async fn requests_take_effect_in_the_order_of_their_calls(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    let mut waits = Vec::new();
    for number in 0..50 {
        let value = number.to_string();
        let appends = [to_append(0, batch(&[value.as_bytes(), b"second"])), to_append(0, batch(&[value.as_bytes()]))];
        waits.push(engine.append(appends.to_vec()).await);
    }
    for (number, wait) in (0..50_i32).zip(waits).rev() {
        let first = i64::from(3 * number);
        let bases: Vec<_> = wait.wait().await.into_iter().map(|result| result.unwrap().base_offset.0).collect();
        assert_eq!(bases, [first, first + 2]);
    }
    let expected = (0..50).flat_map(|number| [number.to_string(), "second".to_owned(), number.to_string()]);
    assert_eq!(values(&reader).await, expected.collect::<Vec<_>>());
}

pub(super) async fn a_dropped_wait_withdraws_nothing(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    drop(engine.append(vec![to_append(0, batch(&[b"dropped"]))]).await);
    assert_eq!(append_value(engine, 0, b"waited for").await, Ok(Offset(1)));
    assert_eq!(values(&reader).await, ["dropped", "waited for"]);
}

pub(super) async fn a_repeated_batch_is_answered_as_its_original(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    for sequence in [0, 2] {
        let appended = append(engine, 0, producer_batch(7, 1, sequence, &[b"a", b"b"])).await.unwrap();
        assert_eq!((appended.base_offset, appended.duplicate_of), (Offset(sequence.into()), None));
    }
    let repeated = append(engine, 0, producer_batch(7, 1, 0, &[b"a", b"b"])).await.unwrap();
    assert_eq!((repeated.base_offset, repeated.duplicate_of), (Offset(0), Some(TIME)));
    let gap = append(engine, 0, producer_batch(7, 1, 9, &[b"c"])).await;
    assert!(matches!(gap, Err(AppendError::OutOfOrderSequence { .. })), "{gap:?}");
    let fenced = append(engine, 0, producer_batch(7, 0, 4, &[b"c"])).await;
    assert!(matches!(fenced, Err(AppendError::InvalidProducerEpoch { .. })), "{fenced:?}");
    assert_eq!(reader.frontiers().log_end, Offset(4));
    // A repetition waits for its original.
    subject.stall();
    let original = engine.append(vec![to_append(0, producer_batch(7, 1, 4, &[b"c"]))]).await;
    let repeated = engine.append(vec![to_append(0, producer_batch(7, 1, 4, &[b"c"]))]).await;
    let mut repeated = pin!(repeated.wait());
    // A request that needs no commit is answered after those before it were taken in.
    engine.configure(id(0), LogConfig::unlimited()).await.unwrap();
    assert!(poll_once(repeated.as_mut()).is_pending());
    subject.resume();
    let (original, repeated) = (original.wait().await, repeated.await);
    assert_eq!(original[0].as_ref().unwrap().duplicate_of, None);
    let repeated = repeated[0].as_ref().unwrap();
    assert_eq!((repeated.base_offset, repeated.duplicate_of), (Offset(4), Some(TIME)));
}

pub(super) async fn leader_epochs_fence(subject: &impl Subject) {
    let engine = subject.engine();
    let open_in = async |epoch| {
        let open = OpenPartition { id: id(0), leader_epoch: LeaderEpoch(epoch), config: LogConfig::unlimited() };
        engine.open(vec![open]).await.remove(0)
    };
    let append_in = async |epoch| {
        let append = Append { leader_epoch: Some(LeaderEpoch(epoch)), ..to_append(0, batch(&[b"v"])) };
        engine.append(vec![append]).await.wait().await.remove(0).map(|appended| appended.base_offset)
    };
    let reader = open_in(3).await.unwrap();
    assert_eq!(append_in(3).await, Ok(Offset(0)));
    assert_eq!(open_in(5).await.unwrap().frontiers().log_end, Offset(1), "the log goes on");
    let (given, current) = (LeaderEpoch(3), LeaderEpoch(5));
    assert_eq!(append_in(3).await, Err(AppendError::FencedLeaderEpoch { given, current }));
    let given = LeaderEpoch(7);
    assert_eq!(append_in(7).await, Err(AppendError::UnknownLeaderEpoch { given, current }));
    let given = LeaderEpoch(4);
    assert_eq!(open_in(4).await.unwrap_err(), OpenError::FencedLeaderEpoch { given, current });
    assert_eq!(append_in(5).await, Ok(Offset(1)));
    assert_eq!(append_value(engine, 0, b"in any epoch").await, Ok(Offset(2)));
    assert_eq!((reader.leader_epoch(), reader.frontiers_and_epoch().1), (current, current));
    let end = |epoch| reader.end_offset_for_epoch(LeaderEpoch(epoch)).map(|ended| (ended.epoch.0, ended.end_offset.0));
    let ends = [2, 3, 4, 5, 6].map(end);
    assert_eq!(ends, [Some((2, 0)), Some((3, 1)), Some((3, 1)), Some((5, 3)), None]);
}

pub(super) async fn what_is_not_durable_is_neither_answered_nor_shown(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    append_value(engine, 0, b"shown").await.unwrap();
    for until in [AppendFrontier::DurableEnd, AppendFrontier::HighWatermark] {
        let before = reader.frontiers();
        subject.stall();
        let wait = engine.append(vec![Append { until, ..to_append(0, batch(&[b"new"])) }]).await;
        let mut wait = pin!(wait.wait());
        engine.configure(id(0), LogConfig::unlimited()).await.unwrap();
        assert!(poll_once(wait.as_mut()).is_pending(), "{until:?}");
        assert_eq!(reader.frontiers().high_watermark, before.high_watermark);
        let read = reader.read(read_from(before.high_watermark, 1 << 20)).await.unwrap();
        assert!(read.batches.is_empty());
        subject.resume();
        assert_eq!(wait.await[0].as_ref().unwrap().base_offset, before.log_end);
        // What is answered is shown.
        let shown = read_all(&reader, before.high_watermark.0).await.unwrap();
        assert_eq!(shown, [(before.high_watermark.0, Bytes::from("new"))]);
    }
}

pub(super) async fn a_batch_beyond_a_segment_is_refused(subject: &impl Subject) {
    let engine = subject.engine();
    let reader = open(engine, 0).await;
    let large = batch(&[&vec![b'x'; 20 << 20]]);
    let size = large.len();
    let refused = append(engine, 0, large).await;
    assert!(matches!(refused, Err(AppendError::TooLarge { size: given, max }) if given == size && max < size));
    assert_eq!(append_value(engine, 0, b"small").await, Ok(Offset(0)));
    assert_eq!(values(&reader).await, ["small"]);
}
