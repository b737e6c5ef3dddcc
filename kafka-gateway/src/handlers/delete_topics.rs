//! DeleteTopics: by name, or from version 6 on by name or id.

use std::collections::HashMap;

use rustmq_broker_service::{DeletedTopic, Refusals, TopicRef};
use rustmq_kafka_codec_messages::delete_topics_request::DeleteTopicState;
use rustmq_kafka_codec_messages::delete_topics_response::DeletableTopicResult;
use rustmq_kafka_codec_messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use rustmq_model::TopicId;

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map::{self, ApiError};
use crate::words;

pub async fn handle(mut call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: DeleteTopicsRequest = call.decode(body)?;
    let names = request
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() });
    let (asked, selections): (Vec<_>, Vec<_>) = each_once(names.chain(request.topics)).into_iter().unzip();
    let (topics, refusals) = Refusals::split(selections);
    call.session.set_timeout(words::milliseconds(request.timeout_ms));
    let results = call.session.delete_topics(topics).await;
    let results = refusals.join(Ok(results.into_iter().map(|result| result.map_err(|error| ApiError::of(&error)))));
    let responses = words::paired(asked, results).map(|(asked, result)| response(asked, result));
    let response = DeleteTopicsResponse { responses: responses.collect(), ..DeleteTopicsResponse::default() };
    call.answer(&response)
}

/// The topics of the request, in its order. A topic that it repeats word for word is refused, and
/// answered once.
fn each_once(asked: impl Iterator<Item = DeleteTopicState>) -> Vec<(DeleteTopicState, Result<TopicRef, ApiError>)> {
    let mut topics: Vec<(DeleteTopicState, Result<TopicRef, ApiError>)> = Vec::new();
    let mut seen: HashMap<TopicRef, usize> = HashMap::new();
    for asked in asked {
        let topic = selected(&asked);
        if let Ok(topic) = &topic {
            if let Some(first) = seen.get(topic) {
                topics[*first].1 = Err(ApiError::invalid_request("The request names the topic more than once."));
                continue;
            }
            seen.insert(topic.clone(), topics.len());
        }
        topics.push((asked, topic));
    }
    topics
}

fn selected(asked: &DeleteTopicState) -> Result<TopicRef, ApiError> {
    let refuse = |text: &str| Err(ApiError::invalid_request(text));
    match (&asked.name, words::topic_id(asked.topic_id)) {
        (Some(name), TopicId::ZERO) => Ok(TopicRef::Name(name.clone())),
        (None, TopicId::ZERO) => refuse("A topic is selected by its name or by its id; the request has neither."),
        (None, id) => Ok(TopicRef::Id(id)),
        // They may belong to two topics, of which the client means one.
        (Some(_), _) => refuse("A topic is selected by its name or by its id; the request has both."),
    }
}

fn response(asked: DeleteTopicState, result: Result<DeletedTopic, ApiError>) -> DeletableTopicResult {
    let answer = DeletableTopicResult { name: asked.name, topic_id: asked.topic_id, ..DeletableTopicResult::default() };
    match result {
        Ok(deleted) => DeletableTopicResult {
            error_code: error_map::NONE,
            name: Some(deleted.name.as_str().to_owned()),
            topic_id: words::uuid(deleted.id),
            ..answer
        },
        Err(ApiError { code, message }) => DeletableTopicResult { error_code: code, error_message: message, ..answer },
    }
}
