//! Topics: created, found, extended, deleted, and there again after a restart.

use std::collections::BTreeMap;
use std::time::Duration;

use rustmq_broker_service::testing::operations::{PATIENCE, batch_of, create, fetch, named, produce, values};
use rustmq_broker_service::testing::{InMemoryBroker, InMemoryBrokerOptions};
use rustmq_broker_service::*;
use rustmq_engine_api::{LogConfig, OpenPartition};
use rustmq_model::{LeaderEpoch, PartitionId, TopicId, TopicIdPartition, TopicName};

#[tokio::test]
async fn what_was_produced_is_there_again_after_a_restart() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    let created = create(&rig.session, "orders", 3, &[]).await;
    for partition in 0..3 {
        for round in 0..2 {
            let produced = produce(&rig.session, "orders", partition, batch_of(&["a", "b"])).await.unwrap();
            assert_eq!(produced.base_offset.0, round * 2);
        }
    }
    let cluster = rig.session.cluster();
    let rig = rig.restart().await;
    assert_eq!(rig.session.topic_id("orders"), Some(created.id));
    assert_eq!(rig.session.cluster(), cluster);
    for partition in 0..3 {
        let fetched = fetch(&rig.session, "orders", partition, 0).await.unwrap();
        assert_eq!(values(&fetched), ["a", "b", "a", "b"]);
        assert_eq!((fetched.frontiers.high_watermark.0, fetched.frontiers.log_start.0), (4, 0));
        assert_eq!(produce(&rig.session, "orders", partition, batch_of(&["c"])).await.unwrap().base_offset.0, 4);
    }
    rig.stop().await;
}

fn creation(name: &str, replication_factor: i16) -> TopicCreation {
    TopicCreation {
        name: name.to_owned(),
        placement: TopicPlacement::Count { partitions: None, replication_factor: Some(replication_factor) },
        configs: BTreeMap::new(),
    }
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_its_name_is_free() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    let first = create(&rig.session, "orders", 2, &[]).await;
    produce(&rig.session, "orders", 1, batch_of(&["a"])).await.unwrap();
    let deleted =
        rig.session.with_timeout(PATIENCE).delete_topics(vec![TopicRef::Id(first.id)]).await.remove(0).unwrap();
    assert_eq!(deleted.name.as_str(), "orders");
    assert_eq!(rig.engine.partitions(), []);
    let gone = LocateError::UnknownTopic(UnknownTopic::Name("orders".to_owned()));
    assert_eq!(produce(&rig.session, "orders", 1, batch_of(&["a"])).await, Err(gone.into()));

    let second = create(&rig.session, "orders", 2, &[]).await;
    assert_ne!(first.id, second.id);
    assert_eq!(fetch(&rig.session, "orders", 1, 0).await.unwrap().frontiers.high_watermark.0, 0);
    rig.stop().await;
}

#[tokio::test]
async fn unknown_topics_are_created_when_both_sides_allow_it() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::with_kafka(&[("num.partitions", "4")])).await;
    let ask = async |name: &str, auto_creation| {
        let selection = TopicSelection::These(vec![named(name)]);
        rig.session.topics(selection, auto_creation).await.remove(0).metadata
    };
    let unknown = MetadataError::UnknownTopic(UnknownTopic::Name("a".to_owned()));
    assert_eq!(ask("a", AutoCreation::Refused).await, Err(unknown));
    let created = ask("a", AutoCreation::Allowed).await.unwrap();
    assert_eq!(created.partitions.len(), 4);
    assert_eq!(created.partitions[3].leader, Some(rig.broker.id()));
    produce(&rig.session, "a", 3, batch_of(&["x"])).await.unwrap();
    assert!(matches!(ask("a b", AutoCreation::Allowed).await, Err(MetadataError::InvalidTopicName(_))));
    for reserved in ["__cluster_metadata", "__transaction_state", "__share_group_state"] {
        let unknown = MetadataError::UnknownTopic(UnknownTopic::Name(reserved.to_owned()));
        assert_eq!(ask(reserved, AutoCreation::Allowed).await, Err(unknown), "the cluster alone makes it");
    }
    let offsets = ask("__consumer_offsets", AutoCreation::Allowed).await.unwrap();
    assert_eq!((offsets.partitions.len(), offsets.is_internal), (50, true), "as its coordinators would make it");
    let off = [("auto.create.topics.enable", "false")];
    let rig = rig.restart_with(InMemoryBrokerOptions::with_kafka(&off)).await;
    let selection = TopicSelection::These(vec![named("b"), named("a")]);
    let answers = rig.session.topics(selection, AutoCreation::Allowed).await;
    assert!(answers[0].metadata.is_err() && answers[1].metadata.is_ok());
    rig.stop().await;
}

#[tokio::test]
async fn the_clusters_own_topics_are_not_created_by_clients() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    let names = ["__cluster_metadata", "orders", "__transaction_state", "__share_group_state", "__mine"];
    for mode in [Mode::ValidateOnly, Mode::Apply] {
        let topics = names.map(|name| creation(name, 1)).to_vec();
        let results = rig.session.with_timeout(PATIENCE).create_topics(topics, mode).await;
        for (name, result) in names.iter().zip(&results) {
            let refused = matches!(result, Err(CreateTopicsError::ReservedName { .. }));
            assert_eq!(
                (refused, result.is_ok()),
                if ["orders", "__mine"].contains(name) { (false, true) } else { (true, false) },
                "{name}: {result:?}"
            );
        }
    }
    rig.stop().await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_ran_out_of_time_has_done_nothing_and_one_that_is_begun_succeeds() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    let more = |count| vec![NewPartitions { name: "orders".to_owned(), count, assignments: None }];
    for mode in [Mode::ValidateOnly, Mode::Apply] {
        let created =
            rig.session.with_timeout(Duration::ZERO).create_topics(vec![creation("late", 1)], mode).await.remove(0);
        assert_eq!(created, Err(CreateTopicsError::NotBegun));
        let extended = rig.session.with_timeout(Duration::ZERO).create_partitions(more(2), mode).await.remove(0);
        assert_eq!(extended, Err(CreatePartitionsError::NotBegun));
    }
    let deleted = rig.session.with_timeout(Duration::ZERO).delete_topics(vec![named("orders")]).await.remove(0);
    assert_eq!(deleted, Err(DeleteTopicsError::NotBegun));
    assert_eq!(rig.session.topic_id("late"), None);
    assert!(produce(&rig.session, "orders", 1, batch_of(&["a"])).await.is_err(), "there is no second partition");

    // The clock stands still, so that the commands begin in time.
    let short = Duration::from_nanos(1);
    rig.session.with_timeout(short).create_topics(vec![creation("begun", 1)], Mode::Apply).await.remove(0).unwrap();
    produce(&rig.session, "begun", 0, batch_of(&["a"])).await.unwrap();
    rig.session.with_timeout(short).create_partitions(more(2), Mode::Apply).await.remove(0).unwrap();
    produce(&rig.session, "orders", 1, batch_of(&["a"])).await.unwrap();
    rig.session.with_timeout(short).delete_topics(vec![named("orders")]).await.remove(0).unwrap();
    assert_eq!(rig.session.topic_id("orders"), None);
    rig.stop().await;
}

/// The engine has the partition in a later leader epoch than the metadata, so that it refuses the
/// open.
#[tokio::test]
async fn what_the_engine_refused_to_open_is_deleted_with_its_topic() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    let topic_id = create(&rig.session, "orders", 1, &[]).await.id;
    produce(&rig.session, "orders", 0, batch_of(&["x"])).await.unwrap();
    let id = TopicIdPartition { topic_id, partition: PartitionId(0) };
    let config = LogConfig { retention_time: None, retention_bytes: None, producer_expiry: PATIENCE };
    let open = OpenPartition { id, leader_epoch: LeaderEpoch(9), config };
    rig.engine.open(vec![open]).await.remove(0).unwrap();
    let rig = rig.restart().await;
    let refused = produce(&rig.session, "orders", 0, batch_of(&["y"])).await;
    assert!(refused.is_err(), "the partition is not open: {refused:?}");
    assert!(rig.engine.partitions().contains(&id));
    rig.session.with_timeout(PATIENCE).delete_topics(vec![named("orders")]).await.remove(0).unwrap();
    assert!(!rig.engine.partitions().contains(&id), "it would stay until the next start");
    rig.stop().await;
}

#[tokio::test]
async fn a_rehearsal_changes_nothing_and_judges_all_the_same() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "taken", 1, &[]).await;
    let topics = vec![creation("free", 1), creation("taken", 1), creation("wide", 3)];
    let results = rig.session.with_timeout(PATIENCE).create_topics(topics, Mode::ValidateOnly).await;
    assert!(results[0].is_ok());
    let rejected = |rejection: Rejection| Err(CommandError::from(rejection).into());
    let name = TopicName::new("taken").unwrap();
    assert_eq!(results[1], rejected(Rejection::TopicAlreadyExists { name }));
    let wide = Rejection::InvalidReplicationFactor { wanted: 3, brokers: 1 };
    assert_eq!(results[2], rejected(wide));
    assert_eq!(rig.session.topic_id("free"), None);
    rig.stop().await;
}

#[tokio::test]
async fn added_partitions_can_be_written_to_at_once() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 1, &[]).await;
    let more = NewPartitions { name: "orders".to_owned(), count: 3, assignments: None };
    rig.session.with_timeout(PATIENCE).create_partitions(vec![more.clone()], Mode::Apply).await.remove(0).unwrap();
    produce(&rig.session, "orders", 2, batch_of(&["a"])).await.unwrap();
    let again = rig.session.with_timeout(PATIENCE).create_partitions(vec![more], Mode::Apply).await.remove(0);
    let no_increase = Rejection::NotAnIncrease { name: TopicName::new("orders").unwrap(), current: 3, wanted: 3 };
    assert_eq!(again, Err(CommandError::from(no_increase).into()));
    let beyond = produce(&rig.session, "orders", 3, batch_of(&["a"])).await;
    let unknown = UnknownPartition { topic: TopicName::new("orders").unwrap(), partition: PartitionId(3) };
    assert_eq!(beyond, Err(LocateError::from(unknown).into()));
    let unknown = rig.session.with_timeout(PATIENCE).delete_topics(vec![TopicRef::Id(TopicId(9))]).await.remove(0);
    assert_eq!(unknown, Err(CommandError::from(Rejection::UnknownTopicId { id: TopicId(9) }).into()));
    rig.stop().await;
}

#[tokio::test]
async fn one_request_creates_so_many_partitions_and_no_more() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    let create = async |counts: &[i32]| {
        let topics = counts.iter().map(|partitions| TopicCreation {
            name: format!("t{partitions}"),
            placement: TopicPlacement::Count { partitions: Some(*partitions), replication_factor: None },
            configs: BTreeMap::new(),
        });
        rig.session.with_timeout(PATIENCE).create_topics(topics.collect(), Mode::ValidateOnly).await
    };
    let refused = create(&[9_999, 2]).await;
    let is_refused = |result: &Result<_, _>| matches!(result, Err(CreateTopicsError::TooManyPartitions));
    assert!(refused.len() == 2 && refused.iter().all(is_refused), "{refused:?}");
    let judged = create(&[10_000, 0, -5]).await;
    assert_eq!(judged[0].as_ref().unwrap().partitions, 10_000);
    let invalid = |result: &Result<_, _>| match result {
        Err(CreateTopicsError::Command(CommandError::Rejected(rejection))) => {
            matches!(rejection, Rejection::InvalidPartitions { .. })
        }
        _ => false,
    };
    assert!(judged[1..].iter().all(invalid), "{judged:?}");
    rig.stop().await;
}

#[tokio::test]
async fn the_topic_of_committed_offsets_keeps_its_partitions() {
    let settings = [("offsets.topic.num.partitions", "2")];
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::with_kafka(&settings)).await;
    create(&rig.session, "orders", 1, &[]).await;
    rig.session.find_coordinator(&"readers".into()).await.unwrap();
    let more = ["__consumer_offsets", "orders", "__consumer_offsets"].map(|name| NewPartitions {
        name: name.to_owned(),
        count: 5,
        assignments: None,
    });
    let results = rig.session.with_timeout(PATIENCE).create_partitions(more.to_vec(), Mode::Apply).await;
    let is_refused = |result: &Result<_, _>| matches!(result, Err(CreatePartitionsError::CoordinatorTopic { .. }));
    assert!(is_refused(&results[0]) && is_refused(&results[2]), "{results:?}");
    assert_eq!(results[1].as_ref().unwrap().partitions, 5);
    rig.stop().await;
}

#[tokio::test]
async fn a_topic_that_is_named_twice_is_described_once() {
    let rig = InMemoryBroker::start(InMemoryBrokerOptions::default()).await;
    create(&rig.session, "orders", 3, &[]).await;
    let asked = [named("orders"), named("nothing"), named("orders"), named("nothing")];
    let answers = rig.session.topics(TopicSelection::These(asked.to_vec()), AutoCreation::Refused).await;
    let topics: Vec<TopicRef> = answers.into_iter().map(|answer| answer.topic).collect();
    assert_eq!(topics, [named("orders"), named("nothing")]);
    rig.stop().await;
}
