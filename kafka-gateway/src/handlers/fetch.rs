//! Fetch: a long poll for the partitions of a session, or of the request itself. The response
//! refers to the engine's memory.

use futures_util::FutureExt;
use rustmq_broker_service::{
    Fetch, FetchError, FetchPartition, FetchedPartition, Isolation, LocateError, UnknownTopic,
};
use rustmq_kafka_codec_messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchableTopicResponse, PartitionData,
};
use rustmq_kafka_codec_messages::{FetchRequest, FetchResponse};
use rustmq_model::{Offset, PartitionId};
use tokio::time::Instant;

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::fetch_sessions::{
    FINAL_EPOCH, FetchContext, NO_SESSION_ID, PartitionKey, SessionError, SessionRequest, TopicKey, Wanted,
};
use crate::words;

/// The first version with sessions.
const SESSIONS_FROM: i16 = 7;
/// The first version in which a reader names the epoch of its last record, and the response tells
/// it where its log diverges (KIP-595).
const LAST_FETCHED_EPOCH_FROM: i16 = 12;
/// The first version that names topics by their ids.
const TOPIC_IDS_FROM: i16 = 13;

/// Limits and isolation of one fetch.
struct FetchLimits {
    min_bytes: usize,
    max_bytes: usize,
    max_wait: std::time::Duration,
    isolation: Isolation,
}

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: FetchRequest = call.decode(body)?;
    let limits = FetchLimits {
        min_bytes: usize::try_from(request.min_bytes).unwrap_or(0),
        max_bytes: usize::try_from(request.max_bytes).unwrap_or(0),
        max_wait: words::milliseconds(request.max_wait_ms),
        isolation: words::isolation(request.isolation_level),
    };
    let sessions = &call.shared.fetch_sessions;
    let name_of = |id| call.session.topic_name(id);
    let context = match sessions.begin(session_request(&request, call.version()), Instant::now(), name_of) {
        Ok(context) => context,
        Err(error) => {
            return call.answer(&FetchResponse { error_code: session_code(error), ..FetchResponse::default() });
        }
    };
    Ok(Handling::Waiting(
        async move {
            let response = fetch(&call, context, limits).await;
            Ok(call.response(&response)?.pinning())
        }
        .boxed(),
    ))
}

const fn session_code(error: SessionError) -> i16 {
    match error {
        SessionError::UnknownId => error_map::FETCH_SESSION_ID_NOT_FOUND,
        SessionError::WrongEpoch => error_map::INVALID_FETCH_SESSION_EPOCH,
        SessionError::TopicIds => error_map::FETCH_SESSION_TOPIC_ID_ERROR,
    }
}

fn session_request(request: &FetchRequest, version: i16) -> SessionRequest {
    let key = |name: &str, id| TopicKey { name: words::topic_name(name), id: words::topic_id(id) };
    let wanted = request.topics.iter().flat_map(|topic| {
        let topic_key = key(&topic.topic, topic.topic_id);
        topic.partitions.iter().map(move |partition| Wanted {
            key: (topic_key.clone(), partition.partition),
            topic_name: None,
            from: Offset(partition.fetch_offset),
            bytes_max: usize::try_from(partition.partition_max_bytes).unwrap_or(0),
            current_leader_epoch: words::leader_epoch(partition.current_leader_epoch),
            last_fetched_epoch: words::leader_epoch(partition.last_fetched_epoch),
        })
    });
    let forgotten = request.forgotten_topics_data.iter().flat_map(|topic| {
        let topic_key = key(&topic.topic, topic.topic_id);
        topic.partitions.iter().map(move |partition| (topic_key.clone(), *partition))
    });
    let has_session = version >= SESSIONS_FROM;
    let (id, epoch) =
        if has_session { (request.session_id, request.session_epoch) } else { (NO_SESSION_ID, FINAL_EPOCH) };
    SessionRequest {
        id,
        epoch,
        wanted: wanted.collect(),
        forgotten: forgotten.collect(),
        names_by_id: version >= TOPIC_IDS_FROM,
    }
}

async fn fetch(call: &Call, context: FetchContext, limits: FetchLimits) -> FetchResponse {
    let partitions = context.wanted.iter().map(|wanted| {
        let (topic, partition) = &wanted.key;
        FetchPartition {
            topic: words::topic_ref(&topic.name, topic.id),
            partition: PartitionId(*partition),
            from: wanted.from,
            max_bytes: wanted.bytes_max,
            current_leader_epoch: wanted.current_leader_epoch,
            // A session may continue in an older version, whose response has no diverging epoch.
            last_fetched_epoch: wanted.last_fetched_epoch.filter(|_| call.version() >= LAST_FETCHED_EPOCH_FROM),
        }
    });
    let FetchLimits { min_bytes, max_bytes, max_wait, isolation } = limits;
    let partitions = partitions.collect();
    let results = call.session.fetch(Fetch { min_bytes, max_bytes, max_wait, isolation, partitions }).await;
    let answers = words::paired(context.wanted, results).map(|(wanted, result)| {
        let answer = match result {
            Ok(fetched) => partition_answer(wanted.key.1, fetched, isolation),
            Err(error) => failed(wanted.key.1, failure_code(call, &wanted, &error)),
        };
        (wanted.key, answer)
    });
    let mut answers: Vec<(PartitionKey, PartitionData)> = answers.collect();
    call.shared.fetch_sessions.finish(context.session, &mut answers);
    FetchResponse { session_id: context.session.id(), responses: by_topic(answers), ..FetchResponse::default() }
}

/// The code of a failed partition. An id that the session has known is that of a deleted topic: the
/// code says whether another topic has its name by now.
fn failure_code(call: &Call, wanted: &Wanted, error: &FetchError) -> i16 {
    match (error, &wanted.topic_name) {
        (FetchError::Locate(LocateError::UnknownTopic(UnknownTopic::Id(_))), Some(name)) => {
            let is_replaced = call.session.topic_id(name.as_str()).is_some();
            if is_replaced { error_map::INCONSISTENT_TOPIC_ID } else { error_map::UNKNOWN_TOPIC_OR_PARTITION }
        }
        _ => error_map::code(error),
    }
}

fn failed(partition_index: i32, error_code: i16) -> PartitionData {
    PartitionData {
        partition_index,
        error_code,
        high_watermark: words::NO_OFFSET,
        aborted_transactions: None,
        records: Some(Vec::new()),
        ..PartitionData::default()
    }
}

fn partition_answer(partition_index: i32, fetched: FetchedPartition, isolation: Isolation) -> PartitionData {
    let aborted = fetched
        .aborted
        .iter()
        .map(|aborted| AbortedTransaction { producer_id: aborted.producer_id.0, first_offset: aborted.first_offset.0 });
    let diverging = fetched.diverging.map(|end| EpochEndOffset { epoch: end.epoch.0, end_offset: end.end_offset.0 });
    PartitionData {
        partition_index,
        error_code: error_map::NONE,
        high_watermark: fetched.frontiers.high_watermark.0,
        last_stable_offset: fetched.frontiers.last_stable.0,
        log_start_offset: fetched.frontiers.log_start.0,
        aborted_transactions: (isolation == Isolation::ReadCommitted).then(|| aborted.collect()),
        diverging_epoch: diverging.unwrap_or_default(),
        records: Some(fetched.batches),
        ..PartitionData::default()
    }
}

/// Successive partitions of one topic share its entry.
fn by_topic(answers: Vec<(PartitionKey, PartitionData)>) -> Vec<FetchableTopicResponse> {
    let mut topics: Vec<FetchableTopicResponse> = Vec::new();
    for ((TopicKey { name: topic, id }, _), answer) in answers {
        let topic_id = words::uuid(id);
        match topics.last_mut() {
            Some(last) if last.topic == topic && last.topic_id == topic_id => last.partitions.push(answer),
            _ => topics.push(FetchableTopicResponse { topic, topic_id, partitions: vec![answer] }),
        }
    }
    topics
}
