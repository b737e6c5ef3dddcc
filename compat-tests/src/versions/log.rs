//! Requests about a partition's log, except Fetch: Produce, ListOffsets, OffsetForLeaderEpoch,
//! DeleteRecords.

use super::batch::{FIRST_TIMESTAMP, batch, called_zstd};
use super::old_produce;
use super::session::{Session, Topic, topic_name};
use bytes::Bytes;
use kafka_protocol::messages::{
    ApiKey, BrokerId, DeleteRecordsRequest, ListOffsetsRequest, OffsetForLeaderEpochRequest, ProduceRequest,
    RequestKind, ResponseKind, delete_records_request, list_offsets_request, list_offsets_response,
    offset_for_leader_epoch_request, produce_request as produced, produce_response,
};
use uuid::Uuid;

const OFFSET_OUT_OF_RANGE: i16 = 1;
const CORRUPT_MESSAGE: i16 = 2;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const INVALID_REQUIRED_ACKS: i16 = 21;
const UNSUPPORTED_VERSION: i16 = 35;
const INVALID_REQUEST: i16 = 42;
const UNKNOWN_LEADER_EPOCH: i16 = 75;
const UNSUPPORTED_COMPRESSION_TYPE: i16 = 76;
const UNKNOWN_TOPIC_ID: i16 = 100;
/// The first version that names topics by id.
const TOPIC_IDS_FROM: i16 = 13;
/// The first version of Produce that allows batches compressed with zstd.
const ZSTD_FROM: i16 = 7;

/// Produces one partition's records.
pub fn produce_request(version: i16, topic: &Topic, partition: i32, acks: i16, records: Bytes) -> ProduceRequest {
    let data = produced::PartitionProduceData::default().with_index(partition).with_records(Some(records));
    let wanted = produced::TopicProduceData::default().with_partition_data(vec![data]);
    let wanted =
        if version >= TOPIC_IDS_FROM { wanted.with_topic_id(topic.id) } else { wanted.with_name(topic.name.clone()) };
    ProduceRequest::default().with_acks(acks).with_timeout_ms(30_000).with_topic_data(vec![wanted])
}

fn ask_produce(
    session: &mut Session,
    version: i16,
    request: ProduceRequest,
) -> produce_response::PartitionProduceResponse {
    let answer = ask!(session, Produce, version, request);
    assert_eq!((answer.responses.len(), answer.throttle_time_ms), (1, 0), "Produce v{version}");
    answer.responses[0].partition_responses[0].clone()
}

/// Stores `count` records in the newest version. Returns their first offset.
pub fn store(session: &mut Session, topic: &Topic, count: i32) -> i64 {
    let version = session.newest(ApiKey::Produce);
    let answer = ask_produce(session, version, produce_request(version, topic, 0, -1, batch(count)));
    assert_eq!(answer.error_code, 0, "{:?}", answer.error_message);
    answer.base_offset
}

pub fn produce(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    if version < ApiKey::Produce.valid_versions().min {
        return old_produce::is_refused(session, version, &topic);
    }
    for (acks, offset) in [(-1, 0), (1, 3)] {
        let answer = ask_produce(session, version, produce_request(version, &topic, 0, acks, batch(3)));
        assert_eq!((answer.error_code, answer.base_offset), (0, offset), "Produce v{version} acks {acks}");
        assert_eq!((answer.index, answer.log_append_time_ms), (0, -1), "Produce v{version} acks {acks}");
        assert!(answer.record_errors.is_empty() && answer.error_message.is_none(), "Produce v{version}");
        if version >= 5 {
            assert_eq!(answer.log_start_offset, 0, "Produce v{version}");
        }
    }
    // There is no answer, so the next answer must belong to the next request.
    let request = RequestKind::Produce(produce_request(version, &topic, 0, 0, batch(2)));
    session.send_silently(ApiKey::Produce, version, &request);
    let answer = ask_produce(session, version, produce_request(version, &topic, 0, -1, batch(1)));
    assert_eq!((answer.error_code, answer.base_offset), (0, 8), "Produce v{version} after acks 0");
    let mut corrupt = batch(1).to_vec();
    let last = corrupt.len() - 1;
    corrupt[last] ^= 1;
    let stranger = Topic { name: topic_name("nobody made it"), id: Uuid::from_u128(0xdead) };
    let unknown = if version >= TOPIC_IDS_FROM { UNKNOWN_TOPIC_ID } else { UNKNOWN_TOPIC_OR_PARTITION };
    let mut refused = vec![
        (produce_request(version, &topic, 0, -1, corrupt.into()), CORRUPT_MESSAGE),
        (produce_request(version, &topic, 1, -1, batch(1)), UNKNOWN_TOPIC_OR_PARTITION),
        (produce_request(version, &stranger, 0, -1, batch(1)), unknown),
        (produce_request(version, &topic, 0, 2, batch(1)), INVALID_REQUIRED_ACKS),
    ];
    if version < ZSTD_FROM {
        let zstd = called_zstd(&batch(1));
        refused.push((produce_request(version, &topic, 0, -1, zstd), UNSUPPORTED_COMPRESSION_TYPE));
    }
    for (request, code) in refused {
        let answer = ask_produce(session, version, request);
        assert_eq!((answer.error_code, answer.base_offset), (code, -1), "Produce v{version}");
    }
}

fn ask_offset(
    session: &mut Session,
    version: i16,
    topic: &Topic,
    partition: list_offsets_request::ListOffsetsPartition,
) -> list_offsets_response::ListOffsetsPartitionResponse {
    let wanted = list_offsets_request::ListOffsetsTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]);
    ask!(session, ListOffsets, version, request).topics[0].partitions[0].clone()
}

pub fn list_offsets(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    store(session, &topic, 4);
    let place = |at| list_offsets_request::ListOffsetsPartition::default().with_timestamp(at);
    // The requested place, the first version that allows it, the offset and the timestamp.
    let never = i16::MAX;
    let places = [
        (-1, 1, 4, -1),
        (-2, 1, 0, -1),
        (-3, 7, 3, FIRST_TIMESTAMP + 3),
        (-4, 8, 0, -1),
        (-5, 9, -1, -1),
        (-6, 11, -1, -1),
        (-7, never, -1, -1),
        (FIRST_TIMESTAMP - 1, 1, 0, FIRST_TIMESTAMP),
        (FIRST_TIMESTAMP + 2, 1, 2, FIRST_TIMESTAMP + 2),
        (FIRST_TIMESTAMP + 4, 1, -1, -1),
    ];
    for (at, from, offset, timestamp) in places {
        let answer = ask_offset(session, version, &topic, place(at));
        let expected = if version >= from { (0, offset, timestamp) } else { (UNSUPPORTED_VERSION, -1, -1) };
        let found = (answer.error_code, answer.offset, answer.timestamp);
        assert_eq!(found, expected, "ListOffsets v{version} at {at}");
        if version >= 4 {
            let epoch = if expected.1 == -1 { -1 } else { 0 };
            assert_eq!(answer.leader_epoch, epoch, "ListOffsets v{version} at {at}");
        }
    }
    let answer = ask_offset(session, version, &topic, place(-1).with_partition_index(1));
    assert_eq!((answer.error_code, answer.offset), (UNKNOWN_TOPIC_OR_PARTITION, -1), "ListOffsets v{version}");
    if version >= 4 {
        let answer = ask_offset(session, version, &topic, place(-1).with_current_leader_epoch(9));
        assert_eq!((answer.error_code, answer.offset), (UNKNOWN_LEADER_EPOCH, -1), "ListOffsets v{version}");
    }
    let twice = list_offsets_request::ListOffsetsTopic::default()
        .with_name(topic.name.clone())
        .with_partitions(vec![place(-1), place(-2)]);
    let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![twice]);
    let answer = ask!(session, ListOffsets, version, request);
    let codes: Vec<_> = answer.topics[0].partitions.iter().map(|partition| partition.error_code).collect();
    assert_eq!(codes, [INVALID_REQUEST], "ListOffsets v{version} of one partition twice");
}

pub fn offset_for_leader_epoch(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    store(session, &topic, 3);
    let wanted = offset_for_leader_epoch_request::OffsetForLeaderPartition::default();
    let cases = [
        (wanted.clone().with_leader_epoch(0), (0, 0, 3)),
        (wanted.clone().with_leader_epoch(7), (0, -1, -1)),
        // A reader without records must not get an end of 0: it would truncate its log.
        (wanted.clone().with_leader_epoch(-1), (0, -1, -1)),
        (wanted.clone().with_leader_epoch(0).with_current_leader_epoch(9), (UNKNOWN_LEADER_EPOCH, -1, -1)),
        (wanted.with_leader_epoch(0).with_partition(1), (UNKNOWN_TOPIC_OR_PARTITION, -1, -1)),
    ];
    for (partition, expected) in cases {
        let wanted = offset_for_leader_epoch_request::OffsetForLeaderTopic::default()
            .with_topic(topic.name.clone())
            .with_partitions(vec![partition]);
        let request = OffsetForLeaderEpochRequest::default().with_replica_id(BrokerId(-1)).with_topics(vec![wanted]);
        let answer = ask!(session, OffsetForLeaderEpoch, version, request);
        let found = &answer.topics[0].partitions[0];
        let found = (found.error_code, found.leader_epoch, found.end_offset);
        assert_eq!(found, expected, "OffsetForLeaderEpoch v{version}");
    }
}

pub fn delete_records(session: &mut Session, version: i16) {
    let topic = session.topic(1);
    store(session, &topic, 5);
    let cases =
        [(0, 2, (0, 2)), (0, -1, (0, 5)), (0, 6, (OFFSET_OUT_OF_RANGE, -1)), (1, 0, (UNKNOWN_TOPIC_OR_PARTITION, -1))];
    for (partition, offset, expected) in cases {
        let wanted = delete_records_request::DeleteRecordsPartition::default()
            .with_partition_index(partition)
            .with_offset(offset);
        let wanted = delete_records_request::DeleteRecordsTopic::default()
            .with_name(topic.name.clone())
            .with_partitions(vec![wanted]);
        let request = DeleteRecordsRequest::default().with_topics(vec![wanted]).with_timeout_ms(30_000);
        let answer = ask!(session, DeleteRecords, version, request);
        let found = &answer.topics[0].partitions[0];
        assert_eq!((found.error_code, found.low_watermark), expected, "DeleteRecords v{version} before {offset}");
    }
}
