//! Produce: batches go to the broker in the order of arrival; the answer waits for their acknowledgement beside what comes next.

mod legacy;

use futures_util::FutureExt;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use rustmq_broker_service::{Acks, BrokerError, ProducePartition, Produced, RecordFault};
use rustmq_model::PartitionId;
use uuid::Uuid;

use crate::api::{Call, CallError};
use crate::connection::Handling;
use crate::error_map;
use crate::words;

/// The first version of batches with magic 2: older requests are answered, and refused.
const VERSION_MIN: i16 = 3;

/// The topics of a request and their partitions, to put the answers back in place.
type Outline = Vec<(TopicName, Uuid, Vec<i32>)>;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    if call.version() < VERSION_MIN {
        return legacy::refuse(&call);
    }
    let request: ProduceRequest = call.decode()?;
    let outline: Outline = request
        .topic_data
        .iter()
        .map(|topic| (topic.name.clone(), topic.topic_id, topic.partition_data.iter().map(|data| data.index).collect()))
        .collect();
    let acks = match request.acks {
        0 => Acks::None,
        1 => Acks::Leader,
        -1 => Acks::All,
        _ => return call.answer(&refuse_all(outline, error_map::INVALID_REQUIRED_ACKS)),
    };
    if request.transactional_id.is_some() {
        let refused = BrokerError::Unsupported { what: "A transactional producer" };
        return match acks {
            Acks::None => Err(CallError::RefusedSilently { reason: refused.to_string() }),
            _ => call.answer(&refuse_all(outline, error_map::code(&refused))),
        };
    }
    let wait = call.shared.broker.produce(in_brokers_words(request, acks)).await;
    if acks == Acks::None {
        // Without an answer, a closed connection is how the client learns to ask for metadata again (as on Kafka).
        if let Some(error) = wait.first_refusal() {
            return Err(CallError::RefusedSilently { reason: error.to_string() });
        }
        let end = async move {
            let _results = wait.wait().await;
        };
        return Ok(Handling::Silent(end.boxed()));
    }
    let version = call.version();
    Ok(call.answer_later(async move { response(outline, wait.wait().await, version) }))
}

fn in_brokers_words(request: ProduceRequest, acks: Acks) -> rustmq_broker_service::ProduceRequest {
    let timeout = words::milliseconds(request.timeout_ms);
    let partitions = request.topic_data.into_iter().flat_map(|topic| {
        let of = words::topic_ref(topic.name.as_str(), words::topic_id(topic.topic_id));
        topic.partition_data.into_iter().map(move |data| ProducePartition {
            topic: of.clone(),
            partition: PartitionId(data.index),
            records: data.records.unwrap_or_default(),
        })
    });
    rustmq_broker_service::ProduceRequest { acks, timeout, partitions: partitions.collect() }
}

fn response(outline: Outline, results: Vec<Result<Produced, BrokerError>>, version: i16) -> ProduceResponse {
    let mut results = results.into_iter();
    fill(outline, |index| match results.next() {
        Some(Ok(produced)) => PartitionProduceResponse::default()
            .with_index(index)
            .with_base_offset(produced.base_offset.0)
            .with_log_append_time_ms(produced.log_append_time.0)
            .with_log_start_offset(produced.log_start.0),
        Some(Err(error)) => failed(index, &error, version),
        None => refused(index, error_map::UNKNOWN_TOPIC_OR_PARTITION),
    })
}

fn refuse_all(outline: Outline, code: i16) -> ProduceResponse {
    fill(outline, |index| refused(index, code))
}

fn fill(outline: Outline, mut partition: impl FnMut(i32) -> PartitionProduceResponse) -> ProduceResponse {
    let responses = outline.into_iter().map(|(name, id, indexes)| {
        TopicProduceResponse::default()
            .with_name(name)
            .with_topic_id(id)
            .with_partition_responses(indexes.into_iter().map(&mut partition).collect())
    });
    ProduceResponse::default().with_responses(responses.collect())
}

fn refused(index: i32, code: i16) -> PartitionProduceResponse {
    PartitionProduceResponse::default()
        .with_index(index)
        .with_error_code(code)
        .with_base_offset(-1)
        .with_log_append_time_ms(-1)
        .with_log_start_offset(-1)
}

fn failed(index: i32, error: &BrokerError, version: i16) -> PartitionProduceResponse {
    let partition = refused(index, error_map::code(error));
    if version < 8 {
        return partition;
    }
    let faults: &[RecordFault] = match error {
        BrokerError::InvalidRecord { records, .. } | BrokerError::InvalidTimestamp { records, .. } => records,
        _ => &[],
    };
    let record_errors = faults.iter().map(|fault| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(fault.index)
            .with_batch_index_error_message(Some(words::text(fault.reason.as_str())))
    });
    partition.with_record_errors(record_errors.collect()).with_error_message(error_map::message(error))
}
