//! Requests of clients and operators about topics: Metadata, CreateTopics, DeleteTopics,
//! CreatePartitions, DescribeTopicPartitions.

use super::session::{Session, Topic, topic_name};
use crate::server::{shared, unique};
use kafka_protocol::messages::{
    ApiKey, BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeTopicPartitionsRequest, MetadataRequest, RequestKind, ResponseKind, TopicName, create_partitions_request,
    create_topics_request, delete_topics_request, describe_topic_partitions_request, metadata_request,
};
use uuid::Uuid;

const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_TOPIC: i16 = 17;
const TOPIC_ALREADY_EXISTS: i16 = 36;
const INVALID_PARTITIONS: i16 = 37;
const INVALID_REPLICATION_FACTOR: i16 = 38;
const UNKNOWN_TOPIC_ID: i16 = 100;
/// The value for operations that nobody asked for.
const UNASKED: i32 = i32::MIN;
/// The operations read, write, create, delete, alter, describe, describe configs, alter configs:
/// all that a topic has.
const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// The operations create, cluster action, describe configs, alter configs, idempotent write, alter,
/// describe.
const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;

fn metadata_of(topics: Option<Vec<metadata_request::MetadataRequestTopic>>) -> MetadataRequest {
    MetadataRequest::default().with_topics(topics).with_allow_auto_topic_creation(true)
}

fn named(topic: &Topic) -> metadata_request::MetadataRequestTopic {
    metadata_request::MetadataRequestTopic::default().with_name(Some(topic.name.clone()))
}

pub fn metadata(session: &mut Session, version: i16) {
    let topic = session.topic(2);
    let answer = ask!(session, Metadata, version, metadata_of(Some(vec![named(&topic)])));
    let broker = &answer.brokers[0];
    assert_eq!((answer.brokers.len(), broker.port), (1, i32::from(shared().port())), "Metadata v{version}");
    let found = &answer.topics[0];
    assert_eq!((found.error_code, found.name.as_ref()), (0, Some(&topic.name)), "Metadata v{version}");
    assert!(!found.is_internal, "Metadata v{version}");
    let mut partitions: Vec<_> = found.partitions.iter().collect();
    partitions.sort_by_key(|partition| partition.partition_index);
    assert_eq!(partitions.len(), 2, "Metadata v{version}");
    for (index, partition) in (0..).zip(partitions) {
        let node = broker.node_id;
        assert_eq!((partition.error_code, partition.partition_index), (0, index), "Metadata v{version}");
        assert_eq!((partition.leader_id, &partition.replica_nodes), (node, &vec![node]), "Metadata v{version}");
        assert_eq!(partition.isr_nodes, [node], "Metadata v{version}");
        assert!(partition.offline_replicas.is_empty(), "Metadata v{version}");
    }
    if version >= 1 {
        assert_eq!(answer.controller_id, broker.node_id, "Metadata v{version}");
    }
    if version >= 2 {
        assert!(answer.cluster_id.is_some_and(|id| !id.is_empty()), "Metadata v{version}");
    }
    if version >= 10 {
        assert_eq!(found.topic_id, topic.id, "Metadata v{version}");
    }
    every_topic_and_none(session, version, &topic);
    if version >= 8 {
        operations(session, version, &topic);
    }
    if version >= 12 {
        by_id(session, version, &topic);
    }
    let invalid = Topic { name: topic_name("not/a name"), id: Uuid::nil() };
    let answer = ask!(session, Metadata, version, metadata_of(Some(vec![named(&invalid)])));
    assert_eq!(answer.topics[0].error_code, INVALID_TOPIC, "Metadata v{version}");
    if version >= 4 {
        let missing = Topic { name: topic_name(&unique("versions-missing")), id: Uuid::nil() };
        let request = metadata_of(Some(vec![named(&missing)])).with_allow_auto_topic_creation(false);
        let answer = ask!(session, Metadata, version, request);
        assert_eq!(answer.topics[0].error_code, UNKNOWN_TOPIC_OR_PARTITION, "Metadata v{version}");
    }
}

fn every_topic_and_none(session: &mut Session, version: i16, topic: &Topic) {
    // Version 0 has no null: an empty list means every topic there, and no topic from version 1 on.
    let all = if version == 0 { Some(Vec::new()) } else { None };
    let answer = ask!(session, Metadata, version, metadata_of(all));
    let is_there = answer.topics.iter().any(|found| found.name.as_ref() == Some(&topic.name));
    assert!(is_there, "Metadata v{version} of every topic");
    if version >= 1 {
        let answer = ask!(session, Metadata, version, metadata_of(Some(Vec::new())));
        assert_eq!((answer.topics.len(), answer.brokers.len()), (0, 1), "Metadata v{version} of no topic");
    }
}

fn operations(session: &mut Session, version: i16, topic: &Topic) {
    for (asked, topics, cluster) in [(false, UNASKED, UNASKED), (true, TOPIC_OPERATIONS, CLUSTER_OPERATIONS)] {
        let has_cluster = version <= 10;
        let request = metadata_of(Some(vec![named(topic)]))
            .with_include_topic_authorized_operations(asked)
            .with_include_cluster_authorized_operations(asked && has_cluster);
        let answer = ask!(session, Metadata, version, request);
        assert_eq!(answer.topics[0].topic_authorized_operations, topics, "Metadata v{version}");
        if has_cluster {
            assert_eq!(answer.cluster_authorized_operations, cluster, "Metadata v{version}");
        }
    }
}

fn by_id(session: &mut Session, version: i16, topic: &Topic) {
    for (id, name, code) in [(topic.id, Some(&topic.name), 0), (Uuid::from_u128(0xdead), None, UNKNOWN_TOPIC_ID)] {
        let wanted = metadata_request::MetadataRequestTopic::default().with_name(None).with_topic_id(id);
        let request = metadata_of(Some(vec![wanted])).with_allow_auto_topic_creation(false);
        let answer = ask!(session, Metadata, version, request);
        let found = &answer.topics[0];
        assert_eq!((found.error_code, found.topic_id), (code, id), "Metadata v{version} by id");
        assert_eq!(found.name.as_ref(), name, "Metadata v{version} by id");
    }
}

pub fn create_topics(session: &mut Session, version: i16) {
    let counted = create_topics_request::CreatableTopic::default()
        .with_name(topic_name(&unique("versions-counted")))
        .with_num_partitions(3)
        .with_replication_factor(1);
    let assignments = [0, 1].map(|index| {
        create_topics_request::CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(vec![BrokerId(0)])
    });
    let assigned = create_topics_request::CreatableTopic::default()
        .with_name(topic_name(&unique("versions-assigned")))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_assignments(assignments.to_vec());
    let greedy = counted.clone().with_name(topic_name(&unique("versions-greedy"))).with_replication_factor(9);
    let request = CreateTopicsRequest::default().with_timeout_ms(30_000);
    let codes = |session: &mut Session, topics: Vec<_>, validate| {
        let request = request.clone().with_topics(topics).with_validate_only(validate);
        ask!(session, CreateTopics, version, request).topics
    };
    for validate_only in [true, false] {
        let answers = codes(session, vec![counted.clone(), assigned.clone(), greedy.clone()], validate_only);
        for (wanted, count, code) in [(&counted, 3, 0), (&assigned, 2, 0), (&greedy, -1, INVALID_REPLICATION_FACTOR)] {
            let answer = answers.iter().find(|answer| answer.name == wanted.name).expect("each topic is answered");
            assert_eq!(answer.error_code, code, "CreateTopics v{version}: {:?}", answer.error_message);
            assert_eq!(answer.error_message.is_some(), code != 0, "CreateTopics v{version}");
            if version >= 5 {
                assert_eq!(answer.num_partitions, count, "CreateTopics v{version}");
                let has_configs = answer.configs.as_ref().is_some_and(|configs| !configs.is_empty());
                assert_eq!(has_configs, code == 0, "CreateTopics v{version}");
            }
            if version >= 7 {
                // A topic that is only validated has no id; Kafka invents one.
                let has_id = !answer.topic_id.is_nil();
                assert!(validate_only || has_id == (code == 0), "CreateTopics v{version}");
            }
        }
    }
    session.wait_for_topic(&counted.name);
    let again = codes(session, vec![counted.clone()], false);
    assert_eq!(again[0].error_code, TOPIC_ALREADY_EXISTS, "CreateTopics v{version} again");
    counts_of_minus_one(session, version);
}

/// -1 means the broker's own count in every version, with KIP-464 or without. No other number below
/// 1 is allowed.
fn counts_of_minus_one(session: &mut Session, version: i16) {
    let counts = [
        (-1, -1, 0),
        (-1, 1, 0),
        (3, -1, 0),
        (0, 1, INVALID_PARTITIONS),
        (-2, 1, INVALID_PARTITIONS),
        (1, 0, INVALID_REPLICATION_FACTOR),
        (1, -2, INVALID_REPLICATION_FACTOR),
    ];
    for (partitions, replication_factor, code) in counts {
        let topic = create_topics_request::CreatableTopic::default()
            .with_name(topic_name(&unique("versions-counts")))
            .with_num_partitions(partitions)
            .with_replication_factor(replication_factor);
        let request = CreateTopicsRequest::default().with_topics(vec![topic.clone()]).with_timeout_ms(30_000);
        let answer = ask!(session, CreateTopics, version, request).topics.remove(0);
        let told = format!("CreateTopics v{version} of {partitions} partitions, {replication_factor} replicas");
        assert_eq!(answer.error_code, code, "{told}: {:?}", answer.error_message);
        if code == 0 {
            let wanted = if partitions == -1 { 1 } else { 3 };
            assert!(shared().knows(|| partition_count(session, &topic.name) == Some(wanted)), "{told}");
        }
    }
}

/// The number of partitions of the topic; `None` if it does not exist.
fn partition_count(session: &mut Session, name: &TopicName) -> Option<usize> {
    let wanted = metadata_request::MetadataRequestTopic::default().with_name(Some(name.clone()));
    let request = metadata_of(Some(vec![wanted])).with_allow_auto_topic_creation(false);
    let version = session.newest(ApiKey::Metadata);
    let topic = ask!(session, Metadata, version, request).topics.remove(0);
    (topic.error_code == 0).then_some(topic.partitions.len())
}

pub fn delete_topics(session: &mut Session, version: i16) {
    let mut named = vec![session.topic(1)];
    named.push(Topic { name: topic_name("nobody made it"), id: Uuid::from_u128(0xdead) });
    let by_name = if version >= 6 {
        let states = named
            .iter()
            .map(|topic| delete_topics_request::DeleteTopicState::default().with_name(Some(topic.name.clone())));
        DeleteTopicsRequest::default().with_topics(states.collect())
    } else {
        DeleteTopicsRequest::default().with_topic_names(named.iter().map(|topic| topic.name.clone()).collect())
    };
    let answer = ask!(session, DeleteTopics, version, by_name.with_timeout_ms(30_000));
    for (topic, code) in named.iter().zip([0, UNKNOWN_TOPIC_OR_PARTITION]) {
        let found = answer.responses.iter().find(|found| found.name.as_ref() == Some(&topic.name));
        assert_eq!(found.map(|found| found.error_code), Some(code), "DeleteTopics v{version}");
        if version >= 6 && code == 0 {
            assert_eq!(found.map(|found| found.topic_id), Some(topic.id), "DeleteTopics v{version}");
        }
    }
    if version >= 6 {
        let doomed = session.topic(1);
        for (id, code) in [(doomed.id, 0), (Uuid::from_u128(0xdead), UNKNOWN_TOPIC_ID)] {
            let state = delete_topics_request::DeleteTopicState::default().with_name(None).with_topic_id(id);
            let request = DeleteTopicsRequest::default().with_topics(vec![state]).with_timeout_ms(30_000);
            let found = ask!(session, DeleteTopics, version, request).responses.remove(0);
            assert_eq!((found.error_code, found.topic_id), (code, id), "DeleteTopics v{version} by id");
        }
    }
    let request = metadata_of(Some(vec![self::named(&named[0])])).with_allow_auto_topic_creation(false);
    let newest = session.newest(ApiKey::Metadata);
    let is_gone = shared().knows(|| {
        let answer = ask!(session, Metadata, newest, request.clone());
        answer.topics[0].error_code == UNKNOWN_TOPIC_OR_PARTITION
    });
    assert!(is_gone, "DeleteTopics v{version}");
}

pub fn create_partitions(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    let cases = [
        (topic.name.clone(), 2, true, 0),
        (topic.name.clone(), 2, false, 0),
        (topic.name.clone(), 1, false, INVALID_PARTITIONS),
        (topic_name("nobody made it"), 2, false, UNKNOWN_TOPIC_OR_PARTITION),
    ];
    for (name, count, validate_only, code) in cases {
        let wanted = create_partitions_request::CreatePartitionsTopic::default()
            .with_name(name.clone())
            .with_count(count)
            .with_assignments(None);
        let request = CreatePartitionsRequest::default()
            .with_topics(vec![wanted])
            .with_timeout_ms(30_000)
            .with_validate_only(validate_only);
        let answer = ask!(session, CreatePartitions, version, request).results.remove(0);
        assert_eq!((answer.name, answer.error_code), (name, code), "CreatePartitions v{version} to {count}");
        assert!(code != 0 || answer.error_message.is_none(), "CreatePartitions v{version} to {count}");
    }
    let newest = session.newest(ApiKey::Metadata);
    let grown = shared().knows(|| {
        let answer = ask!(session, Metadata, newest, metadata_of(Some(vec![named(&topic)])));
        answer.topics[0].partitions.len() == 2
    });
    assert!(grown, "CreatePartitions v{version}");
}

pub fn describe_topic_partitions(session: &mut Session, version: i16) {
    let topic = session.topic(3);
    let wanted = describe_topic_partitions_request::TopicRequest::default().with_name(topic.name.clone());
    let request = DescribeTopicPartitionsRequest::default().with_topics(vec![wanted]).with_response_partition_limit(2);
    let answer = ask!(session, DescribeTopicPartitions, version, request.clone());
    let found = &answer.topics[0];
    assert_eq!((found.error_code, found.topic_id), (0, topic.id), "DescribeTopicPartitions v{version}");
    assert_eq!(found.topic_authorized_operations, TOPIC_OPERATIONS, "DescribeTopicPartitions v{version}");
    let indexes = |answer: &kafka_protocol::messages::DescribeTopicPartitionsResponse| -> Vec<i32> {
        answer.topics[0].partitions.iter().map(|partition| partition.partition_index).collect()
    };
    assert_eq!(indexes(&answer), [0, 1], "DescribeTopicPartitions v{version}: the first page");
    let next = answer.next_cursor.expect("a page that is not the last names the next");
    assert_eq!((&next.topic_name, next.partition_index), (&topic.name, 2), "DescribeTopicPartitions v{version}");
    let cursor = describe_topic_partitions_request::Cursor::default()
        .with_topic_name(next.topic_name)
        .with_partition_index(next.partition_index);
    let answer = ask!(session, DescribeTopicPartitions, version, request.with_cursor(Some(cursor)));
    assert_eq!(indexes(&answer), [2], "DescribeTopicPartitions v{version}: the last page");
    assert!(answer.next_cursor.is_none(), "DescribeTopicPartitions v{version}: the last page");
    let missing = describe_topic_partitions_request::TopicRequest::default().with_name(topic_name("nobody_made_it"));
    let request = DescribeTopicPartitionsRequest::default().with_topics(vec![missing]).with_response_partition_limit(2);
    let answer = ask!(session, DescribeTopicPartitions, version, request);
    assert_eq!(answer.topics[0].error_code, UNKNOWN_TOPIC_OR_PARTITION, "DescribeTopicPartitions v{version}");
}
