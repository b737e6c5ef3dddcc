//! CreateTopics: counts or manual assignments, configs, and what came of them.

use std::collections::{BTreeMap, BTreeSet};

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{CreateTopicsRequest, CreateTopicsResponse};
use rustmq_broker_service::{CreateTopicsError, CreatedTopic, TopicCreation, TopicPlacement};
use rustmq_model::BrokerId;

use super::describe_configs;
use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

/// The first version whose answer shows what was created (KIP-525).
const DETAILS_FROM: i16 = 5;
/// Stands for the broker's own count of partitions or replicas, and beside manual assignments for
/// none. KIP-464 brings it with version 4; Kafka takes it in every version, and so do clients.
const UNSET: i32 = -1;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: CreateTopicsRequest = call.decode()?;
    let mut refused: BTreeMap<usize, (i16, String)> = BTreeMap::new();
    let repeated = repeated_names(&request.topics);
    let mut creations = Vec::new();
    for (index, topic) in request.topics.iter().enumerate() {
        if repeated.contains(topic.name.as_str()) {
            let message = "The request names the topic more than once.".to_owned();
            refused.insert(index, (error_map::INVALID_REQUEST, message));
            continue;
        }
        match creation(topic) {
            Ok(creation) => creations.push(creation),
            Err(refusal) => {
                refused.insert(index, refusal);
            }
        }
    }
    let timeout = words::milliseconds(request.timeout_ms);
    let broker = &call.shared.broker;
    let mode = words::mode(request.validate_only);
    let mut results = broker.create_topics(creations, mode, timeout).await.into_iter();
    let mut topics = Vec::with_capacity(request.topics.len());
    for (index, topic) in request.topics.into_iter().enumerate() {
        let answer = CreatableTopicResult::default().with_name(topic.name).with_error_message(None);
        topics.push(match refused.remove(&index) {
            Some((code, message)) => answer.with_error_code(code).with_error_message(Some(words::text(message))),
            None => match results.next() {
                Some(Ok(created)) => succeeded(&call, answer, &created, request.validate_only),
                Some(Err(error)) => failed(answer, &error),
                None => answer.with_error_code(error_map::INVALID_REQUEST),
            },
        });
    }
    let topics = words::once(topics, |answer| answer.name.clone());
    call.answer(&CreateTopicsResponse::default().with_topics(topics))
}

fn repeated_names(topics: &[CreatableTopic]) -> BTreeSet<&str> {
    let mut seen = BTreeSet::new();
    topics.iter().map(|topic| topic.name.as_str()).filter(|name| !seen.insert(*name)).collect()
}

/// A creation in the broker's words, or the code and text of a refusal.
fn creation(topic: &CreatableTopic) -> Result<TopicCreation, (i16, String)> {
    let has_partitions = topic.num_partitions != UNSET;
    let has_replication_factor = i32::from(topic.replication_factor) != UNSET;
    let placement = if topic.assignments.is_empty() {
        TopicPlacement::Count {
            partitions: has_partitions.then_some(topic.num_partitions),
            replication_factor: has_replication_factor.then_some(topic.replication_factor),
        }
    } else {
        if has_partitions || has_replication_factor {
            let message = "With manual assignments, partition count and replication factor must be -1.".to_owned();
            return Err((error_map::INVALID_REQUEST, message));
        }
        let mut manual = BTreeMap::new();
        for assignment in &topic.assignments {
            let brokers = assignment.broker_ids.iter().map(|broker| BrokerId(broker.0)).collect();
            if manual.insert(assignment.partition_index, brokers).is_some() {
                let message = format!("Partition {} is assigned more than once.", assignment.partition_index);
                return Err((error_map::INVALID_REPLICA_ASSIGNMENT, message));
            }
        }
        TopicPlacement::Manual(manual)
    };
    let value = |value: &Option<kafka_protocol::protocol::StrBytes>| value.as_ref().map(|value| value.to_string());
    let configs = topic.configs.iter().map(|config| (config.name.to_string(), value(&config.value))).collect();
    Ok(TopicCreation { name: topic.name.to_string(), placement, configs })
}

fn failed(answer: CreatableTopicResult, error: &CreateTopicsError) -> CreatableTopicResult {
    answer
        .with_error_code(error_map::code(error))
        .with_error_message(error_map::message(error))
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(Vec::new()))
}

fn succeeded(
    call: &Call,
    answer: CreatableTopicResult,
    created: &CreatedTopic,
    validate_only: bool,
) -> CreatableTopicResult {
    // A topic that is only tried out has no id.
    let mut answer = if validate_only { answer } else { answer.with_topic_id(words::uuid(created.id)) };
    if call.version() >= DETAILS_FROM {
        answer.num_partitions = created.partitions;
        answer.replication_factor = created.replication_factor;
        let configs = call.shared.broker.describe_created(created);
        let configs = configs.iter().map(|config| {
            CreatableTopicConfigs::default()
                .with_name(words::text(config.name))
                .with_value(config.value.as_deref().map(words::text))
                .with_read_only(config.read_only)
                .with_config_source(describe_configs::source_code(config.source))
                .with_is_sensitive(config.sensitive)
        });
        answer.configs = Some(configs.collect());
    }
    answer
}
