//! A request of every API in every version, its arrays filled, as the frame of a connection.

use bytes::Bytes;
use rustmq_kafka_codec_messages::*;
use rustmq_kafka_codec_messages::{
    add_partitions_to_txn_request as adding, alter_configs_request as alter,
    consumer_group_heartbeat_request as heartbeat, create_partitions_request as partitions,
    create_topics_request as create, delete_records_request as records, delete_topics_request as delete,
    describe_configs_request as describe, describe_log_dirs_request as dirs, describe_producers_request as producers,
    describe_topic_partitions_request as pages, fetch_request as fetch, incremental_alter_configs_request as edit,
    join_group_request as join, leave_group_request as leave, list_offsets_request as list,
    metadata_request as metadata, offset_commit_request as commit, offset_delete_request as forget,
    offset_fetch_request as committed, offset_for_leader_epoch_request as epochs, produce_request as produce,
    sync_group_request as sync, txn_offset_commit_request as offsets, update_features_request as features,
    write_txn_markers_request as markers,
};
use rustmq_model::batch::Codec;
use rustmq_model::{Timestamp, record::BatchBuilder};
use uuid::Uuid;

/// The topic of all samples.
pub const TOPIC: &str = "samples";
/// An id that no topic has.
pub const TOPIC_ID: Uuid = Uuid::from_u128(0x77);
const GROUP: &str = "samples-group";

fn text(value: &str) -> String {
    value.to_owned()
}

pub fn batch() -> Bytes {
    let mut batch = BatchBuilder::new(Codec::None);
    batch.push(Timestamp(1000), Some(b"key"), Some(b"value"), &[("header", None)]);
    batch.build()
}

/// The sample, its length included.
pub fn frame(key: i16, version: i16, correlation_id: i32) -> Vec<u8> {
    let ask = Ask { version, correlation_id };
    match ApiKey::try_from(key).unwrap() {
        ApiKey::Produce if version < 3 => ask.old_produce(),
        key @ (ApiKey::Produce | ApiKey::Fetch | ApiKey::ListOffsets | ApiKey::Metadata) => ask.about_data(key),
        key @ (ApiKey::OffsetCommit | ApiKey::OffsetFetch | ApiKey::OffsetDelete) => ask.about_offsets(key),
        key @ (ApiKey::CreateTopics
        | ApiKey::DeleteTopics
        | ApiKey::CreatePartitions
        | ApiKey::DeleteRecords
        | ApiKey::OffsetForLeaderEpoch) => ask.about_topics(key),
        key @ (ApiKey::DescribeConfigs
        | ApiKey::AlterConfigs
        | ApiKey::IncrementalAlterConfigs
        | ApiKey::ListConfigResources) => ask.about_configs(key),
        key @ (ApiKey::ApiVersions
        | ApiKey::InitProducerId
        | ApiKey::DescribeLogDirs
        | ApiKey::DescribeCluster
        | ApiKey::UpdateFeatures
        | ApiKey::DescribeTopicPartitions) => ask.about_the_broker(key),
        key @ (ApiKey::AddPartitionsToTxn
        | ApiKey::AddOffsetsToTxn
        | ApiKey::TxnOffsetCommit
        | ApiKey::EndTxn
        | ApiKey::WriteTxnMarkers
        | ApiKey::DescribeProducers
        | ApiKey::DescribeTransactions
        | ApiKey::ListTransactions) => ask.about_transactions(key),
        key => ask.about_groups(key),
    }
}

#[derive(Clone, Copy)]
struct Ask {
    version: i16,
    correlation_id: i32,
}

impl Ask {
    #[allow(clippy::needless_pass_by_value, reason = "messages are made in place")]
    fn with<M: Message + Encode>(self, message: M) -> Vec<u8> {
        encode_request(self.correlation_id, "samples", self.version, &message).unwrap().into()
    }

    /// The codec knows no such versions: acks, timeout, and one partition of one topic.
    fn old_produce(self) -> Vec<u8> {
        let mut frame = vec![0, 0, 0, 0, 0, 0];
        frame.extend(self.version.to_be_bytes());
        frame.extend(self.correlation_id.to_be_bytes());
        frame
            .extend([0xff, 0xff, 0, 1, 0, 0, 0, 100, 0, 0, 0, 1, 0, 1, b't', 0, 0, 0, 1, 0, 0, 0, 5, 0, 0, 0, 2, 7, 7]);
        let length = u32::try_from(frame.len() - 4).unwrap();
        frame[..4].copy_from_slice(&length.to_be_bytes());
        frame
    }

    fn about_data(self, key: ApiKey) -> Vec<u8> {
        match key {
            ApiKey::Produce => {
                let data = produce::PartitionProduceData { index: 0, records: Some(batch()) };
                let topic =
                    produce::TopicProduceData { name: text(TOPIC), topic_id: TOPIC_ID, partition_data: vec![data] };
                let topic_data = vec![topic];
                self.with(ProduceRequest { acks: -1, timeout_ms: 5000, topic_data, ..ProduceRequest::default() })
            }
            ApiKey::Fetch => {
                let partition = fetch::FetchPartition {
                    partition_max_bytes: 1 << 20,
                    replica_directory_id: TOPIC_ID,
                    high_watermark: 7,
                    ..fetch::FetchPartition::default()
                };
                let partitions = vec![partition.clone(), partition];
                let forgotten =
                    fetch::ForgottenTopic { topic: text(TOPIC), topic_id: TOPIC_ID, partitions: vec![4, 5] };
                self.with(FetchRequest {
                    max_bytes: 1 << 20,
                    topics: vec![fetch::FetchTopic { topic: text(TOPIC), topic_id: TOPIC_ID, partitions }],
                    forgotten_topics_data: if self.version >= 7 { vec![forgotten] } else { Vec::new() },
                    cluster_id: Some(text("cluster")),
                    ..FetchRequest::default()
                })
            }
            ApiKey::ListOffsets => {
                let partition = list::ListOffsetsPartition { timestamp: -1, ..list::ListOffsetsPartition::default() };
                let topics = vec![list::ListOffsetsTopic { name: text(TOPIC), partitions: vec![partition] }];
                self.with(ListOffsetsRequest { replica_id: -1, topics, ..ListOffsetsRequest::default() })
            }
            _ => {
                let topic = metadata::MetadataRequestTopic {
                    name: Some(text(TOPIC)),
                    ..metadata::MetadataRequestTopic::default()
                };
                self.with(MetadataRequest {
                    topics: Some(vec![topic]),
                    include_topic_authorized_operations: self.version >= 8,
                    ..MetadataRequest::default()
                })
            }
        }
    }

    fn about_offsets(self, key: ApiKey) -> Vec<u8> {
        match key {
            ApiKey::OffsetCommit => {
                let partition = commit::OffsetCommitRequestPartition {
                    committed_offset: 1,
                    committed_metadata: Some(text("note")),
                    ..commit::OffsetCommitRequestPartition::default()
                };
                let topic = commit::OffsetCommitRequestTopic {
                    name: text(TOPIC),
                    topic_id: TOPIC_ID,
                    partitions: vec![partition],
                };
                self.with(OffsetCommitRequest {
                    group_id: text(GROUP),
                    topics: vec![topic],
                    ..OffsetCommitRequest::default()
                })
            }
            ApiKey::OffsetFetch if self.version < 8 => {
                let topic = committed::OffsetFetchRequestTopic { name: text(TOPIC), partition_indexes: vec![0, 9] };
                self.with(OffsetFetchRequest {
                    group_id: text(GROUP),
                    topics: Some(vec![topic]),
                    ..OffsetFetchRequest::default()
                })
            }
            ApiKey::OffsetFetch => {
                let topic = committed::OffsetFetchRequestTopics {
                    name: text(TOPIC),
                    topic_id: TOPIC_ID,
                    partition_indexes: vec![0, 9],
                };
                let group = |group_id, topics| committed::OffsetFetchRequestGroup {
                    group_id,
                    topics,
                    ..committed::OffsetFetchRequestGroup::default()
                };
                let groups = vec![group(text(GROUP), Some(vec![topic])), group(text("other"), None)];
                self.with(OffsetFetchRequest { groups, ..OffsetFetchRequest::default() })
            }
            _ => {
                let partitions = vec![forget::OffsetDeleteRequestPartition::default()];
                let topics = vec![forget::OffsetDeleteRequestTopic { name: text(TOPIC), partitions }];
                self.with(OffsetDeleteRequest { group_id: text(GROUP), topics })
            }
        }
    }

    fn about_groups(self, key: ApiKey) -> Vec<u8> {
        let (group_id, member_id) = (text(GROUP), text("m"));
        match key {
            ApiKey::FindCoordinator if self.version < 4 => {
                self.with(FindCoordinatorRequest { key: group_id, ..FindCoordinatorRequest::default() })
            }
            ApiKey::FindCoordinator => {
                let coordinator_keys = vec![group_id, text("other")];
                self.with(FindCoordinatorRequest { coordinator_keys, ..FindCoordinatorRequest::default() })
            }
            ApiKey::JoinGroup => {
                let metadata = Bytes::from_static(b"m");
                let protocol = join::JoinGroupRequestProtocol { name: text("range"), metadata };
                self.with(JoinGroupRequest {
                    group_id,
                    session_timeout_ms: 1,
                    protocol_type: text("consumer"),
                    protocols: vec![protocol.clone(), protocol],
                    ..JoinGroupRequest::default()
                })
            }
            ApiKey::Heartbeat => self.with(HeartbeatRequest { group_id, member_id, ..HeartbeatRequest::default() }),
            ApiKey::LeaveGroup if self.version < 3 => {
                self.with(LeaveGroupRequest { group_id, member_id, ..LeaveGroupRequest::default() })
            }
            ApiKey::LeaveGroup => {
                let members = vec![leave::MemberIdentity { member_id, ..leave::MemberIdentity::default() }];
                self.with(LeaveGroupRequest { group_id, members, ..LeaveGroupRequest::default() })
            }
            ApiKey::SyncGroup => {
                let assignment = Bytes::from_static(b"a");
                let assignments = vec![sync::SyncGroupRequestAssignment { member_id: text("m"), assignment }];
                self.with(SyncGroupRequest { group_id, member_id, assignments, ..SyncGroupRequest::default() })
            }
            ApiKey::DescribeGroups => {
                let groups = vec![group_id, text("other")];
                self.with(DescribeGroupsRequest { groups, ..DescribeGroupsRequest::default() })
            }
            ApiKey::ListGroups => {
                let states_filter = if self.version >= 4 { vec![text("Stable"), text("Empty")] } else { Vec::new() };
                self.with(ListGroupsRequest { states_filter, ..ListGroupsRequest::default() })
            }
            ApiKey::DeleteGroups => self.with(DeleteGroupsRequest { groups_names: vec![text("unknown")] }),
            key => self.about_consumer_groups(key),
        }
    }

    fn about_consumer_groups(self, key: ApiKey) -> Vec<u8> {
        match key {
            ApiKey::ConsumerGroupHeartbeat => {
                let owned = heartbeat::TopicPartitions { topic_id: TOPIC_ID, partitions: vec![0, 1] };
                self.with(ConsumerGroupHeartbeatRequest {
                    group_id: text("consumers"),
                    member_id: text("member"),
                    member_epoch: 1,
                    subscribed_topic_names: Some(vec![text(TOPIC)]),
                    topic_partitions: Some(vec![owned]),
                    ..ConsumerGroupHeartbeatRequest::default()
                })
            }
            ApiKey::ConsumerGroupDescribe => {
                let group_ids = vec![text(GROUP), text("other")];
                self.with(ConsumerGroupDescribeRequest { group_ids, ..ConsumerGroupDescribeRequest::default() })
            }
            key => panic!("no sample of {key}"),
        }
    }

    fn about_transactions(self, key: ApiKey) -> Vec<u8> {
        let transactional_id = text("samples");
        match key {
            ApiKey::AddPartitionsToTxn if self.version < 4 => {
                let topics = vec![adding::AddPartitionsToTxnTopic { name: text(TOPIC), partitions: vec![0, 9] }];
                self.with(AddPartitionsToTxnRequest {
                    v3_and_below_transactional_id: transactional_id,
                    v3_and_below_topics: topics,
                    ..AddPartitionsToTxnRequest::default()
                })
            }
            ApiKey::AddPartitionsToTxn => {
                let topics = vec![adding::AddPartitionsToTxnTopic { name: text(TOPIC), partitions: vec![0] }];
                let transaction = adding::AddPartitionsToTxnTransaction {
                    transactional_id,
                    verify_only: true,
                    topics,
                    ..adding::AddPartitionsToTxnTransaction::default()
                };
                let transactions = vec![transaction];
                self.with(AddPartitionsToTxnRequest { transactions, ..AddPartitionsToTxnRequest::default() })
            }
            ApiKey::AddOffsetsToTxn => self.with(AddOffsetsToTxnRequest {
                transactional_id,
                group_id: text(GROUP),
                ..AddOffsetsToTxnRequest::default()
            }),
            ApiKey::TxnOffsetCommit => {
                let partition = offsets::TxnOffsetCommitRequestPartition {
                    committed_offset: 1,
                    committed_metadata: Some(text("note")),
                    ..offsets::TxnOffsetCommitRequestPartition::default()
                };
                let partitions = vec![partition];
                let topic = offsets::TxnOffsetCommitRequestTopic { name: text(TOPIC), topic_id: TOPIC_ID, partitions };
                self.with(TxnOffsetCommitRequest {
                    transactional_id,
                    group_id: text(GROUP),
                    topics: vec![topic],
                    ..TxnOffsetCommitRequest::default()
                })
            }
            ApiKey::EndTxn => self.with(EndTxnRequest { transactional_id, ..EndTxnRequest::default() }),
            ApiKey::WriteTxnMarkers => {
                let topics = vec![markers::WritableTxnMarkerTopic { name: text(TOPIC), partition_indexes: vec![0, 9] }];
                let marker = markers::WritableTxnMarker { topics, ..markers::WritableTxnMarker::default() };
                self.with(WriteTxnMarkersRequest { markers: vec![marker] })
            }
            ApiKey::DescribeProducers => {
                let topics = vec![producers::TopicRequest { name: text(TOPIC), partition_indexes: vec![0, 9] }];
                self.with(DescribeProducersRequest { topics })
            }
            ApiKey::DescribeTransactions => {
                self.with(DescribeTransactionsRequest { transactional_ids: vec![transactional_id] })
            }
            _ => self.with(ListTransactionsRequest {
                state_filters: vec![text("Ongoing"), text("Unheard")],
                producer_id_filters: vec![1, 2],
                duration_filter: if self.version >= 1 { 5 } else { -1 },
                transactional_id_pattern: (self.version >= 2).then(|| text("samples.*")),
            }),
        }
    }

    fn about_topics(self, key: ApiKey) -> Vec<u8> {
        match key {
            ApiKey::CreateTopics => {
                let config = create::CreatableTopicConfig { name: text("retention.ms"), value: Some(text("1000")) };
                let counted = create::CreatableTopic {
                    name: text("counted"),
                    num_partitions: 2,
                    replication_factor: 1,
                    configs: vec![config],
                    ..create::CreatableTopic::default()
                };
                let assignment = create::CreatableReplicaAssignment { partition_index: 0, broker_ids: vec![0] };
                let assigned = create::CreatableTopic {
                    name: text("assigned"),
                    num_partitions: -1,
                    replication_factor: -1,
                    assignments: vec![assignment],
                    ..create::CreatableTopic::default()
                };
                let topics = vec![counted, assigned];
                self.with(CreateTopicsRequest { timeout_ms: 5000, topics, ..CreateTopicsRequest::default() })
            }
            ApiKey::DeleteTopics if self.version < 6 => {
                let topic_names = vec![text("counted"), text("unknown")];
                self.with(DeleteTopicsRequest { timeout_ms: 5000, topic_names, ..DeleteTopicsRequest::default() })
            }
            ApiKey::DeleteTopics => {
                let named =
                    delete::DeleteTopicState { name: Some(text("counted")), ..delete::DeleteTopicState::default() };
                let topics = vec![named, delete::DeleteTopicState { name: None, topic_id: TOPIC_ID }];
                self.with(DeleteTopicsRequest { timeout_ms: 5000, topics, ..DeleteTopicsRequest::default() })
            }
            ApiKey::DeleteRecords => {
                let partitions = vec![records::DeleteRecordsPartition { partition_index: 0, offset: -1 }];
                let topics = vec![records::DeleteRecordsTopic { name: text(TOPIC), partitions }];
                self.with(DeleteRecordsRequest { timeout_ms: 5000, topics })
            }
            ApiKey::OffsetForLeaderEpoch => {
                let partitions = vec![epochs::OffsetForLeaderPartition::default()];
                let topics = vec![epochs::OffsetForLeaderTopic { topic: text(TOPIC), partitions }];
                self.with(OffsetForLeaderEpochRequest { topics, ..OffsetForLeaderEpochRequest::default() })
            }
            _ => {
                let assignments = Some(vec![partitions::CreatePartitionsAssignment { broker_ids: vec![0] }]);
                let topics = vec![partitions::CreatePartitionsTopic { name: text("unknown"), count: 2, assignments }];
                self.with(CreatePartitionsRequest { timeout_ms: 5000, topics, ..CreatePartitionsRequest::default() })
            }
        }
    }

    fn about_configs(self, key: ApiKey) -> Vec<u8> {
        match key {
            ApiKey::DescribeConfigs => {
                let topic = describe::DescribeConfigsResource {
                    resource_type: 2,
                    resource_name: text(TOPIC),
                    configuration_keys: Some(vec![text("retention.ms"), text("cleanup.policy")]),
                };
                let broker = describe::DescribeConfigsResource {
                    resource_type: 4,
                    resource_name: String::new(),
                    configuration_keys: None,
                };
                self.with(DescribeConfigsRequest {
                    resources: vec![topic, broker],
                    include_synonyms: true,
                    include_documentation: self.version >= 3,
                })
            }
            ApiKey::AlterConfigs => {
                let configs = vec![alter::AlterableConfig { name: text("retention.ms"), value: Some(text("5000")) }];
                let resources =
                    vec![alter::AlterConfigsResource { resource_type: 2, resource_name: text(TOPIC), configs }];
                self.with(AlterConfigsRequest { resources, validate_only: false })
            }
            ApiKey::IncrementalAlterConfigs => {
                let configs = vec![edit::AlterableConfig {
                    name: text("retention.ms"),
                    config_operation: 0,
                    value: Some(text("6000")),
                }];
                let resources =
                    vec![edit::AlterConfigsResource { resource_type: 2, resource_name: text(TOPIC), configs }];
                self.with(IncrementalAlterConfigsRequest { resources, validate_only: false })
            }
            _ => {
                let resource_types = if self.version >= 1 { vec![2, 4] } else { Vec::new() };
                self.with(ListConfigResourcesRequest { resource_types })
            }
        }
    }

    fn about_the_broker(self, key: ApiKey) -> Vec<u8> {
        match key {
            ApiKey::ApiVersions => self.with(ApiVersionsRequest {
                client_software_name: text("s"),
                client_software_version: text("1"),
                ..ApiVersionsRequest::default()
            }),
            ApiKey::InitProducerId => {
                self.with(InitProducerIdRequest { transactional_id: None, ..InitProducerIdRequest::default() })
            }
            ApiKey::UpdateFeatures => {
                let update = features::FeatureUpdateKey { feature: text("group.version"), ..Default::default() };
                self.with(UpdateFeaturesRequest { feature_updates: vec![update], ..UpdateFeaturesRequest::default() })
            }
            ApiKey::DescribeLogDirs => {
                let topic = dirs::DescribableLogDirTopic { topic: text(TOPIC), partitions: vec![0, 1] };
                self.with(DescribeLogDirsRequest { topics: Some(vec![topic]) })
            }
            ApiKey::DescribeCluster => self.with(DescribeClusterRequest {
                include_cluster_authorized_operations: true,
                ..DescribeClusterRequest::default()
            }),
            _ => {
                let topic = pages::TopicRequest { name: text(TOPIC) };
                self.with(DescribeTopicPartitionsRequest {
                    topics: vec![topic.clone(), topic],
                    response_partition_limit: 10,
                    cursor: Some(pages::Cursor { topic_name: text(TOPIC), partition_index: 0 }),
                })
            }
        }
    }
}
