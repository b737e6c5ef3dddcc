//! Every advertised version of every advertised API, spoken on the wire: the answer decodes to its last byte and says what it must.
//! Versions that `kafka-protocol` cannot word are listed by name, with the clients that use them.
#![allow(clippy::unwrap_used)]

use bytes::{Bytes, BytesMut};
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::StrBytes;
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use rustmq_compat_tests::server::unique;
use rustmq_compat_tests::wire::Wire;
use rustmq_compat_tests::{Target, shared};
use std::collections::{BTreeMap, BTreeSet};

const UNSUPPORTED_VERSION: i16 = 35;
const MEMBER_ID_REQUIRED: i16 = 79;
const FENCED_INSTANCE_ID: i16 = 82;

/// Advertised, and beyond what `kafka-protocol` can word: the Java client and franz-go of these tests speak the newest of each.
const ELSEWHERE: [(ApiKey, i16); 7] = [
    (ApiKey::OffsetCommit, 10),
    (ApiKey::OffsetFetch, 10),
    // Advertised for librdkafka's sake, answered UNSUPPORTED_VERSION: see `produce_before_version_3_is_refused`.
    (ApiKey::Produce, 0),
    (ApiKey::Produce, 1),
    (ApiKey::Produce, 2),
    // Kafka's alone: nobody but its own tools asks.
    (ApiKey::ListOffsets, 11),
    (ApiKey::DescribeLogDirs, 5),
];

/// A connection that remembers what was asked on it.
struct Session {
    wire: Wire,
    advertised: BTreeMap<i16, (i16, i16)>,
    asked: BTreeSet<(i16, i16)>,
}

/// The typed answer to a request in a version.
macro_rules! ask {
    ($session:expr, $kind:ident, $version:expr, $request:expr) => {{
        let answer = $session.call(ApiKey::$kind, $version, &RequestKind::$kind($request));
        let ResponseKind::$kind(answer) = answer else { panic!("another answer than {}", stringify!($kind)) };
        answer
    }};
}

impl Session {
    fn open() -> Session {
        let mut session = Session {
            wire: Wire::connect(shared().port()).unwrap(),
            advertised: BTreeMap::new(),
            asked: BTreeSet::new(),
        };
        let answer = ask!(session, ApiVersions, 0, ApiVersionsRequest::default());
        assert_eq!(answer.error_code, 0);
        session.advertised =
            answer.api_keys.iter().map(|api| (api.api_key, (api.min_version, api.max_version))).collect();
        session
    }

    fn call(&mut self, key: ApiKey, version: i16, request: &RequestKind) -> ResponseKind {
        self.asked.insert((key as i16, version));
        self.wire.call(key, version, request).unwrap_or_else(|error| panic!("{key:?} v{version}: {error:#}"))
    }

    /// The versions to ask of a key: advertised, and in the crate's range.
    fn versions(&self, key: ApiKey) -> std::ops::RangeInclusive<i16> {
        let (min, max) = *self.advertised.get(&(key as i16)).unwrap_or_else(|| panic!("{key:?} is not advertised"));
        let known = key.valid_versions();
        min.max(known.min)..=max.min(known.max)
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

fn batch(count: i32) -> Bytes {
    let records: Vec<Record> = (0..count)
        .map(|n| Record {
            transactional: false,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: -1,
            producer_epoch: -1,
            timestamp_type: TimestampType::Creation,
            offset: i64::from(n),
            // The encoder takes a gap between sequence and offset for the start of another batch.
            sequence: n - 1,
            timestamp: 1_790_000_000_000 + i64::from(n),
            key: Some(Bytes::from_static(b"key")),
            value: Some(Bytes::from(format!("value {n}"))),
            headers: IndexMap::new(),
        })
        .collect();
    let mut buffer = BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut buffer, &records, &options).unwrap();
    buffer.freeze()
}

/// A topic with its id, by CreateTopics and Metadata in their newest versions.
fn make_topic(session: &mut Session, partitions: i32) -> (String, uuid::Uuid) {
    let name = unique("versions");
    let version = *session.versions(ApiKey::CreateTopics).end();
    let wanted = create_topics_request::CreatableTopic::default()
        .with_name(topic_name(&name))
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(vec![
            create_topics_request::CreatableTopicConfig::default()
                .with_name(text("retention.ms"))
                .with_value(Some(text("-1"))),
        ]);
    let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
    let answer = ask!(session, CreateTopics, version, request);
    assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
    let id = answer.topics[0].topic_id;
    while shared().target() == Target::Kafka && metadata_error(session, &name) != 0 {}
    (name, id)
}

/// Kafka's metadata follows a creation late; ours must not, so that only Kafka is waited for.
fn metadata_error(session: &mut Session, name: &str) -> i16 {
    let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name(name)));
    let version = *session.versions(ApiKey::Metadata).end();
    ask!(session, Metadata, version, MetadataRequest::default().with_topics(Some(vec![wanted]))).topics[0].error_code
}

fn produce(session: &mut Session, version: i16, name: &str, id: uuid::Uuid, count: i32) -> i64 {
    let data = produce_request::PartitionProduceData::default().with_index(0).with_records(Some(batch(count)));
    let topic = produce_request::TopicProduceData::default().with_partition_data(vec![data]);
    let topic = if version >= 13 { topic.with_topic_id(id) } else { topic.with_name(topic_name(name)) };
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    let answer = ask!(session, Produce, version, request);
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!(partition.error_code, 0, "Produce v{version}: {:?}", partition.error_message);
    partition.base_offset
}

fn produce_and_fetch(session: &mut Session) {
    let (name, id) = make_topic(session, 1);
    let mut end = 0;
    for version in session.versions(ApiKey::Produce) {
        assert_eq!(produce(session, version, &name, id, 3), end, "Produce v{version}");
        end += 3;
    }
    for version in session.versions(ApiKey::Fetch) {
        let partition = fetch_request::FetchPartition::default()
            .with_partition(0)
            .with_fetch_offset(4)
            .with_partition_max_bytes(1 << 20);
        let topic = fetch_request::FetchTopic::default().with_partitions(vec![partition]);
        let topic = if version >= 13 { topic.with_topic_id(id) } else { topic.with_topic(topic_name(&name)) };
        let request = FetchRequest::default()
            .with_max_wait_ms(500)
            .with_min_bytes(1)
            .with_max_bytes(1 << 20)
            .with_session_epoch(-1)
            .with_topics(vec![topic]);
        let answer = ask!(session, Fetch, version, request);
        assert_eq!(answer.error_code, 0, "Fetch v{version}");
        let partition = &answer.responses[0].partitions[0];
        assert_eq!((partition.error_code, partition.high_watermark), (0, end), "Fetch v{version}");
        let records = partition.records.as_ref().unwrap();
        // The batch that holds the offset comes whole.
        assert_eq!(i64::from_be_bytes(records[..8].try_into().unwrap()), 3, "Fetch v{version}");
        if version >= 13 {
            assert_eq!(answer.responses[0].topic_id, id, "Fetch v{version}");
        }
    }
    for version in session.versions(ApiKey::ListOffsets) {
        for (at, offset) in [(-1, end), (-2, 0), (1_790_000_000_001, 1)] {
            let partition = list_offsets_request::ListOffsetsPartition::default().with_timestamp(at);
            let topic = list_offsets_request::ListOffsetsTopic::default()
                .with_name(topic_name(&name))
                .with_partitions(vec![partition]);
            let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
            let answer = ask!(session, ListOffsets, version, request);
            let partition = &answer.topics[0].partitions[0];
            assert_eq!((partition.error_code, partition.offset), (0, offset), "ListOffsets v{version} at {at}");
        }
    }
    for version in session.versions(ApiKey::OffsetForLeaderEpoch) {
        let partition = offset_for_leader_epoch_request::OffsetForLeaderPartition::default().with_leader_epoch(0);
        let topic = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
            .with_topic(topic_name(&name))
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![topic]);
        let answer = ask!(session, OffsetForLeaderEpoch, version, request);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.end_offset), (0, end), "OffsetForLeaderEpoch v{version}");
    }
    for (before, version) in (1..).zip(session.versions(ApiKey::DeleteRecords)) {
        let partition = delete_records_request::DeleteRecordsPartition::default().with_offset(before);
        let topic = delete_records_request::DeleteRecordsTopic::default()
            .with_name(topic_name(&name))
            .with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![topic]).with_timeout_ms(30_000);
        let answer = ask!(session, DeleteRecords, version, request);
        let partition = &answer.topics[0].partitions[0];
        assert_eq!((partition.error_code, partition.low_watermark), (0, before), "DeleteRecords v{version}");
    }
}

fn topics(session: &mut Session) {
    for version in session.versions(ApiKey::CreateTopics) {
        let name = unique("versions-create");
        let wanted = create_topics_request::CreatableTopic::default()
            .with_name(topic_name(&name))
            .with_num_partitions(1)
            .with_replication_factor(1);
        let request = CreateTopicsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let answer = ask!(session, CreateTopics, version, request.clone());
        assert_eq!(answer.topics[0].error_code, 0, "CreateTopics v{version}");
        let answer = ask!(session, CreateTopics, version, request);
        assert_eq!(answer.topics[0].error_code, 36, "CreateTopics v{version} again");
    }
    for version in session.versions(ApiKey::CreatePartitions) {
        let (name, _) = make_topic(session, 1);
        let wanted = create_partitions_request::CreatePartitionsTopic::default()
            .with_name(topic_name(&name))
            .with_count(2)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let answer = ask!(session, CreatePartitions, version, request);
        assert_eq!(answer.results[0].error_code, 0, "CreatePartitions v{version}");
    }
    for version in session.versions(ApiKey::Metadata) {
        let (name, id) = make_topic(session, 2);
        let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(topic_name(&name)));
        let request = MetadataRequest::default().with_topics(Some(vec![wanted])).with_allow_auto_topic_creation(true);
        let answer = ask!(session, Metadata, version, request);
        assert_eq!(answer.topics[0].error_code, 0, "Metadata v{version}");
        assert_eq!(answer.topics[0].partitions.len(), 2, "Metadata v{version}");
        assert_eq!(answer.brokers.len(), 1, "Metadata v{version}");
        if version >= 10 {
            assert_eq!(answer.topics[0].topic_id, id, "Metadata v{version}");
        }
    }
    for version in session.versions(ApiKey::DeleteTopics) {
        let (name, id) = make_topic(session, 1);
        let request = if version >= 6 {
            let state = delete_topics_request::DeleteTopicState::default().with_topic_id(id);
            DeleteTopicsRequest::default().with_topics(vec![state])
        } else {
            DeleteTopicsRequest::default().with_topic_names(vec![topic_name(&name)])
        };
        let answer = ask!(session, DeleteTopics, version, request.with_timeout_ms(30_000));
        assert_eq!(answer.responses[0].error_code, 0, "DeleteTopics v{version}");
    }
    for version in session.versions(ApiKey::DescribeTopicPartitions) {
        let request =
            describe_topic_partitions_request::TopicRequest::default().with_name(topic_name("nobody made it"));
        let request =
            DescribeTopicPartitionsRequest::default().with_topics(vec![request]).with_response_partition_limit(10);
        let answer = ask!(session, DescribeTopicPartitions, version, request);
        assert_ne!(answer.topics[0].error_code, 0, "DescribeTopicPartitions v{version}");
    }
}

fn configs(session: &mut Session) {
    const TOPIC: i8 = 2;
    let (name, _) = make_topic(session, 1);
    for version in session.versions(ApiKey::DescribeConfigs) {
        let resource = describe_configs_request::DescribeConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(&name))
            .with_configuration_keys(None);
        let request = DescribeConfigsRequest::default()
            .with_resources(vec![resource])
            .with_include_synonyms(true)
            .with_include_documentation(version >= 3);
        let answer = ask!(session, DescribeConfigs, version, request);
        assert_eq!(answer.results[0].error_code, 0, "DescribeConfigs v{version}");
        let found = answer.results[0].configs.iter().find(|config| config.name == text("retention.ms")).unwrap();
        assert_eq!(found.value, Some(text("-1")), "DescribeConfigs v{version}");
        assert!(!found.synonyms.is_empty(), "DescribeConfigs v{version}");
        if version >= 3 {
            assert!(found.documentation.as_ref().is_some_and(|text| !text.is_empty()), "DescribeConfigs v{version}");
        }
    }
    for version in session.versions(ApiKey::AlterConfigs) {
        let config = alter_configs_request::AlterableConfig::default()
            .with_name(text("retention.ms"))
            .with_value(Some(text("-1")));
        let resource = alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(&name))
            .with_configs(vec![config]);
        let answer =
            ask!(session, AlterConfigs, version, AlterConfigsRequest::default().with_resources(vec![resource]));
        assert_eq!(answer.responses[0].error_code, 0, "AlterConfigs v{version}");
    }
    for version in session.versions(ApiKey::IncrementalAlterConfigs) {
        let config = incremental_alter_configs_request::AlterableConfig::default()
            .with_name(text("retention.ms"))
            .with_config_operation(0)
            .with_value(Some(text("-1")));
        let resource = incremental_alter_configs_request::AlterConfigsResource::default()
            .with_resource_type(TOPIC)
            .with_resource_name(text(&name))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        let answer = ask!(session, IncrementalAlterConfigs, version, request);
        assert_eq!(answer.responses[0].error_code, 0, "IncrementalAlterConfigs v{version}");
    }
    for version in session.versions(ApiKey::ListConfigResources) {
        let request = ListConfigResourcesRequest::default();
        let request = if version >= 1 { request.with_resource_types(vec![TOPIC]) } else { request };
        let answer = ask!(session, ListConfigResources, version, request);
        assert_eq!(answer.error_code, 0, "ListConfigResources v{version}");
        // Version 0 knows client metrics only.
        let named = answer.config_resources.iter().any(|resource| resource.resource_name == text(&name));
        assert_eq!(named, version >= 1, "ListConfigResources v{version}");
    }
    for version in session.versions(ApiKey::DescribeLogDirs) {
        let wanted = describe_log_dirs_request::DescribableLogDirTopic::default()
            .with_topic(topic_name(&name))
            .with_partitions(vec![0]);
        let answer =
            ask!(session, DescribeLogDirs, version, DescribeLogDirsRequest::default().with_topics(Some(vec![wanted])));
        assert_eq!(answer.results[0].error_code, 0, "DescribeLogDirs v{version}");
        assert_eq!(answer.results[0].topics[0].partitions.len(), 1, "DescribeLogDirs v{version}");
    }
    for version in session.versions(ApiKey::DescribeCluster) {
        let request = DescribeClusterRequest::default().with_endpoint_type(1);
        let answer = ask!(session, DescribeCluster, version, request);
        assert_eq!((answer.error_code, answer.brokers.len()), (0, 1), "DescribeCluster v{version}");
    }
}

fn coordinators_and_producers(session: &mut Session) {
    for version in session.versions(ApiKey::FindCoordinator) {
        let key = text(&unique("coordinated"));
        let request = if version >= 4 {
            FindCoordinatorRequest::default().with_coordinator_keys(vec![key])
        } else {
            FindCoordinatorRequest::default().with_key(key)
        };
        let (code, port) = loop {
            let answer = ask!(session, FindCoordinator, version, request.clone());
            let found = match answer.coordinators.first() {
                Some(coordinator) => (coordinator.error_code, coordinator.port),
                None => (answer.error_code, answer.port),
            };
            // COORDINATOR_NOT_AVAILABLE while Kafka makes its offsets topic; ours answers at once.
            if found.0 != 15 || shared().target() == Target::RustMq {
                break found;
            }
        };
        assert_eq!((code, port), (0, i32::from(shared().port())), "FindCoordinator v{version}");
    }
    let mut ids = BTreeSet::new();
    for version in session.versions(ApiKey::InitProducerId) {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(60_000)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let answer = loop {
            let answer = ask!(session, InitProducerId, version, request.clone());
            // COORDINATOR_LOAD_IN_PROGRESS while Kafka fetches a block of ids; ours answers at once.
            if answer.error_code != 14 || shared().target() == Target::RustMq {
                break answer;
            }
        };
        assert_eq!((answer.error_code, answer.producer_epoch), (0, 0), "InitProducerId v{version}");
        assert!(ids.insert(answer.producer_id.0), "InitProducerId v{version} gave {} twice", answer.producer_id.0);
    }
    for version in session.versions(ApiKey::ApiVersions) {
        let request = ApiVersionsRequest::default()
            .with_client_software_name(text("compat"))
            .with_client_software_version(text("1"));
        let answer = ask!(session, ApiVersions, version, request);
        assert_eq!(answer.error_code, 0, "ApiVersions v{version}");
        assert_eq!(answer.api_keys.len(), session.advertised.len(), "ApiVersions v{version}");
    }
}

fn join(group: &str, member: StrBytes, instance: Option<&str>, version: i16) -> JoinGroupRequest {
    let protocol = join_group_request::JoinGroupRequestProtocol::default()
        .with_name(text("range"))
        .with_metadata(Bytes::from_static(b"\0\0\0\0\0\0\0\0\0\0"));
    JoinGroupRequest::default()
        .with_group_id(group_id(group))
        .with_session_timeout_ms(10_000)
        .with_rebalance_timeout_ms(if version >= 1 { 10_000 } else { -1 })
        .with_member_id(member)
        .with_group_instance_id(instance.filter(|_| version >= 5).map(text))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// One life of a group, each request in the version nearest to `turn`.
fn group_life(session: &mut Session, turn: i16) {
    let nearest = |session: &Session, key: ApiKey| {
        let versions = session.versions(key);
        turn.clamp(*versions.start(), *versions.end())
    };
    let (group, topic) = (unique("versions-group"), make_topic(session, 1).0);
    let version = nearest(session, ApiKey::JoinGroup);
    let mut answer = ask!(session, JoinGroup, version, join(&group, StrBytes::default(), None, version));
    if version >= 4 {
        assert_eq!(answer.error_code, MEMBER_ID_REQUIRED, "JoinGroup v{version}");
        answer = ask!(session, JoinGroup, version, join(&group, answer.member_id, None, version));
    }
    assert_eq!((answer.error_code, answer.generation_id, answer.members.len()), (0, 1, 1), "JoinGroup v{version}");
    assert_eq!(answer.leader, answer.member_id, "JoinGroup v{version}");
    let member = answer.member_id;
    let version = nearest(session, ApiKey::SyncGroup);
    let assignment = sync_group_request::SyncGroupRequestAssignment::default()
        .with_member_id(member.clone())
        .with_assignment(Bytes::from_static(b"mine"));
    let request = SyncGroupRequest::default()
        .with_group_id(group_id(&group))
        .with_generation_id(1)
        .with_member_id(member.clone())
        .with_assignments(vec![assignment]);
    let request = if version >= 5 {
        request.with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")))
    } else {
        request
    };
    let answer = ask!(session, SyncGroup, version, request);
    assert_eq!((answer.error_code, &answer.assignment[..]), (0, &b"mine"[..]), "SyncGroup v{version}");
    let version = nearest(session, ApiKey::Heartbeat);
    let request = HeartbeatRequest::default()
        .with_group_id(group_id(&group))
        .with_generation_id(1)
        .with_member_id(member.clone());
    assert_eq!(ask!(session, Heartbeat, version, request).error_code, 0, "Heartbeat v{version}");
    commits(session, turn, &group, &topic, &member);
    let version = nearest(session, ApiKey::DescribeGroups);
    let answer =
        ask!(session, DescribeGroups, version, DescribeGroupsRequest::default().with_groups(vec![group_id(&group)]));
    assert_eq!(
        (answer.groups[0].error_code, answer.groups[0].group_state.as_str()),
        (0, "Stable"),
        "DescribeGroups v{version}"
    );
    assert_eq!(&answer.groups[0].members[0].member_assignment[..], b"mine", "DescribeGroups v{version}");
    let version = nearest(session, ApiKey::ListGroups);
    let answer = ask!(session, ListGroups, version, ListGroupsRequest::default());
    assert!(answer.groups.iter().any(|listed| listed.group_id == group_id(&group)), "ListGroups v{version}");
    let version = nearest(session, ApiKey::LeaveGroup);
    let request = LeaveGroupRequest::default().with_group_id(group_id(&group));
    let request = if version >= 3 {
        request.with_members(vec![leave_group_request::MemberIdentity::default().with_member_id(member)])
    } else {
        request.with_member_id(member)
    };
    let answer = ask!(session, LeaveGroup, version, request);
    assert_eq!(answer.error_code, 0, "LeaveGroup v{version}");
    assert!(answer.members.iter().all(|member| member.error_code == 0), "LeaveGroup v{version}");
    let version = nearest(session, ApiKey::OffsetDelete);
    let partition = offset_delete_request::OffsetDeleteRequestPartition::default().with_partition_index(0);
    let wanted = offset_delete_request::OffsetDeleteRequestTopic::default()
        .with_name(topic_name(&topic))
        .with_partitions(vec![partition]);
    let request = OffsetDeleteRequest::default().with_group_id(group_id(&group)).with_topics(vec![wanted]);
    let answer = ask!(session, OffsetDelete, version, request);
    assert_eq!((answer.error_code, answer.topics[0].partitions[0].error_code), (0, 0), "OffsetDelete v{version}");
    let version = nearest(session, ApiKey::DeleteGroups);
    let answer =
        ask!(session, DeleteGroups, version, DeleteGroupsRequest::default().with_groups_names(vec![group_id(&group)]));
    assert_eq!(answer.results[0].error_code, 0, "DeleteGroups v{version}");
    let version = nearest(session, ApiKey::DescribeGroups);
    let answer =
        ask!(session, DescribeGroups, version, DescribeGroupsRequest::default().with_groups(vec![group_id(&group)]));
    assert_eq!(answer.groups[0].group_state.as_str(), "Dead", "DescribeGroups v{version}");
}

fn commits(session: &mut Session, turn: i16, group: &str, topic: &str, member: &StrBytes) {
    let versions = session.versions(ApiKey::OffsetCommit);
    let version = turn.clamp(*versions.start(), *versions.end());
    let partition = offset_commit_request::OffsetCommitRequestPartition::default()
        .with_committed_offset(11)
        .with_committed_leader_epoch(if version >= 6 { 0 } else { -1 })
        .with_committed_metadata(Some(text("note")));
    let wanted = offset_commit_request::OffsetCommitRequestTopic::default()
        .with_name(topic_name(topic))
        .with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default()
        .with_group_id(group_id(group))
        .with_generation_id_or_member_epoch(1)
        .with_member_id(member.clone())
        .with_topics(vec![wanted]);
    let answer = ask!(session, OffsetCommit, version, request);
    assert_eq!(answer.topics[0].partitions[0].error_code, 0, "OffsetCommit v{version}");
    let versions = session.versions(ApiKey::OffsetFetch);
    let version = turn.clamp(*versions.start(), *versions.end());
    if version >= 8 {
        let wanted = offset_fetch_request::OffsetFetchRequestTopics::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![0]);
        let wanted = offset_fetch_request::OffsetFetchRequestGroup::default()
            .with_group_id(group_id(group))
            .with_topics(Some(vec![wanted]));
        let answer = ask!(session, OffsetFetch, version, OffsetFetchRequest::default().with_groups(vec![wanted]));
        let found = &answer.groups[0].topics[0].partitions[0];
        assert_eq!((found.committed_offset, &found.metadata), (11, &Some(text("note"))), "OffsetFetch v{version}");
    } else {
        let wanted = offset_fetch_request::OffsetFetchRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partition_indexes(vec![0]);
        let request = OffsetFetchRequest::default().with_group_id(group_id(group)).with_topics(Some(vec![wanted]));
        let answer = ask!(session, OffsetFetch, version, request);
        let found = &answer.topics[0].partitions[0];
        assert_eq!((found.committed_offset, &found.metadata), (11, &Some(text("note"))), "OffsetFetch v{version}");
    }
}

#[test]
fn every_advertised_version_is_answered() {
    let mut session = Session::open();
    coordinators_and_producers(&mut session);
    topics(&mut session);
    configs(&mut session);
    produce_and_fetch(&mut session);
    (0..=9).for_each(|turn| group_life(&mut session, turn));
    let elsewhere = ELSEWHERE.map(|(key, version)| (key as i16, version));
    let exercised: BTreeSet<i16> = session.asked.iter().map(|(key, _)| *key).collect();
    let missing: Vec<(i16, i16)> = session
        .advertised
        .iter()
        // Kafka advertises more than this page; what RustMQ advertises must all be here.
        .filter(|(key, _)| shared().target() == Target::RustMq || exercised.contains(key))
        .flat_map(|(key, (min, max))| (*min..=*max).map(|version| (*key, version)))
        .filter(|asked| !session.asked.contains(asked) && !elsewhere.contains(asked))
        .collect();
    assert!(missing.is_empty(), "advertised and not exercised (key, version): {missing:?}");
}

#[test]
fn an_unknown_version_of_api_versions_is_answered_in_version_0() {
    let mut wire = Wire::connect(shared().port()).unwrap();
    // Key 18, version 99, correlation 1, a client id of one byte, and whatever version 99 may hold.
    wire.send_frame(&[0, 18, 0, 99, 0, 0, 0, 1, 0, 1, b'c', 0, 1, 2, 3]).unwrap();
    let frame = wire.receive_frame().unwrap();
    assert_eq!(frame[..4], [0, 0, 0, 1], "the correlation id, in a header that is never flexible");
    assert_eq!(i16::from_be_bytes([frame[4], frame[5]]), UNSUPPORTED_VERSION);
}

#[test]
fn a_second_member_of_an_instance_fences_the_first() {
    let session = &mut Session::open();
    coordinators_and_producers(session);
    let group = unique("fence");
    let version = *session.versions(ApiKey::JoinGroup).end();
    let first = loop {
        let first = ask!(session, JoinGroup, version, join(&group, StrBytes::default(), Some("one"), version));
        // COORDINATOR_LOAD_IN_PROGRESS and NOT_COORDINATOR while Kafka makes its offsets topic.
        if ![14, 16].contains(&first.error_code) || shared().target() == Target::RustMq {
            break first;
        }
    };
    assert_eq!(first.error_code, 0);
    let second = ask!(session, JoinGroup, version, join(&group, StrBytes::default(), Some("one"), version));
    assert_eq!(second.error_code, 0);
    assert_ne!(first.member_id, second.member_id);
    let request = HeartbeatRequest::default()
        .with_group_id(group_id(&group))
        .with_generation_id(first.generation_id)
        .with_member_id(first.member_id)
        .with_group_instance_id(Some(text("one")));
    let version = *session.versions(ApiKey::Heartbeat).end();
    assert_eq!(ask!(session, Heartbeat, version, request).error_code, FENCED_INSTANCE_ID);
}

#[test]
fn hostile_frames_close_their_connection_and_harm_no_other() {
    let mut bystander = Session::open();
    let hostile: [&[u8]; 7] = [
        &[0x7f, 0xff, 0xff, 0xff],                                                  // a frame of 2 GiB
        &[0xff, 0xff, 0xff, 0xff],                                                  // a negative length
        &[0, 0, 0, 2, 0, 3],                                                        // shorter than any header
        &[0, 0, 0, 8, 0x7f, 0xff, 0, 0, 0, 0, 0, 1],                                // an unknown key
        &[0, 0, 0, 10, 0, 3, 0x7f, 0xff, 0, 0, 0, 1, 0xff, 0xff],                   // an unknown version
        &[0, 0, 0, 14, 0, 3, 0, 0, 0, 0, 0, 1, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff], // two thousand million topics
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    ];
    for bytes in hostile {
        let mut wire = Wire::connect(shared().port()).unwrap();
        wire.send_raw(bytes).unwrap();
        assert!(wire.is_closed(), "{bytes:?} is answered");
    }
    assert_eq!(ask!(bystander, ApiVersions, 0, ApiVersionsRequest::default()).error_code, 0);
}

#[test]
fn a_batch_with_a_wrong_checksum_is_refused_and_the_next_is_taken() {
    const CORRUPT_MESSAGE: i16 = 2;
    let session = &mut Session::open();
    let (name, _) = make_topic(session, 1);
    let mut bad = batch(1).to_vec();
    *bad.last_mut().unwrap() ^= 1;
    let data = produce_request::PartitionProduceData::default().with_records(Some(bad.into()));
    let topic =
        produce_request::TopicProduceData::default().with_name(topic_name(&name)).with_partition_data(vec![data]);
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(30_000).with_topic_data(vec![topic]);
    let answer = ask!(session, Produce, 9, request);
    assert_eq!(answer.responses[0].partition_responses[0].error_code, CORRUPT_MESSAGE);
    assert_eq!(produce(session, 9, &name, uuid::Uuid::nil(), 1), 0);
}

#[test]
fn produce_before_version_3_is_refused() {
    let mut session = Session::open();
    // Version 2, no topics: acks, timeout, an empty list. Kafka closes the connection, which is an answer too.
    let frame = [0, 0, 0, 2, 0, 0, 0, 9, 0, 1, b'c', 0, 1, 0, 0, 0x75, 0x30, 0, 0, 0, 0];
    let mut wire = Wire::connect(shared().port()).unwrap();
    wire.send_frame(&frame).unwrap();
    match wire.receive_frame() {
        Ok(answer) => assert_eq!(answer[..4], [0, 0, 0, 9], "the correlation id"),
        Err(_) => assert!(wire.is_closed()),
    }
    assert_eq!(ask!(session, ApiVersions, 0, ApiVersionsRequest::default()).error_code, 0);
}
