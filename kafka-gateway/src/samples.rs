//! A request of every API in every version, its arrays filled, for tests of what reads them.

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::alter_configs_request as alter;
use kafka_protocol::messages::create_partitions_request as partitions;
use kafka_protocol::messages::create_topics_request as create;
use kafka_protocol::messages::delete_records_request as records;
use kafka_protocol::messages::delete_topics_request as delete;
use kafka_protocol::messages::describe_configs_request as describe;
use kafka_protocol::messages::describe_log_dirs_request as dirs;
use kafka_protocol::messages::describe_topic_partitions_request as pages;
use kafka_protocol::messages::fetch_request as fetch;
use kafka_protocol::messages::incremental_alter_configs_request as edit;
use kafka_protocol::messages::join_group_request as join;
use kafka_protocol::messages::leave_group_request as leave;
use kafka_protocol::messages::list_offsets_request as list;
use kafka_protocol::messages::metadata_request as metadata;
use kafka_protocol::messages::offset_commit_request as commit;
use kafka_protocol::messages::offset_delete_request as forget;
use kafka_protocol::messages::offset_fetch_request as committed;
use kafka_protocol::messages::offset_for_leader_epoch_request as epochs;
use kafka_protocol::messages::produce_request as produce;
use kafka_protocol::messages::sync_group_request as sync;
use kafka_protocol::messages::{
    ApiKey, ApiVersionsRequest, DeleteGroupsRequest, DescribeClusterRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, HeartbeatRequest, InitProducerIdRequest, ListConfigResourcesRequest, ListGroupsRequest,
    RequestHeader, RequestKind,
};
use kafka_protocol::protocol::{Encodable, StrBytes};
use rustmq_model::batch::Codec;
use rustmq_model::{Timestamp, record::BatchBuilder};
use uuid::Uuid;

/// The topic of all samples.
pub const TOPIC: &str = "samples";
/// An id that no topic has.
pub const TOPIC_ID: Uuid = Uuid::from_u128(0x77);

fn text(value: &'static str) -> StrBytes {
    StrBytes::from_static_str(value)
}

pub fn batch() -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(Timestamp(1000), Some(b"key"), Some(b"value"), &[("header", None)]);
    batch.build()
}

/// The sample as the frame of a connection, its length included.
pub fn frame(key: i16, version: i16, correlation_id: i32) -> Vec<u8> {
    let api = ApiKey::try_from(key).expect("a key of the table");
    let mut frame = BytesMut::new();
    let header = RequestHeader::default()
        .with_request_api_key(key)
        .with_request_api_version(version)
        .with_correlation_id(correlation_id)
        .with_client_id(Some(text("samples")));
    header.encode(&mut frame, api.request_header_version(version)).expect("a header encodes");
    frame.extend_from_slice(&body(key, version));
    let mut framed = u32::try_from(frame.len()).expect("a small frame").to_be_bytes().to_vec();
    framed.extend_from_slice(&frame);
    framed
}

/// The body of the sample.
pub fn body(key: i16, version: i16) -> Bytes {
    let mut body = BytesMut::new();
    if key == 0 && version < 3 {
        // The crate knows no such versions: acks, timeout, and one partition of one topic.
        body.extend_from_slice(&[0, 1, 0, 0, 0, 100, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 2, 7, 7]);
        return body.freeze();
    }
    if matches!(key, 8 | 9) && version == 10 {
        return topic_id_body(key);
    }
    request(key, version).encode(&mut body, version).unwrap_or_else(|error| panic!("{key} {version}: {error}"));
    body.freeze()
}

/// OffsetCommit and OffsetFetch in the version that the crate knows only the answers of, byte for
/// byte.
fn topic_id_body(key: i16) -> Bytes {
    let mut body = BytesMut::new();
    if key == 8 {
        // Group, generation, member, no instance; one topic with one partition: offset, no epoch, a
        // note.
        body.extend_from_slice(b"\x0esamples-group\xff\xff\xff\xff\x01\0\x02");
        body.extend_from_slice(TOPIC_ID.as_bytes());
        body.extend_from_slice(b"\x02\0\0\0\0\0\0\0\0\0\0\0\x01\xff\xff\xff\xff\x05note\0\0\0");
        return body.freeze();
    }
    // Two groups, each with no member and no epoch: one topic with two partitions, and all topics.
    // Then: unstable offsets will do.
    body.extend_from_slice(b"\x03\x0esamples-group\0\xff\xff\xff\xff\x02");
    body.extend_from_slice(TOPIC_ID.as_bytes());
    body.extend_from_slice(b"\x03\0\0\0\0\0\0\0\x09\0\0");
    body.extend_from_slice(b"\x06other\0\xff\xff\xff\xff\0\0\0\0");
    body.freeze()
}

pub fn request(key: i16, version: i16) -> RequestKind {
    match key {
        0..=3 => data_request(key, version),
        8..=10 => offset_request(key, version),
        11..=16 => group_request(key, version),
        19..=23 | 37 => topic_request(key, version),
        32 | 33 | 44 | 74 => config_request(key, version),
        _ => other_request(key, version),
    }
}

fn data_request(key: i16, version: i16) -> RequestKind {
    match key {
        0 => {
            let data = produce::PartitionProduceData::default().with_index(0).with_records(Some(batch()));
            let topic = produce::TopicProduceData::default().with_partition_data(vec![data]);
            let topic = if version < 13 { topic.with_name(text(TOPIC).into()) } else { topic.with_topic_id(TOPIC_ID) };
            RequestKind::Produce(
                produce::ProduceRequest::default().with_acks(-1).with_timeout_ms(5000).with_topic_data(vec![topic]),
            )
        }
        1 => {
            let mut partition = fetch::FetchPartition::default()
                .with_partition(0)
                .with_partition_max_bytes(1 << 20)
                .with_fetch_offset(0);
            if version >= 17 {
                partition.replica_directory_id = TOPIC_ID;
            }
            if version >= 18 {
                partition.high_watermark = 7;
            }
            let topic = fetch::FetchTopic::default().with_partitions(vec![partition.clone(), partition]);
            let mut forgotten = fetch::ForgottenTopic::default().with_partitions(vec![4, 5]);
            let topic = if version < 13 {
                forgotten.topic = text(TOPIC).into();
                topic.with_topic(text(TOPIC).into())
            } else {
                forgotten.topic_id = TOPIC_ID;
                topic.with_topic_id(TOPIC_ID)
            };
            let mut request = fetch::FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![topic]);
            if version >= 7 {
                request.forgotten_topics_data = vec![forgotten];
            }
            if version >= 12 {
                request.cluster_id = Some(text("cluster"));
            }
            RequestKind::Fetch(request)
        }
        2 => {
            let partition = list::ListOffsetsPartition::default().with_partition_index(0).with_timestamp(-1);
            let topic =
                list::ListOffsetsTopic::default().with_name(text(TOPIC).into()).with_partitions(vec![partition]);
            RequestKind::ListOffsets(
                list::ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![topic]),
            )
        }
        _ => {
            let topic = metadata::MetadataRequestTopic::default().with_name(Some(text(TOPIC).into()));
            let mut request = metadata::MetadataRequest::default().with_topics(Some(vec![topic]));
            if version >= 8 {
                request.include_topic_authorized_operations = true;
            }
            RequestKind::Metadata(request)
        }
    }
}

fn offset_request(key: i16, version: i16) -> RequestKind {
    let group = || text("samples-group").into();
    match key {
        8 => {
            let partition = commit::OffsetCommitRequestPartition::default()
                .with_committed_offset(1)
                .with_committed_metadata(Some(text("note")));
            let topic = commit::OffsetCommitRequestTopic::default()
                .with_name(text(TOPIC).into())
                .with_partitions(vec![partition]);
            RequestKind::OffsetCommit(
                commit::OffsetCommitRequest::default()
                    .with_group_id(group())
                    .with_generation_id_or_member_epoch(-1)
                    .with_topics(vec![topic]),
            )
        }
        9 if version < 8 => {
            let topic = committed::OffsetFetchRequestTopic::default()
                .with_name(text(TOPIC).into())
                .with_partition_indexes(vec![0, 9]);
            RequestKind::OffsetFetch(
                committed::OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(vec![topic])),
            )
        }
        9 => {
            let topic = committed::OffsetFetchRequestTopics::default()
                .with_name(text(TOPIC).into())
                .with_partition_indexes(vec![0, 9]);
            let asked =
                committed::OffsetFetchRequestGroup::default().with_group_id(group()).with_topics(Some(vec![topic]));
            RequestKind::OffsetFetch(committed::OffsetFetchRequest::default().with_groups(vec![asked]))
        }
        10 if version < 4 => {
            RequestKind::FindCoordinator(FindCoordinatorRequest::default().with_key(text("samples-group")))
        }
        _ => RequestKind::FindCoordinator(
            FindCoordinatorRequest::default().with_coordinator_keys(vec![text("samples-group"), text("other")]),
        ),
    }
}

fn group_request(key: i16, version: i16) -> RequestKind {
    let group = || text("samples-group").into();
    match key {
        11 => {
            let protocol = join::JoinGroupRequestProtocol::default()
                .with_name(text("range"))
                .with_metadata(Bytes::from_static(b"m"));
            RequestKind::JoinGroup(
                join::JoinGroupRequest::default()
                    .with_group_id(group())
                    .with_session_timeout_ms(1)
                    .with_protocol_type(text("consumer"))
                    .with_protocols(vec![protocol.clone(), protocol]),
            )
        }
        12 => RequestKind::Heartbeat(HeartbeatRequest::default().with_group_id(group()).with_member_id(text("m"))),
        13 => {
            let request = leave::LeaveGroupRequest::default().with_group_id(group());
            RequestKind::LeaveGroup(if version < 3 {
                request.with_member_id(text("m"))
            } else {
                request.with_members(vec![leave::MemberIdentity::default().with_member_id(text("m"))])
            })
        }
        14 => {
            let assignment = sync::SyncGroupRequestAssignment::default()
                .with_member_id(text("m"))
                .with_assignment(Bytes::from_static(b"a"));
            RequestKind::SyncGroup(
                sync::SyncGroupRequest::default()
                    .with_group_id(group())
                    .with_member_id(text("m"))
                    .with_assignments(vec![assignment]),
            )
        }
        15 => RequestKind::DescribeGroups(
            DescribeGroupsRequest::default().with_groups(vec![group(), text("other").into()]),
        ),
        _ => {
            let mut request = ListGroupsRequest::default();
            if version >= 4 {
                request.states_filter = vec![text("Stable"), text("Empty")];
            }
            RequestKind::ListGroups(request)
        }
    }
}

fn topic_request(key: i16, version: i16) -> RequestKind {
    match key {
        19 => {
            let config =
                create::CreatableTopicConfig::default().with_name(text("retention.ms")).with_value(Some(text("1000")));
            let counted = create::CreatableTopic::default()
                .with_name(text("counted").into())
                .with_num_partitions(2)
                .with_replication_factor(1)
                .with_configs(vec![config]);
            let assignment =
                create::CreatableReplicaAssignment::default().with_partition_index(0).with_broker_ids(vec![0.into()]);
            let assigned = create::CreatableTopic::default()
                .with_name(text("assigned").into())
                .with_num_partitions(-1)
                .with_replication_factor(-1)
                .with_assignments(vec![assignment]);
            RequestKind::CreateTopics(
                create::CreateTopicsRequest::default().with_timeout_ms(5000).with_topics(vec![counted, assigned]),
            )
        }
        20 => {
            let request = delete::DeleteTopicsRequest::default().with_timeout_ms(5000);
            RequestKind::DeleteTopics(if version < 6 {
                request.with_topic_names(vec![text("counted").into(), text("unknown").into()])
            } else {
                let named = delete::DeleteTopicState::default().with_name(Some(text("counted").into()));
                request.with_topics(vec![
                    named,
                    delete::DeleteTopicState::default().with_name(None).with_topic_id(TOPIC_ID),
                ])
            })
        }
        21 => {
            let partition = records::DeleteRecordsPartition::default().with_partition_index(0).with_offset(-1);
            let topic =
                records::DeleteRecordsTopic::default().with_name(text(TOPIC).into()).with_partitions(vec![partition]);
            RequestKind::DeleteRecords(
                records::DeleteRecordsRequest::default().with_timeout_ms(5000).with_topics(vec![topic]),
            )
        }
        22 => RequestKind::InitProducerId(InitProducerIdRequest::default().with_transactional_id(None)),
        23 => {
            let partition = epochs::OffsetForLeaderPartition::default().with_leader_epoch(0);
            let topic =
                epochs::OffsetForLeaderTopic::default().with_topic(text(TOPIC).into()).with_partitions(vec![partition]);
            RequestKind::OffsetForLeaderEpoch(epochs::OffsetForLeaderEpochRequest::default().with_topics(vec![topic]))
        }
        _ => {
            let assignment = partitions::CreatePartitionsAssignment::default().with_broker_ids(vec![0.into()]);
            let topic = partitions::CreatePartitionsTopic::default()
                .with_name(text("unknown").into())
                .with_count(2)
                .with_assignments(Some(vec![assignment]));
            RequestKind::CreatePartitions(
                partitions::CreatePartitionsRequest::default().with_timeout_ms(5000).with_topics(vec![topic]),
            )
        }
    }
}

fn config_request(key: i16, version: i16) -> RequestKind {
    match key {
        32 => {
            let topic = describe::DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(TOPIC))
                .with_configuration_keys(Some(vec![text("retention.ms"), text("cleanup.policy")]));
            let broker =
                describe::DescribeConfigsResource::default().with_resource_type(4).with_configuration_keys(None);
            let mut request = describe::DescribeConfigsRequest::default()
                .with_resources(vec![topic, broker])
                .with_include_synonyms(true);
            if version >= 3 {
                request.include_documentation = true;
            }
            RequestKind::DescribeConfigs(request)
        }
        33 => {
            let config =
                alter::AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("5000")));
            let topic = alter::AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(TOPIC))
                .with_configs(vec![config]);
            RequestKind::AlterConfigs(alter::AlterConfigsRequest::default().with_resources(vec![topic]))
        }
        44 => {
            let config =
                edit::AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("6000")));
            let topic = edit::AlterConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text(TOPIC))
                .with_configs(vec![config]);
            RequestKind::IncrementalAlterConfigs(
                edit::IncrementalAlterConfigsRequest::default().with_resources(vec![topic]),
            )
        }
        _ => {
            let mut request = ListConfigResourcesRequest::default();
            if version >= 1 {
                request.resource_types = vec![2, 4];
            }
            RequestKind::ListConfigResources(request)
        }
    }
}

fn other_request(key: i16, version: i16) -> RequestKind {
    match key {
        18 => RequestKind::ApiVersions(if version < 3 {
            ApiVersionsRequest::default()
        } else {
            ApiVersionsRequest::default().with_client_software_name(text("s")).with_client_software_version(text("1"))
        }),
        35 => {
            let topic =
                dirs::DescribableLogDirTopic::default().with_topic(text(TOPIC).into()).with_partitions(vec![0, 1]);
            RequestKind::DescribeLogDirs(dirs::DescribeLogDirsRequest::default().with_topics(Some(vec![topic])))
        }
        42 => RequestKind::DeleteGroups(DeleteGroupsRequest::default().with_groups_names(vec![text("unknown").into()])),
        47 => {
            let topic = forget::OffsetDeleteRequestTopic::default()
                .with_name(text(TOPIC).into())
                .with_partitions(vec![forget::OffsetDeleteRequestPartition::default()]);
            RequestKind::OffsetDelete(
                forget::OffsetDeleteRequest::default()
                    .with_group_id(text("samples-group").into())
                    .with_topics(vec![topic]),
            )
        }
        60 => RequestKind::DescribeCluster(
            DescribeClusterRequest::default().with_include_cluster_authorized_operations(true),
        ),
        75 => {
            let cursor = pages::Cursor::default().with_topic_name(text(TOPIC).into());
            let topic = pages::TopicRequest::default().with_name(text(TOPIC).into());
            RequestKind::DescribeTopicPartitions(
                pages::DescribeTopicPartitionsRequest::default()
                    .with_topics(vec![topic.clone(), topic])
                    .with_response_partition_limit(10)
                    .with_cursor(Some(cursor)),
            )
        }
        _ => panic!("no sample of API key {key}"),
    }
}
