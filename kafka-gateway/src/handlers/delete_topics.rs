//! DeleteTopics: by name, or from version 6 on by id as well.

use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
use rustmq_broker_service::{BrokerError, TopicRef};

use crate::api::{Call, CallError};
use crate::connection::Handling;
use crate::error_map;
use crate::words;

const TOPIC_IDS_FROM: i16 = 6;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: DeleteTopicsRequest = call.decode()?;
    let topics: Vec<TopicRef> = if call.version() >= TOPIC_IDS_FROM {
        request.topics.iter().map(selected).collect()
    } else {
        request.topic_names.iter().map(|name| TopicRef::Name(name.to_string())).collect()
    };
    let timeout = words::milliseconds(request.timeout_ms);
    let (topics, repeated) = words::apart(topics);
    let results = call.shared.broker.delete_topics(topics.clone(), timeout).await;
    let refused = repeated.into_iter().map(|topic| {
        let reason = "The request names the topic more than once.".to_owned();
        (topic, Err(BrokerError::InvalidRequest { reason }))
    });
    let responses = topics.into_iter().zip(results).chain(refused).map(|(topic, result)| {
        let answer = match topic {
            TopicRef::Name(name) => DeletableTopicResult::default().with_name(Some(words::text(name).into())),
            TopicRef::Id(id) => DeletableTopicResult::default().with_name(None).with_topic_id(words::uuid(id)),
        };
        match result {
            Ok(deleted) => {
                answer.with_name(Some(words::text(deleted.name.as_str()).into())).with_topic_id(words::uuid(deleted.id))
            }
            Err(error) => {
                let message = error_map::message(&error).filter(|_| call.version() >= 5);
                answer.with_error_code(error_map::code(&error)).with_error_message(message)
            }
        }
    });
    let responses = responses
        .map(|answer| if call.version() >= TOPIC_IDS_FROM { answer } else { answer.with_topic_id(uuid::Uuid::nil()) });
    let response = DeleteTopicsResponse::default().with_responses(responses.collect());
    call.answer(&response)
}

fn selected(topic: &DeleteTopicState) -> TopicRef {
    match &topic.name {
        Some(name) => TopicRef::Name(name.to_string()),
        None => TopicRef::Id(words::topic_id(topic.topic_id)),
    }
}
