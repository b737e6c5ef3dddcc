//! WriteTxnMarkers: ends transactions in partitions that this broker leads. It comes from
//! transaction coordinators on other brokers, and from operators (`kafka-transactions --abort`).
//! From version 2 on a marker states its transaction version (KIP-1228).

use std::collections::BTreeMap;

use rustmq_broker_service::Session;
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
/// The largest number of partitions that a marker is written in at a time.
const PIECE: usize = 256;

/// The codes of a marker, by topic and partition.
type Codes = BTreeMap<String, BTreeMap<i32, i16>>;

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
    let version = TransactionVersion::from_number(i16::from(stated)).filter(|_| is_producer);
    let unwritten = if version.is_some() { error_map::UNKNOWN_TOPIC_OR_PARTITION } else { error_map::INVALID_REQUEST };
    let mut codes = Codes::new();
    for WritableTxnMarkerTopic { name, partition_indexes } in &topics {
        let of_topic = codes.entry(name.clone()).or_default();
        of_topic.extend(partition_indexes.iter().map(|index| (*index, unwritten)));
    }
    if let Some(version) = version {
        let end = if transaction_result { TransactionEnd::Commit } else { TransactionEnd::Abort };
        let marker = TransactionMarker { producer, end, coordinator_epoch: marker.coordinator_epoch, version };
        write_in_pieces(session, marker, &mut codes).await;
    }
    let topics = topics.into_iter().map(|WritableTxnMarkerTopic { name, partition_indexes }| {
        let of_topic = &codes[&name];
        let partitions = partition_indexes.into_iter().map(|partition_index| {
            let error_code = of_topic[&partition_index];
            WritableTxnMarkerPartitionResult { partition_index, error_code }
        });
        let partitions = partitions.collect();
        WritableTxnMarkerTopicResult { name, partitions }
    });
    WritableTxnMarkerResult { producer_id, topics: topics.collect() }
}

/// Writes the marker once in each partition, however often the request names it, and a bounded
/// number of partitions at a time. No topic has an illegal name.
async fn write_in_pieces(session: &Session, marker: TransactionMarker, codes: &mut Codes) {
    let mut piece = Vec::new();
    for (topic, of_topic) in codes {
        let Ok(topic) = TopicName::new(topic) else { continue };
        for (index, code) in of_topic {
            piece.push((TopicPartition { topic: topic.clone(), partition: PartitionId(*index) }, code));
            if piece.len() == PIECE {
                write_piece(session, marker, std::mem::take(&mut piece)).await;
            }
        }
    }
    write_piece(session, marker, piece).await;
}

async fn write_piece(session: &Session, marker: TransactionMarker, piece: Vec<(TopicPartition, &mut i16)>) {
    let (partitions, codes): (Vec<_>, Vec<_>) = piece.into_iter().unzip();
    let results = session.write_markers(marker, &partitions).await;
    for (code, result) in codes.into_iter().zip(results) {
        *code = error_map::outcome(&result);
    }
}
