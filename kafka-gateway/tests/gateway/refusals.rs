//! What is not served is refused in a way that ends a client's attempt, with a reason; limits that
//! may change at any time do.

use crate::fixture::{Client, GatewayFixture};
use rustmq_broker_service::{ConfigChange, ConfigEdit, EditOperation, Mode, ResourceAlteration, ResourceName};
use rustmq_kafka_codec_messages::create_topics_request::CreatableTopic;
use rustmq_kafka_codec_messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use rustmq_kafka_codec_messages::{
    ApiVersionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DescribeGroupsRequest,
    DescribeTopicPartitionsRequest, FindCoordinatorRequest,
};
use tokio::io::AsyncWriteExt;

const NONE: i16 = 0;
const INVALID_TOPIC_EXCEPTION: i16 = 17;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;
const GROUP_ID_NOT_FOUND: i16 = 69;
const REBOOTSTRAP_REQUIRED: i16 = 129;

fn text(value: &str) -> String {
    value.to_owned()
}

/// A broker-wide setting changes while the broker runs.
async fn alter_broker(fixture: &GatewayFixture, name: &str, value: &str) {
    let edit = ConfigEdit { name: name.to_owned(), operation: EditOperation::Set(value.to_owned()) };
    let change = ConfigChange::Edit(vec![edit]);
    let alteration = ResourceAlteration { resource: ResourceName::Broker(String::new()), change };
    fixture.session().alter_configs(vec![alteration], Mode::Apply).await.remove(0).unwrap();
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
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    for version in 1..=6 {
        for (key_type, expected) in [(0, NONE), (1, NONE), (2, UNSUPPORTED_VERSION), (3, INVALID_REQUEST)] {
            let request = FindCoordinatorRequest { key_type, ..FindCoordinatorRequest::default() };
            let request = match version {
                ..4 => FindCoordinatorRequest { key: text("one"), ..request },
                _ => FindCoordinatorRequest { coordinator_keys: vec![text("one")], ..request },
            };
            let found = client.ask(version, request).await;
            let (code, message) = match found.coordinators.first() {
                Some(found) => (found.error_code, found.error_message.clone()),
                None => (found.error_code, found.error_message),
            };
            assert_eq!(code, expected, "type {key_type} in version {version}: {message:?}");
            let is_explained = message.is_some_and(|message| message.contains("coordinator"));
            assert_eq!(is_explained, expected != NONE, "type {key_type} in version {version}");
        }
    }
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_limit_of_connections_may_change_at_any_time() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut first = fixture.client().await;
    assert!(is_served(&mut first).await);
    alter_broker(&fixture, "max.connections", "1").await;
    let mut second = fixture.client().await;
    assert!(!is_served(&mut second).await, "one is open");
    assert!(is_served(&mut first).await, "those that are there stay");
    alter_broker(&fixture, "max.connections", "2").await;
    let mut third = fixture.client().await;
    assert!(is_served(&mut third).await);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_address_has_the_connections_that_the_settings_give_it() {
    let fixture = GatewayFixture::open(|_| {}).await;
    alter_broker(&fixture, "max.connections.per.ip", "1").await;
    let mut first = fixture.client().await;
    assert!(is_served(&mut first).await);
    assert!(!is_served(&mut fixture.client().await).await, "one is open");
    assert!(is_served(&mut fixture.client_from([127, 0, 0, 2]).await).await, "another address has its own");
    alter_broker(&fixture, "max.connections.per.ip.overrides", "127.0.0.1:2, 127.0.0.3:0").await;
    let mut second = fixture.client().await;
    assert!(is_served(&mut second).await);
    assert!(!is_served(&mut fixture.client().await).await, "two are open");
    assert!(!is_served(&mut fixture.client_from([127, 0, 0, 3]).await).await);
    assert_eq!(fixture.metric("connections_refused_total{reason=\"address_limit\"}"), 3);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_partitions_ends_where_the_setting_says() {
    let fixture = GatewayFixture::open_with(&[("max.request.partition.size.limit", "3")], |_| {}).await;
    let mut client = fixture.client().await;
    client.create_topic("pages", 5).await;
    let mut cursor = None;
    let mut pages = Vec::new();
    loop {
        let request = DescribeTopicPartitionsRequest {
            topics: vec![TopicRequest { name: text("pages") }],
            response_partition_limit: 1000,
            cursor: cursor.take(),
        };
        let page = client.ask(0, request).await;
        pages.push(page.topics[0].partitions.iter().map(|one| one.partition_index).collect::<Vec<_>>());
        let Some(next) = page.next_cursor else { break };
        cursor = Some(Cursor { topic_name: next.topic_name, partition_index: next.partition_index });
    }
    assert_eq!(pages, [vec![0, 1, 2], vec![3, 4]]);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_that_means_another_broker_is_sent_back_to_its_bootstrap_servers() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let (cluster, node) = (fixture.session().cluster().cluster_id, fixture.broker.id().0);
    let ask = |cluster: Option<&str>, node_id| ApiVersionsRequest {
        client_software_name: text("s"),
        client_software_version: text("1"),
        cluster_id: cluster.map(text),
        node_id,
    };
    for (cluster, node, expected) in [
        (None, -1, NONE),
        (Some(cluster.as_str()), node, NONE),
        (Some("another"), node, REBOOTSTRAP_REQUIRED),
        (Some(cluster.as_str()), node + 1, REBOOTSTRAP_REQUIRED),
        (Some(cluster.as_str()), -1, INVALID_REQUEST),
        (None, node, INVALID_REQUEST),
    ] {
        let answer = client.ask(5, ask(cluster, node)).await;
        assert_eq!(answer.error_code, expected, "{cluster:?} {node}");
        assert_eq!(answer.api_keys.is_empty(), expected != NONE, "{cluster:?} {node}");
        // Versions that cannot say it mean whoever they reach.
        assert_eq!(client.ask(4, ask(cluster, node)).await.error_code, NONE);
    }
    fixture.close().await;
}

/// The offsets topic is there from then on, with coordinators.
async fn find_coordinator(client: &mut Client) {
    let request = FindCoordinatorRequest { key: text("nobody"), ..FindCoordinatorRequest::default() };
    assert_eq!(client.ask(3, request).await.error_code, NONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_deleted_has_a_text_from_version_3_on() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    find_coordinator(&mut client).await;
    for version in 0..=3 {
        let request = DeleteGroupsRequest { groups_names: vec![text("nobody")] };
        let answer = client.ask(version, request).await;
        assert_eq!(answer.results[0].error_code, GROUP_ID_NOT_FOUND, "version {version}");
        assert_eq!(answer.results[0].error_message.is_some(), version >= 3, "version {version}");
    }
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_refusal_of_the_longest_name_is_sent() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    find_coordinator(&mut client).await;
    // Two bytes each, and one byte short of the longest text.
    let name = "\u{00e9}".repeat(16_383);
    let topic = CreatableTopic { name: name.clone(), num_partitions: 1, ..CreatableTopic::default() };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() };
    assert_eq!(client.ask(7, request).await.topics[0].error_code, INVALID_TOPIC_EXCEPTION);
    let request = DescribeGroupsRequest { groups: vec![name], ..DescribeGroupsRequest::default() };
    let described = client.ask(6, request).await;
    assert_eq!(described.groups[0].error_code, GROUP_ID_NOT_FOUND);
    assert!(described.groups[0].error_message.as_ref().is_some_and(|message| message.starts_with("Group \u{00e9}")));
    fixture.close().await;
}
