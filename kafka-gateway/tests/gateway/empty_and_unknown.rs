//! Requests that name nothing, or what is not there, are answered as Kafka answers them.

use std::time::{Duration, Instant};

use crate::fixture::GatewayFixture;
use rustmq_kafka_codec_messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rustmq_kafka_codec_messages::describe_configs_request::DescribeConfigsResource;
use rustmq_kafka_codec_messages::leave_group_request::MemberIdentity;
use rustmq_kafka_codec_messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use rustmq_kafka_codec_messages::{
    AlterConfigsRequest, DescribeConfigsRequest, FetchRequest, FindCoordinatorRequest, LeaveGroupRequest,
    ListOffsetsRequest,
};

const BROKER: i8 = 4;
const NONE: i16 = 0;
const UNKNOWN_MEMBER_ID: i16 = 25;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;

fn text(value: &str) -> String {
    value.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_ends_its_session_waits_for_nothing() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let request = FetchRequest {
        session_epoch: -1,
        min_bytes: 1,
        max_wait_ms: 5_000,
        max_bytes: 1 << 20,
        ..FetchRequest::default()
    };
    let started = Instant::now();
    let fetched = client.ask(12, request).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!((fetched.error_code, fetched.session_id, fetched.responses.len()), (NONE, 0, 0));
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_there_can_be_left_and_knows_no_member() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let find = FindCoordinatorRequest { key: text("nobody"), ..FindCoordinatorRequest::default() };
    client.ask(3, find).await;
    let request = LeaveGroupRequest { group_id: text("nobody"), ..LeaveGroupRequest::default() };
    for version in 0..=5 {
        let request = match version {
            ..3 => LeaveGroupRequest { member_id: text("m"), ..request.clone() },
            _ => {
                let members = vec![MemberIdentity { member_id: text("m"), ..MemberIdentity::default() }];
                LeaveGroupRequest { members, ..request.clone() }
            }
        };
        let left = client.ask(version, request).await;
        let codes: Vec<_> = left.members.iter().map(|one| one.error_code).collect();
        let expected = if version < 3 { (UNKNOWN_MEMBER_ID, vec![]) } else { (NONE, vec![UNKNOWN_MEMBER_ID]) };
        assert_eq!((left.error_code, codes), expected, "version {version}");
    }
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_of_a_config_stands_for_all() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let mut described = Vec::new();
    for names in [None, Some(Vec::new())] {
        let resource =
            DescribeConfigsResource { resource_type: BROKER, resource_name: text("0"), configuration_keys: names };
        let request = DescribeConfigsRequest { resources: vec![resource], ..DescribeConfigsRequest::default() };
        let answer = client.ask(4, request).await;
        described.push(answer.results[0].configs.len());
    }
    assert!(described[0] > 0 && described[0] == described[1], "{described:?}");
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_is_not_replaced_by_nothing() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let config = AlterableConfig { name: text("log.retention.ms"), value: None };
    let resource =
        AlterConfigsResource { resource_type: BROKER, configs: vec![config], ..AlterConfigsResource::default() };
    let request = AlterConfigsRequest { resources: vec![resource], ..AlterConfigsRequest::default() };
    let altered = client.ask(2, request).await;
    assert_eq!(altered.responses[0].error_code, INVALID_REQUEST);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_does_not_exist_has_no_offset() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    for timestamp in [-6, -7, i64::MIN] {
        let partition = ListOffsetsPartition { timestamp, ..ListOffsetsPartition::default() };
        let topic = ListOffsetsTopic { name: text("orders"), partitions: vec![partition] };
        let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
        let listed = client.ask(7, request).await;
        assert_eq!(listed.topics[0].partitions[0].error_code, UNSUPPORTED_VERSION, "{timestamp}");
    }
    fixture.close().await;
}
