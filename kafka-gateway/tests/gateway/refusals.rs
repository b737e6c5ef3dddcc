//! What is not served is refused in a way that ends a client's attempt, with a reason; limits that
//! may change at any time do.

use crate::house::{Client, House};
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::describe_topic_partitions_request::TopicRequest;
use kafka_protocol::messages::{
    ApiKey, CreateTopicsRequest, DescribeTopicPartitionsRequest, FindCoordinatorRequest, RequestKind, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;
use rustmq_broker_service::{ConfigChange, ConfigEdit, EditOperation, Mode, ResourceAlteration, ResourceName};
use tokio::io::AsyncWriteExt;

const NONE: i16 = 0;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;
const TRANSACTIONAL_ID_AUTHORIZATION_FAILED: i16 = 53;

fn text(value: &'static str) -> StrBytes {
    StrBytes::from_static_str(value)
}

/// A broker-wide setting changes while the broker runs.
async fn alter_broker(house: &House, name: &str, value: &str) {
    let edit = ConfigEdit { name: name.to_owned(), operation: EditOperation::Set(value.to_owned()) };
    let change = ConfigChange::Edit(vec![edit]);
    let alteration = ResourceAlteration { resource: ResourceName::Broker(String::new()), change };
    house.broker.alter_configs(vec![alteration], Mode::Apply).await.remove(0).unwrap();
}

/// Whether the gateway answers at all.
async fn is_served(client: &mut Client) -> bool {
    // ApiVersions in version 0, correlation 1, no client id. A connection that was refused may be
    // gone before it is sent.
    let sent = client.stream.write_all(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 0xff, 0xff]).await;
    sent.is_ok() && client.receive().await.is_some()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_that_are_not_there_are_refused_for_good() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    for version in 1..=6 {
        // What librdkafka, which asks in these versions, gives up for.
        let no_transactions = if version <= 2 { TRANSACTIONAL_ID_AUTHORIZATION_FAILED } else { UNSUPPORTED_VERSION };
        for (key_type, expected) in [(0, NONE), (1, no_transactions), (2, UNSUPPORTED_VERSION), (3, INVALID_REQUEST)] {
            let request = FindCoordinatorRequest::default().with_key_type(key_type);
            let request = match version {
                ..4 => request.with_key(text("one")),
                _ => request.with_coordinator_keys(vec![text("one")]),
            };
            let request = RequestKind::FindCoordinator(request);
            let answer = client.ask(ApiKey::FindCoordinator, version, request).await;
            let ResponseKind::FindCoordinator(found) = answer else { panic!("another answer") };
            let (code, message) = match found.coordinators.first() {
                Some(found) => (found.error_code, found.error_message.clone()),
                None => (found.error_code, found.error_message),
            };
            assert_eq!(code, expected, "type {key_type} in version {version}: {message:?}");
            let is_explained = message.is_some_and(|message| message.contains("coordinator"));
            assert_eq!(is_explained, expected != NONE, "type {key_type} in version {version}");
        }
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_connections_may_change_at_any_time() {
    let house = House::open(|_| {}).await;
    let mut first = house.client().await;
    assert!(is_served(&mut first).await);
    alter_broker(&house, "max.connections", "1").await;
    let mut second = house.client().await;
    assert!(!is_served(&mut second).await, "one is open");
    assert!(is_served(&mut first).await, "those that are there stay");
    alter_broker(&house, "max.connections", "2").await;
    let mut third = house.client().await;
    assert!(is_served(&mut third).await);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_the_connections_that_the_settings_give_it() {
    let house = House::open(|_| {}).await;
    alter_broker(&house, "max.connections.per.ip", "1").await;
    let mut first = house.client().await;
    assert!(is_served(&mut first).await);
    assert!(!is_served(&mut house.client().await).await, "one is open");
    assert!(is_served(&mut house.client_from([127, 0, 0, 2]).await).await, "another address has its own");
    alter_broker(&house, "max.connections.per.ip.overrides", "127.0.0.1:2, 127.0.0.3:0").await;
    let mut second = house.client().await;
    assert!(is_served(&mut second).await);
    assert!(!is_served(&mut house.client().await).await, "two are open");
    assert!(!is_served(&mut house.client_from([127, 0, 0, 3]).await).await);
    assert_eq!(house.metric("connections_refused_total{reason=\"address_limit\"}"), 3);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_partitions_ends_where_the_setting_says() {
    let house = House::open_with(&[("max.request.partition.size.limit", "3")], |_| {}).await;
    let mut client = house.client().await;
    let topic = CreatableTopic::default().with_name(text("pages").into()).with_num_partitions(5);
    let topic = topic.with_replication_factor(1);
    let creation = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    client.ask(ApiKey::CreateTopics, 7, RequestKind::CreateTopics(creation)).await;
    let mut cursor = None;
    let mut pages = Vec::new();
    loop {
        let request = DescribeTopicPartitionsRequest::default()
            .with_topics(vec![TopicRequest::default().with_name(text("pages").into())])
            .with_response_partition_limit(1000)
            .with_cursor(cursor.take());
        let request = RequestKind::DescribeTopicPartitions(request);
        let answer = client.ask(ApiKey::DescribeTopicPartitions, 0, request).await;
        let ResponseKind::DescribeTopicPartitions(page) = answer else { panic!("another answer") };
        pages.push(page.topics[0].partitions.iter().map(|one| one.partition_index).collect::<Vec<_>>());
        let Some(next) = page.next_cursor else { break };
        cursor = Some(
            kafka_protocol::messages::describe_topic_partitions_request::Cursor::default()
                .with_topic_name(next.topic_name)
                .with_partition_index(next.partition_index),
        );
    }
    assert_eq!(pages, [vec![0, 1, 2], vec![3, 4]]);
    house.close().await;
}
