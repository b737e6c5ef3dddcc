//! Produce: hands batches to the broker in the order of arrival. The response waits for their
//! acknowledgement, while the connection continues with later requests.

use futures_util::FutureExt;
use rustmq_broker_service::{Acks, Produce, ProduceError, ProducePartition, ProduceTransaction, ProduceWait, Produced};
use rustmq_kafka_codec_messages::produce_request::{PartitionProduceData, TopicProduceData};
use rustmq_kafka_codec_messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use rustmq_kafka_codec_messages::{ApiKey, ProduceRequest, ProduceResponse};
use rustmq_model::PartitionId;
use rustmq_model::batch::{BatchHeader, Codec};
use rustmq_model::{TransactionVersion, TransactionalId};
use uuid::Uuid;

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// The first version for batches with magic 2. Older versions are advertised, because librdkafka
/// infers from the least version which compression the broker supports (KAFKA-18659). They are not
/// served: as in Kafka, they end the connection.
const VERSION_MIN: i16 = 3;
/// The first version whose batches may be compressed with zstd (KIP-110).
const ZSTD_FROM: i16 = 7;
/// The first version whose clients leave it to the broker to add partitions to their transactions
/// (KIP-890).
const ADDS_PARTITIONS_FROM: i16 = 12;

/// The topics of a request and their partitions, in the order that the response repeats.
type Outline = Vec<(String, Uuid, Vec<Place>)>;

/// One partition of a request.
struct Place {
    index: i32,
    /// The code, if the gateway refuses the batch before the broker sees it.
    refusal: Option<i16>,
}

pub async fn handle(mut call: Call, body: RequestBody) -> Result<Handling, CallError> {
    if call.version() < VERSION_MIN {
        return Err(call.unsupported());
    }
    let request: ProduceRequest = call.decode(body)?;
    let version = call.version();
    let (outline, partitions) = split(request.topic_data, version);
    let acks = match request.acks {
        0 => Acks::None,
        1 => Acks::Leader,
        -1 => Acks::All,
        _ => return call.answer(&refuse_all(outline, error_map::INVALID_REQUIRED_ACKS)),
    };
    let transaction = match request.transactional_id.as_deref().map(TransactionalId::new).transpose() {
        Ok(id) => id.map(|id| ProduceTransaction { id, version: transaction_version(version) }),
        Err(error) => {
            return match acks {
                Acks::None => Err(CallError::RefusedSilently { reason: error.to_string() }),
                _ => call.answer(&refuse_all(outline, error_map::code(&error))),
            };
        }
    };
    call.session.set_timeout(words::milliseconds(request.timeout_ms));
    let wait = call.session.produce(Produce { acks, transaction, partitions }).await;
    if acks == Acks::None {
        return unanswered(&outline, wait);
    }
    Ok(call.answer_later(async move { response(outline, wait.wait().await, version) }))
}

/// The protocol of transactions that clients of a version speak.
const fn transaction_version(version: i16) -> TransactionVersion {
    if version >= ADDS_PARTITIONS_FROM { TransactionVersion::V2 } else { TransactionVersion::V0 }
}

/// Without a response, only a closed connection tells the client of an error, and makes it refresh
/// its metadata, as in Kafka. The connection closes at once if a batch is refused before it reaches
/// the engine, and otherwise when the engine refuses or loses it.
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

/// The outline of a request, and the partitions to hand to the broker.
fn split(topics: Vec<TopicProduceData>, version: i16) -> (Outline, Vec<ProducePartition>) {
    let mut outline = Outline::with_capacity(topics.len());
    let mut accepted = Vec::new();
    for TopicProduceData { name, topic_id, partition_data } in topics {
        let topic = words::topic_ref(&name, words::topic_id(topic_id));
        let mut places = Vec::with_capacity(partition_data.len());
        for data in partition_data {
            let refusal = refusal(&data, version);
            places.push(Place { index: data.index, refusal });
            if refusal.is_none() {
                accepted.push(ProducePartition {
                    topic: topic.clone(),
                    partition: PartitionId(data.index),
                    records: data.records.unwrap_or_default(),
                });
            }
        }
        outline.push((name, topic_id, places));
    }
    (outline, accepted)
}

/// Refuses zstd in a version whose clients cannot read it.
fn refusal(data: &PartitionProduceData, version: i16) -> Option<i16> {
    if version >= ZSTD_FROM {
        return None;
    }
    let header = BatchHeader::parse(data.records.as_deref()?).ok()?;
    (header.attributes.codec() == Some(Codec::Zstd)).then_some(error_map::UNSUPPORTED_COMPRESSION_TYPE)
}

fn response(outline: Outline, results: Vec<Result<Produced, ProduceError>>, version: i16) -> ProduceResponse {
    let mut results = results.into_iter();
    fill(outline, |Place { index, refusal }| {
        if let Some(code) = refusal {
            return refused(index, code);
        }
        match results.next().expect("each partition that was accepted has a result") {
            Ok(produced) => PartitionProduceResponse {
                index,
                base_offset: produced.base_offset.0,
                log_append_time_ms: produced.log_append_time.0,
                log_start_offset: produced.log_start.0,
                ..PartitionProduceResponse::default()
            },
            Err(error) => failed(index, &error, version),
        }
    })
}

fn refuse_all(outline: Outline, code: i16) -> ProduceResponse {
    fill(outline, |place| refused(place.index, code))
}

fn fill(outline: Outline, mut partition: impl FnMut(Place) -> PartitionProduceResponse) -> ProduceResponse {
    let responses = outline.into_iter().map(|(name, topic_id, places)| TopicProduceResponse {
        name,
        topic_id,
        partition_responses: places.into_iter().map(&mut partition).collect(),
    });
    ProduceResponse { responses: responses.collect(), ..ProduceResponse::default() }
}

fn refused(index: i32, error_code: i16) -> PartitionProduceResponse {
    PartitionProduceResponse {
        index,
        error_code,
        base_offset: words::NO_OFFSET,
        log_append_time_ms: words::NO_TIMESTAMP,
        log_start_offset: words::NO_OFFSET,
        ..PartitionProduceResponse::default()
    }
}

fn failed(index: i32, error: &ProduceError, version: i16) -> PartitionProduceResponse {
    let record_errors = error.record_faults().iter().map(|fault| BatchIndexAndErrorMessage {
        batch_index: fault.index,
        batch_index_error_message: Some(fault.reason.to_string()),
    });
    PartitionProduceResponse {
        record_errors: record_errors.collect(),
        error_message: error_map::message(error),
        ..refused(index, error_map::code_in(ApiKey::Produce, version, error))
    }
}
