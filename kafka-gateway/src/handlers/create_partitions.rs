//! CreatePartitions: more partitions for topics that exist.

use std::collections::BTreeSet;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse, TopicName};
use rustmq_broker_service::MorePartitions;
use rustmq_model::BrokerId;

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let mut request: CreatePartitionsRequest = call.decode()?;
    let repeated = remove_repeated(&mut request.topics);
    let wanted = request.topics.iter().map(|topic| {
        let assignments = topic.assignments.as_ref().map(|assignments| {
            let brokers = assignments.iter().map(|one| one.broker_ids.iter().map(|id| BrokerId(id.0)).collect());
            brokers.collect()
        });
        MorePartitions { name: topic.name.to_string(), count: topic.count, assignments }
    });
    let mode = words::mode(request.validate_only);
    let timeout = words::milliseconds(request.timeout_ms);
    let results = call.shared.broker.create_partitions(wanted.collect(), mode, timeout).await;
    let results = request.topics.into_iter().zip(results).map(|(topic, result)| {
        let answer = CreatePartitionsTopicResult::default().with_name(topic.name).with_error_message(None);
        match result {
            Ok(_) => answer,
            Err(error) => {
                answer.with_error_code(error_map::code(&error)).with_error_message(error_map::message(&error))
            }
        }
    });
    let refused = repeated.into_iter().map(|name| {
        CreatePartitionsTopicResult::default()
            .with_name(name)
            .with_error_code(error_map::INVALID_REQUEST)
            .with_error_message(Some(words::text("The request names the topic more than once.")))
    });
    let response = CreatePartitionsResponse::default().with_results(results.chain(refused).collect());
    call.answer(&response)
}

/// Takes out the topics that are named more than once, since they would be given two counts; their
/// names, each once.
fn remove_repeated(topics: &mut Vec<CreatePartitionsTopic>) -> BTreeSet<TopicName> {
    let mut seen = BTreeSet::new();
    let repeated: BTreeSet<TopicName> =
        topics.iter().map(|topic| topic.name.clone()).filter(|name| !seen.insert(name.clone())).collect();
    topics.retain(|topic| !repeated.contains(&topic.name));
    repeated
}
