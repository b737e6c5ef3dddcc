//! A broker whose engine or controller stalls, fails, fills up or is ahead of it.

use std::time::Duration;

use rustmq_broker_service::testing::operations::{PATIENCE, batch_of, create, fetch, named, produce, values};
use rustmq_broker_service::testing::{InMemoryBroker, InMemoryBrokerOptions};
use rustmq_broker_service::*;
use rustmq_controller_api::Controller;
use rustmq_controller_api::testing::Bounds;
use rustmq_engine_api::testing::InMemoryOptions;
use rustmq_model::{ByteSize, Offset, PartitionId};
use tokio::task::yield_now;

fn creation(name: &str) -> TopicCreation {
    let placement = TopicPlacement::Count { partitions: Some(1), replication_factor: Some(1) };
    TopicCreation { name: name.to_owned(), placement, configs: [].into() }
}

async fn create_within(session: &Session, name: &str, patience: Duration) -> Result<CreatedTopic, CreateTopicsError> {
    session.with_timeout(patience).create_topics(vec![creation(name)], Mode::Apply).await.remove(0)
}

#[tokio::test(start_paused = true)]
async fn a_command_whose_turn_does_not_come_is_not_begun() {
    let controller = Bounds { commands_max: 1, ..Bounds::default() };
    let rig = InMemoryBroker::start(InMemoryBrokerOptions { controller, ..InMemoryBrokerOptions::default() }).await;
    let turn = rig.controller.turns().take(None).await.unwrap();
    let late = create_within(&rig.session, "late", Duration::from_secs(3)).await;
    assert!(matches!(late, Err(CreateTopicsError::NotBegun)), "{late:?}");
    let waiting = rig.session.clone();
    let waiting = tokio::spawn(async move { create_within(&waiting, "waiting", PATIENCE).await });
    yield_now().await;
    assert_eq!(rig.controller.snapshot().state.topics().len(), 0);
    drop(turn);
    waiting.await.unwrap().unwrap();
    produce(&rig.session, "waiting", 0, batch_of(&["a"])).await.unwrap();
    assert_eq!(rig.session.topic_id("late"), None);
    rig.stop().await;
}

#[tokio::test]
async fn records_go_on_without_a_controller() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    rig.controller.close();
    let refused = create_within(&rig.session, "more", PATIENCE).await;
    assert!(matches!(refused, Err(CreateTopicsError::Command(CommandError::Unavailable(_)))), "{refused:?}");
    let refused = rig.session.init_producer_id().await;
    assert!(matches!(refused, Err(CommandError::Unavailable(_))), "{refused:?}");
    produce(&rig.session, "orders", 0, batch_of(&["a"])).await.unwrap();
    assert_eq!(values(&fetch(&rig.session, "orders", 0, 0).await.unwrap()), ["a"]);
    assert!(rig.broker.failure().borrow().is_none());
    rig.stop().await;
}

#[tokio::test]
async fn a_broker_that_misses_changes_takes_the_whole_state() {
    const TOPICS: usize = 20;
    let controller = Bounds { batches_max: 2, ..Bounds::default() };
    let rig = InMemoryBroker::start(InMemoryBrokerOptions { controller, ..InMemoryBrokerOptions::default() }).await;
    create(&rig.session, "gone", 1, &[]).await;
    // The broker follows no further than to the first topic, which the engine does not open yet.
    rig.engine.stall();
    let request = |number: usize| {
        let session = rig.session.clone();
        tokio::spawn(async move { create_within(&session, &format!("topic-{number}"), PATIENCE).await })
    };
    let mut creations = vec![request(0)];
    while rig.controller.snapshot().state.topics().len() < 2 {
        yield_now().await;
    }
    creations.extend((1..TOPICS).map(request));
    let session = rig.session.clone();
    let deletion =
        tokio::spawn(async move { session.with_timeout(PATIENCE).delete_topics(vec![named("gone")]).await.remove(0) });
    while rig.controller.snapshot().state.topics().len() < TOPICS
        || rig.controller.snapshot().state.topic("gone").is_some()
    {
        yield_now().await;
    }
    assert!(!creations.iter().any(tokio::task::JoinHandle::is_finished));
    assert_eq!(rig.session.topic_id("topic-1"), None);
    rig.engine.resume();
    for creation in creations {
        creation.await.unwrap().unwrap();
    }
    deletion.await.unwrap().unwrap();
    for number in 0..TOPICS {
        produce(&rig.session, &format!("topic-{number}"), 0, batch_of(&["a"])).await.unwrap();
    }
    assert_eq!(rig.session.topic_id("gone"), None);
    assert_eq!(rig.engine.partitions().len(), TOPICS, "the deleted one is gone from the engine, too");
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_stalled_disk_is_waited_for_no_longer_than_the_request_says() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    rig.engine.stall();
    let late = produce(&rig.session, "orders", 0, batch_of(&["a"])).await;
    assert!(matches!(late, Err(ProduceError::TimedOut)), "{late:?}");
    let partition = ProducePartition { topic: named("orders"), partition: PartitionId(0), records: batch_of(&["b"]) };
    let request = Produce { acks: Acks::None, transaction: None, partitions: vec![partition] };
    let unacknowledged = rig.session.produce(request).await;
    let fetched = fetch(&rig.session, "orders", 0, 0).await.unwrap();
    assert!(fetched.batches.is_empty() && fetched.frontiers.high_watermark == Offset(0), "nothing of it is shown");
    rig.engine.resume();
    unacknowledged.wait().await.remove(0).unwrap();
    assert_eq!(values(&fetch(&rig.session, "orders", 0, 0).await.unwrap()), ["a", "b"], "it is stored all the same");
    rig.stop().await;
}

#[tokio::test]
async fn a_broken_disk_refuses_records_and_serves_those_that_are_there() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    produce(&rig.session, "orders", 0, batch_of(&["kept"])).await.unwrap();
    rig.engine.break_device();
    for _ in 0..2 {
        let refused = produce(&rig.session, "orders", 0, batch_of(&["lost"])).await;
        assert!(matches!(refused, Err(ProduceError::Storage(StorageError::Failed(_)))), "{refused:?}");
    }
    assert_eq!(values(&fetch(&rig.session, "orders", 0, 0).await.unwrap()), ["kept"]);
    // The metadata knows the topic, the engine cannot open it.
    create(&rig.session, "more", 1, &[]).await;
    let refused = produce(&rig.session, "more", 0, batch_of(&["lost"])).await;
    let not_opened = |error: &_| matches!(error, ProduceError::Locate(LocateError::NotOpened(StorageError::Failed(_))));
    assert!(refused.as_ref().is_err_and(not_opened), "{refused:?}");
    rig.stop().await;
}

#[tokio::test]
async fn a_topic_that_a_full_log_did_not_open_is_opened_when_there_is_room() {
    let engine = InMemoryOptions { capacity: ByteSize::mib(24), ..InMemoryOptions::default() };
    let rig = InMemoryBroker::start(InMemoryBrokerOptions { engine, ..InMemoryBrokerOptions::default() }).await;
    create(&rig.session, "large", 1, &[]).await;
    let large = "x".repeat(500_000);
    // Until there is no room even for a frame that opens a partition.
    for size in [500_000, 20_000, 1_000, 1] {
        while produce(&rig.session, "large", 0, batch_of(&[&large[..size]])).await.is_ok() {}
    }
    let full = produce(&rig.session, "large", 0, batch_of(&["x"])).await;
    assert_eq!(full, Err(ProduceError::Storage(StorageError::Full)));
    create(&rig.session, "small", 1, &[]).await;
    let not_open = produce(&rig.session, "small", 0, batch_of(&["a"])).await;
    assert_eq!(not_open, Err(LocateError::NotOpened(StorageError::Full).into()));
    let (topic, partition, before) = (named("large"), PartitionId(0), DeleteBefore::HighWatermark);
    rig.session.delete_records(vec![RecordDeletion { topic, partition, before }]).await.remove(0).unwrap();
    // The broker tries again by itself.
    let opened = async {
        while produce(&rig.session, "small", 0, batch_of(&["a"])).await.is_err() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(PATIENCE, opened).await.unwrap();
    assert_eq!(values(&fetch(&rig.session, "small", 0, 0).await.unwrap()), ["a"]);
    rig.stop().await;
}
