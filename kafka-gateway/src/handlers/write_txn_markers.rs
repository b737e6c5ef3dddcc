//! WriteTxnMarkers: ends transactions in partitions that this broker leads. It comes from
//! transaction coordinators on other brokers, and from operators (`kafka-transactions --abort`).
//! From version 2 on a marker states its transaction version (KIP-1228).

use rustmq_broker_service::{MarkerError, Session};
use rustmq_kafka_codec_messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use rustmq_kafka_codec_messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use rustmq_kafka_codec_messages::{WriteTxnMarkersRequest, WriteTxnMarkersResponse};
use rustmq_model::{PartitionId, ProducerEpoch, ProducerId, TopicName, TopicPartition};
use rustmq_model::{ProducerKey, TransactionEnd, TransactionMarker, TransactionVersion};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

/// The first version with transaction versions.
const VERSIONS_FROM: i16 = 2;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: WriteTxnMarkersRequest = call.decode(body)?;
    let mut markers = Vec::with_capacity(request.markers.len());
    for marker in request.markers {
        markers.push(write(&call.session, marker, call.version()).await);
    }
    call.answer(&WriteTxnMarkersResponse { markers })
}

async fn write(session: &Session, marker: WritableTxnMarker, version: i16) -> WritableTxnMarkerResult {
    let WritableTxnMarker { producer_id, producer_epoch, transaction_result, topics, .. } = marker;
    let stated = if version >= VERSIONS_FROM { marker.transaction_version } else { 0 };
    let producer = ProducerKey { id: ProducerId(producer_id), epoch: ProducerEpoch(producer_epoch) };
    let is_producer = producer_id >= 0 && producer_epoch >= 0;
    let codes = match TransactionVersion::from_number(i16::from(stated)).filter(|_| is_producer) {
        Some(version) => {
            let end = if transaction_result { TransactionEnd::Commit } else { TransactionEnd::Abort };
            let marker = TransactionMarker { producer, end, coordinator_epoch: marker.coordinator_epoch, version };
            codes(session, marker, &topics).await
        }
        None => vec![error_map::INVALID_REQUEST; topics.iter().map(|topic| topic.partition_indexes.len()).sum()],
    };
    let mut codes = codes.into_iter();
    let topics = topics.into_iter().map(|WritableTxnMarkerTopic { name, partition_indexes }| {
        let partitions = partition_indexes
            .into_iter()
            .zip(&mut codes)
            .map(|(partition_index, error_code)| WritableTxnMarkerPartitionResult { partition_index, error_code });
        WritableTxnMarkerTopicResult { name, partitions: partitions.collect() }
    });
    WritableTxnMarkerResult { producer_id, topics: topics.collect() }
}

/// A code for each partition, in the order of the request. No topic has an illegal name.
async fn codes(session: &Session, marker: TransactionMarker, topics: &[WritableTxnMarkerTopic]) -> Vec<i16> {
    let named = topics.iter().flat_map(|topic| {
        let name = TopicName::new(&topic.name).ok();
        topic.partition_indexes.iter().map(move |index| (name.clone(), PartitionId(*index)))
    });
    let named: Vec<Option<TopicPartition>> =
        named.map(|(topic, partition)| Some(TopicPartition { topic: topic?, partition })).collect();
    let legal: Vec<TopicPartition> = named.iter().flatten().cloned().collect();
    let mut results = session.write_markers(marker, &legal).await.into_iter();
    let code = |result: Result<(), MarkerError>| error_map::outcome(&result);
    let codes = named.into_iter().map(|partition| match partition {
        Some(_) => results.next().map_or(error_map::UNKNOWN_TOPIC_OR_PARTITION, code),
        None => error_map::UNKNOWN_TOPIC_OR_PARTITION,
    });
    codes.collect()
}
