//! CreatePartitions: more partitions for topics that exist.

use std::collections::BTreeSet;

use rustmq_broker_service::NewPartitions;
use rustmq_kafka_codec_messages::create_partitions_request::CreatePartitionsTopic;
use rustmq_kafka_codec_messages::create_partitions_response::CreatePartitionsTopicResult;
use rustmq_kafka_codec_messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use rustmq_model::BrokerId;

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

pub async fn handle(mut call: Call) -> Result<Handling, CallError> {
    let mut request: CreatePartitionsRequest = call.decode()?;
    let repeated = remove_repeated(&mut request.topics);
    let wanted = request.topics.iter().map(|topic| {
        let assignments = topic.assignments.as_ref().map(|assignments| {
            let brokers = assignments.iter().map(|one| one.broker_ids.iter().map(|id| BrokerId(*id)).collect());
            brokers.collect()
        });
        NewPartitions { name: topic.name.clone(), count: topic.count, assignments }
    });
    let mode = words::mode(request.validate_only);
    call.session.set_timeout(words::milliseconds(request.timeout_ms));
    let results = call.session.create_partitions(wanted.collect(), mode).await;
    let results = request.topics.into_iter().zip(results).map(|(topic, result)| {
        let (error_code, error_message) = match result {
            Ok(_) => (error_map::NONE, None),
            Err(error) => (error_map::code(&error), error_map::message(&error)),
        };
        CreatePartitionsTopicResult { name: topic.name, error_code, error_message }
    });
    let refused = repeated.into_iter().map(|name| CreatePartitionsTopicResult {
        name,
        error_code: error_map::INVALID_REQUEST,
        error_message: Some("The request names the topic more than once.".to_owned()),
    });
    let response =
        CreatePartitionsResponse { results: results.chain(refused).collect(), ..CreatePartitionsResponse::default() };
    call.answer(&response)
}

/// Takes out the topics that are named more than once, since they would be given two counts; their
/// names, each once.
fn remove_repeated(topics: &mut Vec<CreatePartitionsTopic>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<String> =
        topics.iter().map(|topic| topic.name.clone()).filter(|name| !seen.insert(name.clone())).collect();
    topics.retain(|topic| !repeated.contains(&topic.name));
    repeated
}
