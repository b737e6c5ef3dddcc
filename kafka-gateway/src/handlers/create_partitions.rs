//! CreatePartitions: more partitions for existing topics.

use rustmq_broker_service::{NewPartitions, Refusals};
use rustmq_kafka_codec_messages::create_partitions_request::CreatePartitionsTopic;
use rustmq_kafka_codec_messages::create_partitions_response::CreatePartitionsTopicResult;
use rustmq_kafka_codec_messages::{CreatePartitionsRequest, CreatePartitionsResponse};
use rustmq_model::BrokerId;

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map::ApiError;
use crate::words;

pub async fn handle(mut call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: CreatePartitionsRequest = call.decode(body)?;
    // A topic that the request repeats would get two counts.
    let repeated = words::repeated(request.topics.iter().map(|topic| topic.name.as_str()));
    let judged = request.topics.iter().map(|topic| {
        if repeated.contains(topic.name.as_str()) {
            return Err(ApiError::invalid_request("The request names the topic more than once."));
        }
        Ok(new_partitions(topic))
    });
    let (wanted, refusals) = Refusals::split(judged);
    call.session.set_timeout(words::milliseconds(request.timeout_ms));
    let results = call.session.create_partitions(wanted, words::mode(request.validate_only)).await;
    let results = refusals.join(Ok(results.into_iter().map(|result| result.map_err(|error| ApiError::of(&error)))));
    let answers = words::paired(request.topics, results).map(|(topic, result)| {
        let (error_code, error_message) = ApiError::code_and_message(result);
        CreatePartitionsTopicResult { name: topic.name, error_code, error_message }
    });
    let results = words::once(answers.collect(), |answer| answer.name.clone());
    call.answer(&CreatePartitionsResponse { results, ..CreatePartitionsResponse::default() })
}

fn new_partitions(topic: &CreatePartitionsTopic) -> NewPartitions {
    let assignments = topic.assignments.as_ref().map(|assignments| {
        let brokers = assignments.iter().map(|one| one.broker_ids.iter().map(|id| BrokerId(*id)).collect());
        brokers.collect()
    });
    NewPartitions { name: topic.name.clone(), count: topic.count, assignments }
}
