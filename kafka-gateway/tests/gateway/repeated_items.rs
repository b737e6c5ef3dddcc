//! A request that names one thing many times: the thing is refused, or answered once.

use crate::house::{Client, House};
use kafka_protocol::messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::{
    AlterConfigsRequest, ApiKey, CreateTopicsRequest, DescribeConfigsRequest, FindCoordinatorRequest,
    IncrementalAlterConfigsRequest, ListConfigResourcesRequest, OffsetFetchRequest, RequestKind, ResponseKind,
    incremental_alter_configs_request,
};
use kafka_protocol::protocol::StrBytes;

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const NONE: i16 = 0;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_REQUEST: i16 = 42;

fn text(value: &'static str) -> StrBytes {
    StrBytes::from_static_str(value)
}

async fn create(client: &mut Client, topic: CreatableTopic) -> i16 {
    let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(10_000);
    let answer = client.ask(ApiKey::CreateTopics, 7, RequestKind::CreateTopics(request)).await;
    let ResponseKind::CreateTopics(created) = answer else { panic!("another answer") };
    created.topics[0].error_code
}

async fn create_counted(client: &mut Client, name: &'static str) {
    let topic = CreatableTopic::default().with_name(text(name).into()).with_num_partitions(1);
    assert_eq!(create(client, topic.with_replication_factor(1)).await, NONE);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_is_altered_twice_is_refused() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    for name in ["twice", "once"] {
        create_counted(&mut client, name).await;
    }
    let config = AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("1000")));
    let resource = |name: &'static str| {
        let resource = AlterConfigsResource::default().with_resource_type(TOPIC).with_resource_name(text(name));
        resource.with_configs(vec![config.clone()])
    };
    let resources = vec![resource("twice"), resource("once"), resource("twice")];
    let request = RequestKind::AlterConfigs(AlterConfigsRequest::default().with_resources(resources));
    let ResponseKind::AlterConfigs(altered) = client.ask(ApiKey::AlterConfigs, 2, request).await else { panic!() };
    let codes: Vec<_> = altered.responses.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST, NONE, INVALID_REQUEST]);

    let resource = |name: &'static str| {
        let config = incremental_alter_configs_request::AlterableConfig::default().with_name(text("retention.ms"));
        incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(name))
            .with_configs(vec![config.with_value(Some(text("2000")))])
    };
    let resources = vec![resource("twice"), resource("once"), resource("twice")];
    let request = IncrementalAlterConfigsRequest::default().with_resources(resources);
    let request = RequestKind::IncrementalAlterConfigs(request);
    let answer = client.ask(ApiKey::IncrementalAlterConfigs, 1, request).await;
    let ResponseKind::IncrementalAlterConfigs(altered) = answer else { panic!() };
    let codes: Vec<_> = altered.responses.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST, NONE, INVALID_REQUEST]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_of_resources_is_listed_once() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    create_counted(&mut client, "listed").await;
    let request = ListConfigResourcesRequest::default().with_resource_types(vec![TOPIC, BROKER, TOPIC, TOPIC, BROKER]);
    let request = RequestKind::ListConfigResources(request);
    let answer = client.ask(ApiKey::ListConfigResources, 1, request).await;
    let ResponseKind::ListConfigResources(listed) = answer else { panic!("another answer") };
    let listed: Vec<_> =
        listed.config_resources.iter().map(|one| (one.resource_type, one.resource_name.as_str())).collect();
    assert_eq!(listed, [(TOPIC, "listed"), (BROKER, "0")]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_described_once_however_its_id_is_written() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    let resource = |name: &'static str| {
        let resource = DescribeConfigsResource::default().with_resource_type(BROKER);
        resource.with_resource_name(text(name)).with_configuration_keys(None)
    };
    let request = DescribeConfigsRequest::default().with_resources(["0", "00", "+0", "-0"].map(resource).to_vec());
    let answer = client.ask(ApiKey::DescribeConfigs, 4, RequestKind::DescribeConfigs(request)).await;
    let ResponseKind::DescribeConfigs(described) = answer else { panic!("another answer") };
    assert_eq!(described.results.iter().map(|one| one.resource_name.as_str()).collect::<Vec<_>>(), ["0"]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committed_offset_is_answered_once_for_each_group() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    let find = RequestKind::FindCoordinator(FindCoordinatorRequest::default().with_key(text("readers")));
    client.ask(ApiKey::FindCoordinator, 3, find).await;
    let topic = |partitions: &[i32]| {
        let topic = OffsetFetchRequestTopics::default().with_name(text("orders").into());
        topic.with_partition_indexes(partitions.to_vec())
    };
    let group = |id: &'static str| {
        let group = OffsetFetchRequestGroup::default().with_group_id(text(id).into());
        group.with_topics(Some(vec![topic(&[0, 1, 0, 0]), topic(&[1, 0])]))
    };
    let request = OffsetFetchRequest::default().with_groups(vec![group("readers"), group("others")]);
    let answer = client.ask(ApiKey::OffsetFetch, 8, RequestKind::OffsetFetch(request)).await;
    let ResponseKind::OffsetFetch(found) = answer else { panic!("another answer") };
    assert_eq!(found.groups.len(), 2);
    for group in &found.groups {
        let partitions = group.topics.iter().flat_map(|topic| &topic.partitions).map(|one| one.partition_index);
        assert_eq!(partitions.collect::<Vec<_>>(), [0, 1]);
    }
    let topic = OffsetFetchRequestTopic::default().with_name(text("orders").into());
    let request = OffsetFetchRequest::default()
        .with_group_id(text("readers").into())
        .with_topics(Some(vec![topic.with_partition_indexes(vec![1, 1])]));
    let answer = client.ask(ApiKey::OffsetFetch, 2, RequestKind::OffsetFetch(request)).await;
    let ResponseKind::OffsetFetch(found) = answer else { panic!("another answer") };
    let partitions = found.topics.iter().flat_map(|topic| &topic.partitions).map(|one| one.partition_index);
    assert_eq!(partitions.collect::<Vec<_>>(), [1]);
    house.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_assigned_twice_is_refused() {
    let house = House::open(|_| {}).await;
    let mut client = house.client().await;
    let assignment = CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(vec![0.into()]);
    let topic = CreatableTopic::default()
        .with_name(text("placed").into())
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(vec![assignment.clone(), assignment]);
    assert_eq!(create(&mut client, topic).await, INVALID_REPLICA_ASSIGNMENT);
    house.close().await;
}
