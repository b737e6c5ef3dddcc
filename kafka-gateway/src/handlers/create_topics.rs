//! CreateTopics: topics with a partition count or manual assignments, and their configs.

use std::collections::BTreeMap;

use rustmq_broker_service::{CreatedTopic, Refusals, TopicCreation, TopicPlacement};
use rustmq_kafka_codec_messages::create_topics_request::CreatableTopic;
use rustmq_kafka_codec_messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use rustmq_kafka_codec_messages::{CreateTopicsRequest, CreateTopicsResponse};
use rustmq_model::BrokerId;

use super::describe_configs;
use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map::{self, ApiError};
use crate::words;

/// The first version whose response describes the created topics (KIP-525).
const DETAILS_FROM: i16 = 5;
/// Stands for the broker's default count of partitions or replicas; beside manual assignments, for
/// no count. KIP-464 introduces it with version 4, but Kafka and clients use it in every version.
const UNSET: i32 = -1;

pub async fn handle(mut call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: CreateTopicsRequest = call.decode(body)?;
    let repeated = words::repeated(request.topics.iter().map(|topic| topic.name.as_str()));
    let judged = request.topics.iter().map(|topic| {
        if repeated.contains(topic.name.as_str()) {
            return Err(ApiError::invalid_request("The request names the topic more than once."));
        }
        creation(topic)
    });
    let (creations, refusals) = Refusals::split(judged);
    call.session.set_timeout(words::milliseconds(request.timeout_ms));
    let results = call.session.create_topics(creations, words::mode(request.validate_only)).await;
    let results = refusals.join(Ok(results.into_iter().map(|result| result.map_err(|error| ApiError::of(&error)))));
    let answers = words::paired(request.topics, results).map(|(topic, result)| {
        let answer = CreatableTopicResult { name: topic.name, error_message: None, ..CreatableTopicResult::default() };
        match result {
            Ok(created) => succeeded(&call, answer, &created, request.validate_only),
            Err(error) => failed(answer, error),
        }
    });
    let topics = words::once(answers.collect(), |answer| answer.name.clone());
    call.answer(&CreateTopicsResponse { topics, ..CreateTopicsResponse::default() })
}

/// The creation in the broker's types.
fn creation(topic: &CreatableTopic) -> Result<TopicCreation, ApiError> {
    let has_partitions = topic.num_partitions != UNSET;
    let has_replication_factor = i32::from(topic.replication_factor) != UNSET;
    let placement = if topic.assignments.is_empty() {
        TopicPlacement::Count {
            partitions: has_partitions.then_some(topic.num_partitions),
            replication_factor: has_replication_factor.then_some(topic.replication_factor),
        }
    } else {
        if has_partitions || has_replication_factor {
            let message = "With manual assignments, partition count and replication factor must be -1.";
            return Err(ApiError::invalid_request(message));
        }
        let mut manual = BTreeMap::new();
        for assignment in &topic.assignments {
            let brokers = assignment.broker_ids.iter().map(|broker| BrokerId(*broker)).collect();
            if manual.insert(assignment.partition_index, brokers).is_some() {
                let message = format!("Partition {} is assigned more than once.", assignment.partition_index);
                return Err(ApiError::new(error_map::INVALID_REPLICA_ASSIGNMENT, &message));
            }
        }
        TopicPlacement::Manual(manual)
    };
    let configs = topic.configs.iter().map(|config| (config.name.clone(), config.value.clone())).collect();
    Ok(TopicCreation { name: topic.name.clone(), placement, configs })
}

fn failed(answer: CreatableTopicResult, error: ApiError) -> CreatableTopicResult {
    CreatableTopicResult {
        error_code: error.code,
        error_message: error.message,
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
    // A creation that is only validated gives no id.
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
