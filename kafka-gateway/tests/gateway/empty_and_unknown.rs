//! Requests that name nothing, or what is not there, are answered as Kafka answers them.

use std::time::{Duration, Instant};

use crate::house::House;
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{
    AlterConfigsRequest, ApiKey, DescribeConfigsRequest, FetchRequest, FindCoordinatorRequest, LeaveGroupRequest,
    ListOffsetsRequest, RequestKind, ResponseKind,
};
use kafka_protocol::protocol::StrBytes;

const BROKER: i8 = 4;
const NONE: i16 = 0;
const UNKNOWN_MEMBER_ID: i16 = 25;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;

fn text(value: &'static str) -> StrBytes {
    StrBytes::from_static_str(value)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fetch_that_ends_its_session_waits_for_nothing() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    let request = FetchRequest::default().with_session_epoch(-1).with_min_bytes(1).with_max_wait_ms(5_000);
    let started = Instant::now();
    let answer = client.ask(ApiKey::Fetch, 12, RequestKind::Fetch(request.with_max_bytes(1 << 20))).await;
    assert!(started.elapsed() < Duration::from_secs(2), "{:?}", started.elapsed());
    let ResponseKind::Fetch(fetched) = answer else { panic!("another answer") };
    assert_eq!((fetched.error_code, fetched.session_id, fetched.responses.len()), (NONE, 0, 0));
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_that_is_not_there_can_be_left_and_knows_no_member() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    let find = RequestKind::FindCoordinator(FindCoordinatorRequest::default().with_key(text("nobody")));
    client.ask(ApiKey::FindCoordinator, 3, find).await;
    let request = LeaveGroupRequest::default().with_group_id(text("nobody").into());
    for version in 0..=5 {
        let request = match version {
            ..3 => request.clone().with_member_id(text("m")),
            _ => request.clone().with_members(vec![MemberIdentity::default().with_member_id(text("m"))]),
        };
        let answer = client.ask(ApiKey::LeaveGroup, version, RequestKind::LeaveGroup(request)).await;
        let ResponseKind::LeaveGroup(left) = answer else { panic!("another answer") };
        let codes: Vec<_> = left.members.iter().map(|one| one.error_code).collect();
        let expected = if version < 3 { (UNKNOWN_MEMBER_ID, vec![]) } else { (NONE, vec![UNKNOWN_MEMBER_ID]) };
        assert_eq!((left.error_code, codes), expected, "version {version}");
    }
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_name_of_a_config_stands_for_all() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    let mut described = Vec::new();
    for names in [None, Some(Vec::new())] {
        let resource = DescribeConfigsResource::default().with_resource_type(BROKER).with_resource_name(text("0"));
        let resource = resource.with_configuration_keys(names);
        let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
        let answer = client.ask(ApiKey::DescribeConfigs, 4, RequestKind::DescribeConfigs(request)).await;
        let ResponseKind::DescribeConfigs(answer) = answer else { panic!("another answer") };
        described.push(answer.results[0].configs.len());
    }
    assert!(described[0] > 0 && described[0] == described[1], "{described:?}");
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_config_is_not_replaced_by_nothing() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    let config = AlterableConfig::default().with_name(text("log.retention.ms")).with_value(None);
    let resource = AlterConfigsResource::default().with_resource_type(BROKER).with_configs(vec![config]);
    let request = RequestKind::AlterConfigs(AlterConfigsRequest::default().with_resources(vec![resource]));
    let ResponseKind::AlterConfigs(altered) = client.ask(ApiKey::AlterConfigs, 2, request).await else { panic!() };
    assert_eq!(altered.responses[0].error_code, INVALID_REQUEST);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_place_that_does_not_exist_has_no_offset() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    for timestamp in [-6, -7, i64::MIN] {
        let partition = ListOffsetsPartition::default().with_timestamp(timestamp);
        let topic = ListOffsetsTopic::default().with_name(text("orders").into()).with_partitions(vec![partition]);
        let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]);
        let answer = client.ask(ApiKey::ListOffsets, 7, RequestKind::ListOffsets(request)).await;
        let ResponseKind::ListOffsets(listed) = answer else { panic!("another answer") };
        assert_eq!(listed.topics[0].partitions[0].error_code, UNSUPPORTED_VERSION, "{timestamp}");
    }
    house.close().await;
}
