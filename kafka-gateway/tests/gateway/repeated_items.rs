//! A request that names one thing many times: the thing is refused, or answered once.

use crate::fixture::GatewayFixture;
use rustmq_kafka_codec_messages::alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rustmq_kafka_codec_messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use rustmq_kafka_codec_messages::describe_configs_request::DescribeConfigsResource;
use rustmq_kafka_codec_messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use rustmq_kafka_codec_messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use rustmq_kafka_codec_messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use rustmq_kafka_codec_messages::{
    AlterConfigsRequest, CreateTopicsRequest, DescribeConfigsRequest, FindCoordinatorRequest,
    IncrementalAlterConfigsRequest, ListConfigResourcesRequest, ListOffsetsRequest, OffsetFetchRequest,
    WriteTxnMarkersRequest, incremental_alter_configs_request,
};

const TOPIC: i8 = 2;
const BROKER: i8 = 4;
const NONE: i16 = 0;
const LATEST: i64 = -1;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_REPLICA_ASSIGNMENT: i16 = 39;
const INVALID_REQUEST: i16 = 42;

fn text(value: &str) -> String {
    value.to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_resource_that_is_altered_twice_is_refused() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    for name in ["twice", "once"] {
        client.create_topic(name, 1).await;
    }
    let config = AlterableConfig { name: text("retention.ms"), value: Some(text("1000")) };
    let resource = |name: &'static str| AlterConfigsResource {
        resource_type: TOPIC,
        resource_name: text(name),
        configs: vec![config.clone()],
    };
    let resources = vec![resource("twice"), resource("once"), resource("twice")];
    let request = AlterConfigsRequest { resources, ..AlterConfigsRequest::default() };
    let altered = client.ask(2, request).await;
    let codes: Vec<_> = altered.responses.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST, NONE, INVALID_REQUEST]);

    let resource = |name: &'static str| {
        let config = incremental_alter_configs_request::AlterableConfig {
            name: text("retention.ms"),
            config_operation: 0,
            value: Some(text("2000")),
        };
        incremental_alter_configs_request::AlterConfigsResource {
            resource_type: TOPIC,
            resource_name: text(name),
            configs: vec![config],
        }
    };
    let resources = vec![resource("twice"), resource("once"), resource("twice")];
    let request = IncrementalAlterConfigsRequest { resources, ..IncrementalAlterConfigsRequest::default() };
    let altered = client.ask(1, request).await;
    let codes: Vec<_> = altered.responses.iter().map(|one| one.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST, NONE, INVALID_REQUEST]);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_kind_of_resources_is_listed_once() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    client.create_topic("listed", 1).await;
    let request = ListConfigResourcesRequest { resource_types: vec![TOPIC, BROKER, TOPIC, TOPIC, BROKER] };
    let listed = client.ask(1, request).await;
    let listed: Vec<_> =
        listed.config_resources.iter().map(|one| (one.resource_type, one.resource_name.as_str())).collect();
    assert_eq!(listed, [(TOPIC, "listed"), (BROKER, "0")]);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_is_described_once_however_its_id_is_written() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let resource = |name: &'static str| DescribeConfigsResource {
        resource_type: BROKER,
        resource_name: text(name),
        configuration_keys: None,
    };
    let request = DescribeConfigsRequest {
        resources: ["0", "00", "+0", "-0"].map(resource).to_vec(),
        ..DescribeConfigsRequest::default()
    };
    let described = client.ask(4, request).await;
    assert_eq!(described.results.iter().map(|one| one.resource_name.as_str()).collect::<Vec<_>>(), ["0"]);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_committed_offset_is_answered_once_for_each_group() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let find = FindCoordinatorRequest { key: text("readers"), ..FindCoordinatorRequest::default() };
    client.ask(3, find).await;
    let topic = |partitions: &[i32]| {
        let partition_indexes = partitions.to_vec();
        OffsetFetchRequestTopics { name: text("orders"), partition_indexes, ..OffsetFetchRequestTopics::default() }
    };
    let group = |id: &'static str| {
        let topics = Some(vec![topic(&[0, 1, 0, 0]), topic(&[1, 0])]);
        OffsetFetchRequestGroup { group_id: text(id), topics, ..OffsetFetchRequestGroup::default() }
    };
    let request =
        OffsetFetchRequest { groups: vec![group("readers"), group("others")], ..OffsetFetchRequest::default() };
    let found = client.ask(8, request).await;
    assert_eq!(found.groups.len(), 2);
    for group in &found.groups {
        let partitions = group.topics.iter().flat_map(|topic| &topic.partitions).map(|one| one.partition_index);
        assert_eq!(partitions.collect::<Vec<_>>(), [0, 1]);
    }
    let topic = OffsetFetchRequestTopic { name: text("orders"), partition_indexes: vec![1, 1] };
    let request =
        OffsetFetchRequest { group_id: text("readers"), topics: Some(vec![topic]), ..OffsetFetchRequest::default() };
    let found = client.ask(2, request).await;
    let partitions = found.topics.iter().flat_map(|topic| &topic.partitions).map(|one| one.partition_index);
    assert_eq!(partitions.collect::<Vec<_>>(), [1]);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_marker_is_written_once_in_each_partition() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    client.create_topic("marked", 1).await;
    let topic = |indexes: Vec<i32>| WritableTxnMarkerTopic { name: text("marked"), partition_indexes: indexes };
    let beyond_one_piece = (1..600).chain([0]).collect();
    let topics = vec![topic(vec![0, 0, 9]), topic(vec![0]), topic(beyond_one_piece)];
    let marker = WritableTxnMarker { producer_id: 7, topics, ..WritableTxnMarker::default() };
    let answer = client.ask(1, WriteTxnMarkersRequest { markers: vec![marker] }).await;
    let codes = answer.markers[0].topics.iter().map(|topic| {
        let partitions = topic.partitions.iter();
        partitions.map(|partition| (partition.partition_index, partition.error_code)).collect::<Vec<_>>()
    });
    let codes: Vec<_> = codes.collect();
    let absent = |index| (index, UNKNOWN_TOPIC_OR_PARTITION);
    assert_eq!(codes[..2], [vec![(0, NONE), (0, NONE), absent(9)], vec![(0, NONE)]]);
    assert_eq!(codes[2], (1..600).map(absent).chain([(0, NONE)]).collect::<Vec<_>>());
    let partition = ListOffsetsPartition { timestamp: LATEST, ..ListOffsetsPartition::default() };
    let topic = ListOffsetsTopic { name: text("marked"), partitions: vec![partition] };
    let request = ListOffsetsRequest { replica_id: -1, topics: vec![topic], ..ListOffsetsRequest::default() };
    assert_eq!(client.ask(7, request).await.topics[0].partitions[0].offset, 1);
    fixture.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_partition_that_is_assigned_twice_is_refused() {
    let fixture = GatewayFixture::open(|_| {}).await;
    let mut client = fixture.client().await;
    let assignment = CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![0] };
    let topic = CreatableTopic {
        name: text("placed"),
        num_partitions: -1,
        replication_factor: -1,
        assignments: vec![assignment.clone(), assignment],
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], timeout_ms: 10_000, ..CreateTopicsRequest::default() };
    assert_eq!(client.ask(7, request).await.topics[0].error_code, INVALID_REPLICA_ASSIGNMENT);
    fixture.close().await;
}
