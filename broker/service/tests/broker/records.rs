//! Produce, fetch, offsets and the deletion of records.

use std::pin::Pin;
use std::time::Duration;

use bytes::Bytes;
use rustmq_broker_service::testing::operations::{
    PATIENCE, alter_broker, batch_at, batch_of, create, fetch, fetch_request, named, offset, produce, records, values,
};
use rustmq_broker_service::testing::{InMemoryBroker, InMemoryBrokerOptions};
use rustmq_broker_service::*;
use rustmq_engine_api::testing::InMemoryOptions;
use rustmq_model::batch::Codec;
use rustmq_model::record::BatchBuilder;
use rustmq_model::{
    ByteSize, LeaderEpoch, Offset, PartitionId, ProducerEpoch, ProducerId, ProducerKey, Sequence, Timestamp,
};

type Answers = Vec<Result<FetchedPartition, FetchError>>;

#[tokio::test]
async fn a_long_poll_is_woken_by_a_produce() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 2, &[]).await;
    let mut request = fetch_request("orders", 0, 0);
    request.partitions.push(fetch_request("orders", 1, 0).partitions.remove(0));
    request.max_wait = Duration::from_secs(600);
    let session = rig.session.clone();
    let poll = tokio::spawn(async move { session.fetch(request).await });
    produce(&rig.session, "orders", 1, batch_of(&["news"])).await.unwrap();
    let results = tokio::time::timeout(PATIENCE, poll).await.unwrap().unwrap();
    let fetched: Vec<Vec<String>> = results.iter().map(|result| values(result.as_ref().unwrap())).collect();
    assert_eq!(fetched, [vec![], vec!["news".to_owned()]]);
    rig.stop().await;
}

/// A fetch that has begun to wait: batches that are published from now on are new to it.
async fn waiting_fetch(session: Session, request: Fetch) -> Pin<Box<impl Future<Output = Answers> + Send>> {
    let mut fetch = Box::pin(async move { session.fetch(request).await });
    // Batches in memory are read without a wait, so that the first pending poll waits for new ones.
    assert!(futures_util::poll!(fetch.as_mut()).is_pending());
    fetch
}

/// Two polls wait for more records than there are; one of them reads records that are trimmed
/// meanwhile.
#[tokio::test]
async fn a_trim_ends_the_long_poll_that_it_takes_records_from_and_shows_in_the_others_answer() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    for _ in 0..4 {
        produce(&rig.session, "orders", 0, batch_of(&["v"])).await.unwrap();
    }
    let poll = |from, max_wait| {
        let mut request = fetch_request("orders", 0, from);
        (request.min_bytes, request.max_wait) = (1 << 20, max_wait);
        waiting_fetch(rig.session.clone(), request)
    };
    let taken_from = tokio::spawn(poll(0, Duration::from_secs(600)).await);
    let other = poll(3, Duration::from_secs(1)).await;
    let before = DeleteBefore::Offset(Offset(2));
    let deletion = RecordDeletion { topic: named("orders"), partition: PartitionId(0), before };
    rig.session.delete_records(vec![deletion]).await.remove(0).unwrap();
    let taken_from = tokio::time::timeout(PATIENCE, taken_from).await.unwrap().unwrap().remove(0);
    assert!(matches!(taken_from, Err(FetchError::OffsetOutOfRange(_))), "{taken_from:?}");
    // Nobody has looked at it since, however long the trim took.
    let other = other.await.remove(0).unwrap();
    assert_eq!((values(&other), other.frontiers.log_start), (vec!["v".to_owned()], Offset(2)));
    rig.stop().await;
}

/// Which of the two ends a poll is left to chance, so there are many.
#[tokio::test]
async fn a_long_poll_whose_news_and_deadline_come_together_answers_the_newest_offsets() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    let mut request = fetch_request("orders", 0, 0);
    (request.min_bytes, request.max_wait) = (1 << 20, Duration::from_millis(200));
    let mut polls = Vec::new();
    for _ in 0..32 {
        polls.push(waiting_fetch(rig.session.clone(), request.clone()).await);
    }
    produce(&rig.session, "orders", 0, batch_of(&["news"])).await.unwrap();
    // Nobody has looked at them since.
    tokio::time::sleep(2 * request.max_wait).await;
    for poll in polls {
        assert_eq!(poll.await[0].as_ref().unwrap().frontiers.high_watermark, Offset(1));
    }
    rig.stop().await;
}

#[tokio::test]
async fn a_fetch_that_is_full_of_whole_batches_does_not_wait_for_its_least_bytes() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    for _ in 0..2 {
        produce(&rig.session, "orders", 0, batch_of(&[&"v".repeat(600)])).await.unwrap();
    }
    let mut request = fetch_request("orders", 0, 0);
    (request.min_bytes, request.max_bytes, request.max_wait) = (1000, 1000, Duration::from_secs(600));
    let fetch = tokio::time::timeout(PATIENCE, rig.session.fetch(request.clone()));
    assert_eq!(values(&fetch.await.unwrap().remove(0).unwrap()).len(), 1);
    // The second batch alone is all that is there: a third one may come.
    request.partitions[0].from = Offset(1);
    let mut fetch = waiting_fetch(rig.session.clone(), request).await;
    assert!(futures_util::poll!(fetch.as_mut()).is_pending());
    produce(&rig.session, "orders", 0, batch_of(&[&"v".repeat(600)])).await.unwrap();
    assert_eq!(values(&tokio::time::timeout(PATIENCE, fetch).await.unwrap().remove(0).unwrap()).len(), 1);
    rig.stop().await;
}

#[tokio::test]
async fn a_long_poll_ends_with_its_time_and_with_the_broker() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    let mut request = fetch_request("orders", 0, 0);
    request.max_wait = Duration::from_millis(30);
    assert!(values(rig.session.fetch(request.clone()).await[0].as_ref().unwrap()).is_empty());
    request.max_wait = Duration::from_secs(600);
    let session = rig.session.clone();
    let poll = tokio::spawn(async move { session.fetch(request).await });
    rig.stop().await;
    tokio::time::timeout(PATIENCE, poll).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_fetch_waits_for_its_turn_at_the_disk_within_its_time() {
    let (tail_memory, read_memory) = (ByteSize::mib(1), ByteSize::mib(2));
    let engine = InMemoryOptions { tail_memory, read_memory, ..InMemoryOptions::default() };
    let rig = InMemoryBroker::start(InMemoryBrokerOptions { engine, ..InMemoryBrokerOptions::default() }).await;
    create(&rig.session, "orders", 1, &[]).await;
    let large = "x".repeat(100_000);
    for _ in 0..80 {
        produce(&rig.session, "orders", 0, batch_of(&[&large])).await.unwrap();
    }
    let fetch = |from, max_wait| {
        let mut request = fetch_request("orders", 0, from);
        request.max_wait = max_wait;
        let session = rig.session.clone();
        tokio::spawn(async move { session.fetch(request).await.remove(0).unwrap().batches })
    };
    // Answers hold memory, until the next read gets none.
    let mut held = Vec::new();
    loop {
        let batches = fetch(i64::try_from(held.len()).unwrap(), Duration::from_secs(1)).await.unwrap();
        if batches.is_empty() {
            break;
        }
        held.extend(batches);
    }
    let from = i64::try_from(held.len()).unwrap();
    assert!(from < 70, "all memory is held long before the log's end: at {from}");
    let begun = std::time::Instant::now();
    assert!(fetch(from, Duration::from_millis(300)).await.unwrap().is_empty());
    assert!(begun.elapsed() >= Duration::from_millis(300), "not at once, to be asked again and again");
    let patient = fetch(from, Duration::from_secs(600));
    drop(held);
    assert!(!tokio::time::timeout(PATIENCE, patient).await.unwrap().unwrap().is_empty());
    rig.stop().await;
}

#[tokio::test]
async fn a_fetch_keeps_its_limits_but_always_has_one_batch() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 2, &[]).await;
    let large = "x".repeat(10_000);
    for partition in [0, 0, 1] {
        produce(&rig.session, "orders", partition, batch_of(&[&large])).await.unwrap();
    }
    let count = async |max_bytes: usize| {
        let mut request = fetch_request("orders", 0, 0);
        request.partitions.push(fetch_request("orders", 1, 0).partitions.remove(0));
        request.max_bytes = max_bytes;
        let results = rig.session.fetch(request).await;
        results.iter().map(|result| result.as_ref().unwrap().batches.len()).collect::<Vec<_>>()
    };
    assert_eq!(count(1).await, [1, 0]);
    assert_eq!(count(25_000).await, [2, 0]);
    assert_eq!(count(100_000).await, [2, 1]);
    let beyond = fetch(&rig.session, "orders", 0, 3).await;
    let end = Offset(2);
    let expected = OffsetOutOfRange { requested: Offset(3), log_start: Offset(0), end, high_watermark: end };
    assert_eq!(beyond.unwrap_err(), expected.into());
    rig.stop().await;
}

#[tokio::test]
async fn log_append_time_is_the_brokers() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "stamped", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let produced = produce(&rig.session, "stamped", 0, batch_of(&["a", "b"])).await.unwrap();
    assert!(produced.log_append_time > Timestamp(1_700_000_000_000));
    let fetched = fetch(&rig.session, "stamped", 0, 0).await.unwrap();
    assert!(records(&fetched).iter().all(|record| record.timestamp == produced.log_append_time));
    rig.stop().await;
}

#[tokio::test]
async fn one_bad_batch_leaves_the_others_alone() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 2, &[]).await;
    create(&rig.session, "compacted", 1, &[("cleanup.policy", "compact")]).await;
    let mut keyless = BatchBuilder::new(Codec::None);
    keyless.push(Timestamp(1_700_000_000_000), None, Some(b"v"), &[]);
    let entry = |topic: &str, partition: i32, records: Bytes| ProducePartition {
        topic: named(topic),
        partition: PartitionId(partition),
        records,
    };
    let partitions = vec![
        entry("orders", 0, Bytes::from_static(b"rubbish")),
        entry("orders", 1, batch_of(&["good"])),
        entry("nowhere", 0, batch_of(&["lost"])),
        entry("compacted", 0, keyless.build()),
    ];
    let request = Produce { acks: Acks::Leader, transaction: None, partitions };
    let results = rig.session.produce(request).await.wait().await;
    assert!(matches!(&results[0], Err(ProduceError::Batch(BatchRefusal::Damaged(_)))), "{results:?}");
    assert_eq!(results[1].as_ref().unwrap().base_offset, Offset(0));
    assert!(matches!(&results[2], Err(ProduceError::Locate(LocateError::UnknownTopic(_)))));
    assert!(matches!(&results[3], Err(ProduceError::Batch(BatchRefusal::Invalid(_)))));
    assert_eq!(results[3].as_ref().unwrap_err().record_faults().len(), 1);
    let text = rig.metrics();
    assert!(text.contains("rustmq_produce_records_total 1\n"), "{text}");
    assert!(text.contains("rustmq_produce_failures_total 3\n"), "{text}");
    rig.stop().await;
}

#[tokio::test]
async fn requests_take_effect_in_the_order_of_their_first_phases() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    let mut waits = Vec::new();
    for number in 0..50 {
        let records = batch_of(&[&number.to_string()]);
        let partition = ProducePartition { topic: named("orders"), partition: PartitionId(0), records };
        let request = Produce { acks: Acks::All, transaction: None, partitions: vec![partition] };
        waits.push(rig.session.produce(request).await);
    }
    // Waited for the other way round: the waiting has no part in the order.
    for (number, wait) in waits.into_iter().enumerate().rev() {
        assert_eq!(wait.wait().await[0].as_ref().unwrap().base_offset, Offset(i64::try_from(number).unwrap()));
    }
    rig.stop().await;
}

#[tokio::test]
async fn an_idempotent_producers_repeat_answers_as_its_original() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    let ProducerKey { id, epoch } = rig.session.init_producer_id().await.unwrap();
    let batch = |sequence: i32| {
        let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, Sequence(sequence));
        builder.push(Timestamp(1_700_000_000_000), None, Some(b"v"), &[]);
        builder.build()
    };
    for sequence in [0, 1, 0] {
        let produced = produce(&rig.session, "orders", 0, batch(sequence)).await.unwrap();
        assert_eq!(produced.base_offset, Offset(i64::from(sequence)));
    }
    let gap = produce(&rig.session, "orders", 0, batch(5)).await;
    assert!(matches!(gap, Err(ProduceError::OutOfOrderSequence { .. })), "{gap:?}");
    let rig = rig.restart().await;
    let next = rig.session.init_producer_id().await.unwrap().id;
    assert!(next > id && epoch == ProducerEpoch(0), "ids are never given twice");
    assert_eq!(produce(&rig.session, "orders", 0, batch(1)).await.unwrap().base_offset, Offset(1));
    assert_ne!(id, ProducerId::NONE);
    rig.stop().await;
}

#[tokio::test]
async fn a_repeat_is_answered_with_the_time_that_is_in_the_log() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let ProducerKey { id, epoch } = rig.session.init_producer_id().await.unwrap();
    let batch = || {
        let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, Sequence(0));
        builder.push(Timestamp(1_700_000_000_000), None, Some(b"v"), &[]);
        builder.build()
    };
    let first = produce(&rig.session, "orders", 0, batch()).await.unwrap();
    let now = || std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    while now() <= u128::try_from(first.log_append_time.0).unwrap() {
        tokio::task::yield_now().await;
    }
    assert_eq!(produce(&rig.session, "orders", 0, batch()).await.unwrap(), first);
    let rig = rig.restart().await;
    assert_eq!(produce(&rig.session, "orders", 0, batch()).await.unwrap(), first);
    rig.stop().await;
}

#[tokio::test]
async fn the_time_that_producers_are_remembered_may_change_while_they_are() {
    // Expiry comes within the time of a test.
    let engine = InMemoryOptions { retention_interval: Duration::from_millis(20), ..InMemoryOptions::default() };
    let rig = InMemoryBroker::start(InMemoryBrokerOptions { engine, ..InMemoryBrokerOptions::default() }).await;
    create(&rig.session, "orders", 1, &[]).await;
    let ProducerKey { id, epoch } = rig.session.init_producer_id().await.unwrap();
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let batch = |sequence: i32| {
        let mut builder = BatchBuilder::new(Codec::None).producer(id, epoch, Sequence(sequence));
        builder.push(Timestamp(i64::try_from(now).unwrap()), None, Some(b"v"), &[]);
        builder.build()
    };
    produce(&rig.session, "orders", 0, batch(0)).await.unwrap();
    let gap = produce(&rig.session, "orders", 0, batch(5)).await;
    assert!(matches!(gap, Err(ProduceError::OutOfOrderSequence { .. })), "{gap:?}");
    alter_broker(&rig.session, "producer.id.expiration.ms", "1").await;
    // A producer that is not remembered begins where it likes.
    let forgotten = async { while produce(&rig.session, "orders", 0, batch(5)).await.is_err() {} };
    tokio::time::timeout(PATIENCE, forgotten).await.unwrap();
    rig.stop().await;
}

#[tokio::test]
async fn offsets_are_found_by_place_time_and_epoch() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    let base = 1_700_000_000_000;
    for step in [0, 2000, 1000] {
        produce(&rig.session, "orders", 0, batch_at(Timestamp(base + step), &["v"])).await.unwrap();
    }
    let offset = async |at| offset(&rig.session, "orders", at).await.map(|found| found.offset.0);
    assert_eq!(offset(OffsetAt::Earliest).await, Some(0));
    assert_eq!(offset(OffsetAt::EarliestLocal).await, Some(0));
    assert_eq!(offset(OffsetAt::Latest).await, Some(3));
    assert_eq!(offset(OffsetAt::LargestTimestamp).await, Some(1));
    assert_eq!(offset(OffsetAt::LatestTiered).await, None);
    assert_eq!(offset(OffsetAt::Timestamp(Timestamp(base + 1))).await, Some(1));
    assert_eq!(offset(OffsetAt::Timestamp(Timestamp(base + 2001))).await, None);
    let query = EpochQuery {
        topic: named("orders"),
        partition: PartitionId(0),
        current_leader_epoch: None,
        epoch: Some(LeaderEpoch(0)),
    };
    let end = EpochEnd { epoch: LeaderEpoch(0), end_offset: Offset(3) };
    assert_eq!(rig.session.epoch_ends(std::slice::from_ref(&query)), [Ok(Some(end))]);
    let without_records = EpochQuery { epoch: None, ..query.clone() };
    assert_eq!(rig.session.epoch_ends(&[without_records]), [Ok(None)], "0 would tell the reader to truncate its log");
    let ahead = EpochQuery { current_leader_epoch: Some(LeaderEpoch(7)), ..query };
    let unknown = LocateError::UnknownLeaderEpoch { given: LeaderEpoch(7), current: LeaderEpoch(0) };
    assert_eq!(rig.session.epoch_ends(&[ahead]), [Err(unknown)]);
    rig.stop().await;
}

#[tokio::test]
async fn deleted_records_stay_deleted() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    create(&rig.session, "kept", 1, &[("cleanup.policy", "compact")]).await;
    for _ in 0..4 {
        produce(&rig.session, "orders", 0, batch_of(&["v"])).await.unwrap();
    }
    let delete = async |topic: &str, before| {
        let deletion = RecordDeletion { topic: named(topic), partition: PartitionId(0), before };
        rig.session.delete_records(vec![deletion]).await.remove(0)
    };
    assert_eq!(delete("orders", DeleteBefore::Offset(Offset(2))).await, Ok(Offset(2)));
    assert!(matches!(fetch(&rig.session, "orders", 0, 0).await, Err(FetchError::OffsetOutOfRange(_))));
    let above = delete("orders", DeleteBefore::Offset(Offset(9))).await;
    assert!(matches!(above, Err(DeleteRecordsError::OffsetOutOfRange(_))), "{above:?}");
    assert!(matches!(delete("kept", DeleteBefore::HighWatermark).await, Err(DeleteRecordsError::NotDeletable { .. })));
    assert_eq!(offset(&rig.session, "orders", OffsetAt::Earliest).await.unwrap().offset, Offset(2));
    let rig = rig.restart().await;
    assert_eq!(offset(&rig.session, "orders", OffsetAt::Earliest).await.unwrap().offset, Offset(2));
    assert_eq!(offset(&rig.session, "orders", OffsetAt::Latest).await.unwrap().offset, Offset(4));
    rig.stop().await;
}

#[tokio::test]
async fn a_fetch_has_no_more_than_fetch_max_bytes_and_waits_for_no_more() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::with_kafka(&[("fetch.max.bytes", "1024")])).await;
    create(&rig.session, "small", 1, &[]).await;
    create(&rig.session, "large", 1, &[]).await;
    for _ in 0..2 {
        produce(&rig.session, "small", 0, batch_of(&[&"v".repeat(600)])).await.unwrap();
    }
    let small = fetch(&rig.session, "small", 0, 0).await.unwrap();
    assert_eq!(small.batches.len(), 1, "two have more than 1,024 bytes");
    produce(&rig.session, "large", 0, batch_of(&[&"v".repeat(1100)])).await.unwrap();
    let patient = Fetch { min_bytes: 1 << 20, max_wait: PATIENCE, ..fetch_request("large", 0, 0) };
    let begun = std::time::Instant::now();
    assert_eq!(rig.session.fetch(patient).await.remove(0).unwrap().batches.len(), 1);
    assert!(begun.elapsed() < PATIENCE, "the answer holds as much as any may");
    rig.stop().await;
}
