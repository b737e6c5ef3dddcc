//! CreateTopics: counts or manual assignments, configs, and what came of them.

use std::collections::{BTreeMap, BTreeSet};

use rustmq_broker_service::{CreateTopicsError, CreatedTopic, TopicCreation, TopicPlacement};
use rustmq_kafka_codec_messages::create_topics_request::CreatableTopic;
use rustmq_kafka_codec_messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use rustmq_kafka_codec_messages::{CreateTopicsRequest, CreateTopicsResponse};
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

pub async fn handle(mut call: Call) -> Result<Handling, CallError> {
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
    call.session.set_timeout(words::milliseconds(request.timeout_ms));
    let mode = words::mode(request.validate_only);
    let mut results = call.session.create_topics(creations, mode).await.into_iter();
    let mut topics = Vec::with_capacity(request.topics.len());
    for (index, topic) in request.topics.into_iter().enumerate() {
        let answer = CreatableTopicResult { name: topic.name, error_message: None, ..CreatableTopicResult::default() };
        topics.push(match refused.remove(&index) {
            Some((code, message)) => CreatableTopicResult { error_code: code, error_message: Some(message), ..answer },
            None => match results.next() {
                Some(Ok(created)) => succeeded(&call, answer, &created, request.validate_only),
                Some(Err(error)) => failed(answer, &error),
                None => CreatableTopicResult { error_code: error_map::INVALID_REQUEST, ..answer },
            },
        });
    }
    let topics = words::once(topics, |answer| answer.name.clone());
    call.answer(&CreateTopicsResponse { topics, ..CreateTopicsResponse::default() })
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
            let brokers = assignment.broker_ids.iter().map(|broker| BrokerId(*broker)).collect();
            if manual.insert(assignment.partition_index, brokers).is_some() {
                let message = format!("Partition {} is assigned more than once.", assignment.partition_index);
                return Err((error_map::INVALID_REPLICA_ASSIGNMENT, message));
            }
        }
        TopicPlacement::Manual(manual)
    };
    let configs = topic.configs.iter().map(|config| (config.name.clone(), config.value.clone())).collect();
    Ok(TopicCreation { name: topic.name.clone(), placement, configs })
}

fn failed(answer: CreatableTopicResult, error: &CreateTopicsError) -> CreatableTopicResult {
    CreatableTopicResult {
        error_code: error_map::code(error),
        error_message: error_map::message(error),
        num_partitions: -1,
        replication_factor: -1,
        configs: Some(Vec::new()),
        ..answer
    }
}

fn succeeded(
    call: &Call,
    answer: CreatableTopicResult,
    created: &CreatedTopic,
    validate_only: bool,
) -> CreatableTopicResult {
    // A topic that is only tried out has no id.
    let topic_id = if validate_only { answer.topic_id } else { words::uuid(created.id) };
    let mut answer = CreatableTopicResult { topic_id, ..answer };
    if call.version() >= DETAILS_FROM {
        answer.num_partitions = created.partitions;
        answer.replication_factor = created.replication_factor;
        let configs = call.session.describe_created(created);
        let configs = configs.iter().map(|config| CreatableTopicConfigs {
            name: config.name.to_owned(),
            value: config.value.clone(),
            read_only: config.read_only,
            config_source: describe_configs::source_code(config.source),
            is_sensitive: config.sensitive,
        });
        answer.configs = Some(configs.collect());
    }
    answer
}
