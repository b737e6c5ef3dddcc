//! Configs of groups: altered, described with their sources, listed, and in force.

use std::collections::BTreeMap;

use rustmq_broker_service::{FeatureDirection, FeatureUpdate, Mode};
use rustmq_kafka_codec_messages::alter_configs_request;
use rustmq_kafka_codec_messages::describe_configs_request::DescribeConfigsResource;
use rustmq_kafka_codec_messages::describe_configs_response::DescribeConfigsResult;
use rustmq_kafka_codec_messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rustmq_kafka_codec_messages::{
    AlterConfigsRequest, ConsumerGroupHeartbeatRequest, DescribeConfigsRequest, FindCoordinatorRequest,
    IncrementalAlterConfigsRequest, ListConfigResourcesRequest,
};

use crate::fixture::{Client, GatewayFixture};

const GROUP: i8 = 32;
const SESSION: &str = "consumer.session.timeout.ms";
const HEARTBEAT: &str = "consumer.heartbeat.interval.ms";
const NONE: i16 = 0;
/// The coordinator is loading, or is not there yet.
const COMING_UP: [i16; 3] = [14, 15, 16];
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_CONFIG: i16 = 40;
const INVALID_REQUEST: i16 = 42;
/// Kafka's codes of `ConfigSource`.
const FROM_FILE: i8 = 4;
const FROM_DEFAULT: i8 = 5;
const FROM_GROUP: i8 = 8;

/// Sets a config of a group; an empty value deletes it. Returns the code.
async fn alter(client: &mut Client, group: &str, name: &str, value: &str) -> i16 {
    let config = AlterableConfig {
        name: name.to_owned(),
        config_operation: i8::from(value.is_empty()),
        value: (!value.is_empty()).then(|| value.to_owned()),
    };
    let resource =
        AlterConfigsResource { resource_type: GROUP, resource_name: group.to_owned(), configs: vec![config] };
    let request =
        IncrementalAlterConfigsRequest { resources: vec![resource], ..IncrementalAlterConfigsRequest::default() };
    client.ask(1, request).await.responses[0].error_code
}

async fn describe(client: &mut Client, group: &str) -> DescribeConfigsResult {
    let resource = DescribeConfigsResource {
        resource_type: GROUP,
        resource_name: group.to_owned(),
        ..DescribeConfigsResource::default()
    };
    let request = DescribeConfigsRequest {
        resources: vec![resource],
        include_synonyms: true,
        ..DescribeConfigsRequest::default()
    };
    client.ask(4, request).await.results.remove(0)
}

/// A config's value and source, and the sources of its synonyms.
async fn told(client: &mut Client, group: &str, name: &str) -> (Option<String>, i8, Vec<i8>) {
    let described = describe(client, group).await;
    let config = described.configs.into_iter().find(|config| config.name == name).expect("it is a group's config");
    (config.value, config.config_source, config.synonyms.iter().map(|synonym| synonym.source).collect())
}

async fn listed(client: &mut Client) -> Vec<String> {
    let request = ListConfigResourcesRequest { resource_types: vec![GROUP] };
    let resources = client.ask(1, request).await.config_resources;
    resources.into_iter().map(|resource| resource.resource_name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_groups_config_is_set_described_listed_and_deleted() {
    let fixture = GatewayFixture::open_with(&[("group.consumer.heartbeat.interval.ms", "7000")], |_| {}).await;
    let mut client = fixture.client().await;
    let value = |value: &str| Some(value.to_owned());
    assert_eq!(told(&mut client, "readers", SESSION).await, (value("45000"), FROM_DEFAULT, vec![FROM_DEFAULT]));
    assert_eq!(listed(&mut client).await, Vec::<String>::new());
    assert_eq!(alter(&mut client, "readers", SESSION, "50000").await, NONE);
    let own = (value("50000"), FROM_GROUP, vec![FROM_GROUP, FROM_DEFAULT]);
    assert_eq!(told(&mut client, "readers", SESSION).await, own);
    let file = (value("7000"), FROM_FILE, vec![FROM_FILE, FROM_DEFAULT]);
    assert_eq!(told(&mut client, "readers", HEARTBEAT).await, file);
    assert_eq!(listed(&mut client).await, ["readers"]);
    assert_eq!(alter(&mut client, "readers", SESSION, "").await, NONE);
    assert_eq!(told(&mut client, "readers", SESSION).await.1, FROM_DEFAULT);
    assert_eq!(listed(&mut client).await, Vec::<String>::new());
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn illegal_values_and_names_of_groups_are_refused() {
    let fixture = GatewayFixture::open_with(&[("group.consumer.max.session.timeout.ms", "70000")], |_| {}).await;
    let mut client = fixture.client().await;
    for (group, name, value, code) in [
        ("readers", SESSION, "70001", INVALID_CONFIG),
        ("readers", SESSION, "70000", NONE),
        ("readers", HEARTBEAT, "60000", INVALID_CONFIG),
        ("readers", "session.timeout.ms", "50000", INVALID_CONFIG),
        ("readers", "session.timeout.ms", "", NONE),
        ("", SESSION, "50000", INVALID_REQUEST),
        (&"g".repeat(1_024), SESSION, "50000", NONE),
        (&"g".repeat(1_025), SESSION, "50000", INVALID_REQUEST),
    ] {
        assert_eq!(alter(&mut client, group, name, value).await, code, "{name}={value} of {group}");
    }
    assert_eq!(describe(&mut client, "").await.error_code, INVALID_REQUEST);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn alter_configs_replaces_all_configs_of_a_group() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    assert_eq!(alter(&mut client, "readers", SESSION, "50000").await, NONE);
    let config = alter_configs_request::AlterableConfig { name: HEARTBEAT.to_owned(), value: Some("6000".to_owned()) };
    let resource = alter_configs_request::AlterConfigsResource {
        resource_type: GROUP,
        resource_name: "readers".to_owned(),
        configs: vec![config],
    };
    let request = AlterConfigsRequest { resources: vec![resource], ..AlterConfigsRequest::default() };
    assert_eq!(client.ask(2, request).await.responses[0].error_code, NONE);
    assert_eq!(told(&mut client, "readers", SESSION).await.1, FROM_DEFAULT);
    assert_eq!(told(&mut client, "readers", HEARTBEAT).await.1, FROM_GROUP);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_is_told_the_heartbeat_interval_of_its_group() {
    let heartbeat = || ConsumerGroupHeartbeatRequest {
        group_id: "readers".to_owned(),
        member_id: "a-member".to_owned(),
        member_epoch: 0,
        rebalance_timeout_ms: 60_000,
        subscribed_topic_names: Some(vec!["orders".to_owned()]),
        topic_partitions: Some(Vec::new()),
        ..ConsumerGroupHeartbeatRequest::default()
    };
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let find = FindCoordinatorRequest { key: "readers".to_owned(), ..FindCoordinatorRequest::default() };
    client.ask(3, find).await;
    for (value, interval) in [("", 5_000), ("6000", 6_000)] {
        assert_eq!(alter(&mut client, "readers", HEARTBEAT, value).await, NONE);
        let answer = loop {
            let answer = client.ask(1, heartbeat()).await;
            if !COMING_UP.contains(&answer.error_code) {
                break answer;
            }
        };
        assert_eq!((answer.error_code, answer.heartbeat_interval_ms), (NONE, interval));
    }
    let update = FeatureUpdate { level: 0, direction: FeatureDirection::Downgrade };
    let updates = BTreeMap::from([("group.version".to_owned(), update)]);
    fixture.session().update_features(updates, Mode::Apply).await.unwrap();
    let refused = client.ask(1, heartbeat()).await;
    assert_eq!(refused.error_code, UNSUPPORTED_VERSION, "the protocol is switched off");
    fixture.close().await;
}
