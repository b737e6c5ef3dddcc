//! DeleteTopics: by name, or from version 6 on by name or id.

use std::collections::{HashMap, VecDeque};

use rustmq_broker_service::TopicRef;
use rustmq_kafka_codec_messages::delete_topics_request::DeleteTopicState;
use rustmq_kafka_codec_messages::delete_topics_response::DeletableTopicResult;
use rustmq_kafka_codec_messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use rustmq_model::TopicId;

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

/// One topic of the answer: what the request said of it, and the topic that it selects if that is
/// one and no other.
struct Selected {
    asked: DeleteTopicState,
    topic: Result<TopicRef, &'static str>,
}

pub async fn handle(mut call: Call) -> Result<Handling, CallError> {
    let request: DeleteTopicsRequest = call.decode()?;
    let names = request
        .topic_names
        .into_iter()
        .map(|name| DeleteTopicState { name: Some(name), ..DeleteTopicState::default() });
    let selections = each_once(names.chain(request.topics));
    let topics = selections.iter().filter_map(|selected| selected.topic.clone().ok()).collect();
    call.session.set_timeout(words::milliseconds(request.timeout_ms));
    let mut results = VecDeque::from(call.session.delete_topics(topics).await);
    let responses = selections.into_iter().map(|Selected { asked, topic }| {
        let answer =
            DeletableTopicResult { name: asked.name, topic_id: asked.topic_id, ..DeletableTopicResult::default() };
        let (error_code, error_message) = match topic.map(|_| results.pop_front()) {
            Ok(Some(Ok(deleted))) => {
                let name = Some(deleted.name.as_str().to_owned());
                return DeletableTopicResult { name, topic_id: words::uuid(deleted.id), ..answer };
            }
            Ok(Some(Err(error))) => (error_map::code(&error), error_map::message(&error)),
            Ok(None) => (error_map::INVALID_REQUEST, None),
            Err(reason) => (error_map::INVALID_REQUEST, Some(reason.to_owned())),
        };
        DeletableTopicResult { error_code, error_message, ..answer }
    });
    let response = DeleteTopicsResponse { responses: responses.collect(), ..DeleteTopicsResponse::default() };
    call.answer(&response)
}

/// What the request selects, in its order. What it repeats word for word is answered once, and not
/// deleted.
fn each_once(asked: impl Iterator<Item = DeleteTopicState>) -> Vec<Selected> {
    let mut selections: Vec<Selected> = Vec::new();
    let mut seen: HashMap<TopicRef, usize> = HashMap::new();
    for asked in asked {
        let topic = selected(&asked);
        if let Ok(topic) = &topic {
            if let Some(first) = seen.get(topic) {
                selections[*first].topic = Err("The request names the topic more than once.");
                continue;
            }
            seen.insert(topic.clone(), selections.len());
        }
        selections.push(Selected { asked, topic });
    }
    selections
}

fn selected(asked: &DeleteTopicState) -> Result<TopicRef, &'static str> {
    match (&asked.name, words::topic_id(asked.topic_id)) {
        (Some(name), TopicId::ZERO) => Ok(TopicRef::Name(name.clone())),
        (None, TopicId::ZERO) => Err("A topic is selected by its name or by its id; the request has neither."),
        (None, id) => Ok(TopicRef::Id(id)),
        // They may be of two topics, and only one of them is meant.
        (Some(_), _) => Err("A topic is selected by its name or by its id; the request has both."),
    }
}
