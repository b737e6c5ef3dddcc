//! Produce: batches go to the broker in the order of arrival; the answer waits for their
//! acknowledgement beside what comes next.

use futures_util::FutureExt;
use kafka_protocol::messages::produce_request::PartitionProduceData;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, ProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ProduceRequest, TopicName};
use rustmq_broker_service::{Acks, ProduceError, ProducePartition, ProduceWait, Produced};
use rustmq_model::PartitionId;
use rustmq_model::batch::{BatchHeader, Codec};
use uuid::Uuid;

use crate::call::{Call, CallError, Handling};
use crate::error_map::{self, Unsupported};
use crate::words;

/// The first version of batches with magic 2. Older ones are advertised, since librdkafka reads the
/// least version as a sign of what compression the broker takes (KAFKA-18659), and are not served:
/// as on Kafka, they end the connection.
const VERSION_MIN: i16 = 3;
/// The first version whose batches may be compressed with zstd (KIP-110).
const ZSTD_FROM: i16 = 7;

/// The topics of a request and their partitions, to put the answers back in place.
type Outline = Vec<(TopicName, Uuid, Vec<Place>)>;

/// One partition of a request.
struct Place {
    index: i32,
    /// Why its batch is not for the broker to judge.
    refusal: Option<i16>,
}

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    if call.version() < VERSION_MIN {
        return Err(call.unsupported());
    }
    let request: ProduceRequest = call.decode()?;
    let version = call.version();
    let outline = outline(&request, version);
    let acks = match request.acks {
        0 => Acks::None,
        1 => Acks::Leader,
        -1 => Acks::All,
        _ => return call.answer(&refuse_all(outline, error_map::INVALID_REQUIRED_ACKS)),
    };
    if request.transactional_id.is_some() {
        let refused = Unsupported { what: "A transactional producer" };
        return match acks {
            Acks::None => Err(CallError::RefusedSilently { reason: refused.to_string() }),
            _ => call.answer(&refuse_all(outline, error_map::code(&refused))),
        };
    }
    let wait = call.shared.broker.produce(in_brokers_words(request, acks, version)).await;
    if acks == Acks::None {
        return unanswered(&outline, wait);
    }
    Ok(call.answer_later(async move { response(outline, wait.wait().await, version) }))
}

/// Without an answer, a closed connection is how the client learns that something is wrong and asks
/// for metadata again (as on Kafka): at once if a batch is refused before it is handed over, else
/// when the engine has refused or lost it.
fn unanswered(outline: &Outline, wait: ProduceWait) -> Result<Handling, CallError> {
    let refused = |error: &ProduceError| CallError::RefusedSilently { reason: error.to_string() };
    if outline.iter().flat_map(|(_, _, places)| places).any(|place| place.refusal.is_some()) {
        return Err(CallError::RefusedSilently { reason: "it is compressed with zstd before version 7".to_owned() });
    }
    if let Some(error) = wait.first_refusal() {
        return Err(refused(error));
    }
    let end = async move {
        wait.wait().await.iter().find_map(|result| result.as_ref().err()).map_or(Ok(()), |error| Err(refused(error)))
    };
    Ok(Handling::Silent(end.boxed()))
}

fn outline(request: &ProduceRequest, version: i16) -> Outline {
    let topics = request.topic_data.iter().map(|topic| {
        let places = topic.partition_data.iter();
        let places = places.map(|data| Place { index: data.index, refusal: refusal(data, version) });
        (topic.name.clone(), topic.topic_id, places.collect())
    });
    topics.collect()
}

/// A version must not carry what those who speak it cannot read.
fn refusal(data: &PartitionProduceData, version: i16) -> Option<i16> {
    if version >= ZSTD_FROM {
        return None;
    }
    let header = BatchHeader::parse(data.records.as_deref()?).ok()?;
    (header.attributes.codec() == Some(Codec::Zstd)).then_some(error_map::UNSUPPORTED_COMPRESSION_TYPE)
}

fn in_brokers_words(request: ProduceRequest, acks: Acks, version: i16) -> rustmq_broker_service::ProduceRequest {
    let timeout = words::milliseconds(request.timeout_ms);
    let partitions = request.topic_data.into_iter().flat_map(|topic| {
        let of = words::topic_ref(topic.name.as_str(), words::topic_id(topic.topic_id));
        let accepted = topic.partition_data.into_iter().filter(move |data| refusal(data, version).is_none());
        accepted.map(move |data| ProducePartition {
            topic: of.clone(),
            partition: PartitionId(data.index),
            records: data.records.unwrap_or_default(),
        })
    });
    rustmq_broker_service::ProduceRequest { acks, timeout, partitions: partitions.collect() }
}

fn response(outline: Outline, results: Vec<Result<Produced, ProduceError>>, version: i16) -> ProduceResponse {
    let mut results = results.into_iter();
    fill(outline, |Place { index, refusal }| {
        if let Some(code) = refusal {
            return refused(index, code);
        }
        match results.next() {
            Some(Ok(produced)) => PartitionProduceResponse::default()
                .with_index(index)
                .with_base_offset(produced.base_offset.0)
                .with_log_append_time_ms(produced.log_append_time.0)
                .with_log_start_offset(produced.log_start.0),
            Some(Err(error)) => failed(index, &error, version),
            None => refused(index, error_map::UNKNOWN_TOPIC_OR_PARTITION),
        }
    })
}

fn refuse_all(outline: Outline, code: i16) -> ProduceResponse {
    fill(outline, |place| refused(place.index, code))
}

fn fill(outline: Outline, mut partition: impl FnMut(Place) -> PartitionProduceResponse) -> ProduceResponse {
    let responses = outline.into_iter().map(|(name, id, places)| {
        TopicProduceResponse::default()
            .with_name(name)
            .with_topic_id(id)
            .with_partition_responses(places.into_iter().map(&mut partition).collect())
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

fn failed(index: i32, error: &ProduceError, version: i16) -> PartitionProduceResponse {
    let partition = refused(index, error_map::code(error));
    if version < 8 {
        return partition;
    }
    let record_errors = error.record_faults().iter().map(|fault| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(fault.index)
            .with_batch_index_error_message(Some(words::text(fault.reason.to_string())))
    });
    partition.with_record_errors(record_errors.collect()).with_error_message(error_map::message(error))
}
