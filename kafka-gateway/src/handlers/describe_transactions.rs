//! DescribeTransactions: the last transaction of each transactional id (KIP-664).

use std::collections::BTreeSet;

use rustmq_broker_service::transactions::TransactionDescription;
use rustmq_kafka_codec_messages::describe_transactions_response::{TopicData, TransactionState};
use rustmq_kafka_codec_messages::{DescribeTransactionsRequest, DescribeTransactionsResponse};
use rustmq_model::TransactionalId;

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: DescribeTransactionsRequest = call.decode(body)?;
    // Each id is described once, so that a short request has no long answer.
    let mut seen = BTreeSet::new();
    let distinct = request.transactional_ids.into_iter().filter(|id| seen.insert(id.clone()));
    let states = distinct.map(|transactional_id| {
        let answer = TransactionState { transactional_id, ..TransactionState::default() };
        let id = match TransactionalId::new(&answer.transactional_id) {
            Ok(id) => id,
            Err(error) => return TransactionState { error_code: error_map::code(&error), ..answer },
        };
        match call.session.describe_transaction(&id) {
            Ok(description) => describe(answer, description),
            Err(error) => TransactionState { error_code: error_map::code(&error), ..answer },
        }
    });
    let response = DescribeTransactionsResponse {
        transaction_states: states.collect(),
        ..DescribeTransactionsResponse::default()
    };
    call.answer(&response)
}

fn describe(answer: TransactionState, description: TransactionDescription) -> TransactionState {
    let mut topics: Vec<TopicData> = Vec::new();
    // The partitions of a topic follow each other.
    for partition in description.partitions {
        match topics.last_mut().filter(|topic| topic.topic == partition.topic.as_str()) {
            Some(topic) => topic.partitions.push(partition.partition.0),
            None => topics.push(TopicData {
                topic: partition.topic.as_str().to_owned(),
                partitions: vec![partition.partition.0],
            }),
        }
    }
    TransactionState {
        transaction_state: description.state.name().to_owned(),
        transaction_timeout_ms: description.timeout_ms,
        transaction_start_time_ms: description.started_at.0,
        producer_id: description.producer.id.0,
        producer_epoch: description.producer.epoch.0,
        topics,
        ..answer
    }
}
