//! CreatePartitions: more partitions for topics that exist.

use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use rustmq_broker_service::MorePartitions;
use rustmq_model::BrokerId;

use crate::api::{Call, CallError};
use crate::connection::Handling;
use crate::error_map;
use crate::words;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: CreatePartitionsRequest = call.decode()?;
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
    let results = words::once(results.collect(), |answer| answer.name.clone());
    let response = CreatePartitionsResponse::default().with_results(results);
    call.answer(&response)
}
