#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use kafka_protocol::messages::fetch_response::{
    AbortedTransaction, EpochEndOffset, FetchResponse, FetchableTopicResponse, LeaderIdAndEpoch, NodeEndpoint,
    PartitionData,
};
use kafka_protocol::protocol::StrBytes;
use rustmq_model::{LeaderEpoch, TopicId};

use super::{CurrentLeader, FetchAnswer, Node, PartitionAnswer, TopicAnswer, encode};
use crate::response::Response;

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn generated(version: i16, answer: &FetchAnswer) -> Vec<u8> {
    let partition = |ours: &PartitionAnswer| {
        let leader = ours.current_leader.filter(|_| version >= 12).map_or_else(LeaderIdAndEpoch::default, |leader| {
            LeaderIdAndEpoch::default().with_leader_id(leader.broker.into()).with_leader_epoch(leader.epoch.0)
        });
        let diverging =
            ours.diverging.filter(|_| version >= 12).map_or_else(EpochEndOffset::default, |(epoch, end)| {
                EpochEndOffset::default().with_epoch(epoch.0).with_end_offset(end)
            });
        let aborted = |(producer, offset): &(i64, i64)| {
            AbortedTransaction::default().with_producer_id((*producer).into()).with_first_offset(*offset)
        };
        PartitionData::default()
            .with_partition_index(ours.partition)
            .with_error_code(ours.error_code)
            .with_high_watermark(ours.high_watermark)
            .with_last_stable_offset(ours.last_stable_offset)
            .with_log_start_offset(ours.log_start_offset)
            .with_aborted_transactions(ours.aborted.as_ref().map(|list| list.iter().map(aborted).collect()))
            .with_current_leader(leader)
            .with_diverging_epoch(diverging)
            .with_preferred_read_replica((-1).into())
            .with_records(Some(Bytes::from(ours.records.concat())))
    };
    let topics = answer.topics.iter().map(|topic| {
        FetchableTopicResponse::default()
            .with_topic(if version < 13 { text(&topic.name).into() } else { text("").into() })
            .with_topic_id(uuid::Uuid::from_u128(if version < 13 { 0 } else { topic.id.0 }))
            .with_partitions(topic.partitions.iter().map(partition).collect())
    });
    let nodes = answer.nodes.iter().filter(|_| version >= 16).map(|node| {
        NodeEndpoint::default()
            .with_node_id(node.broker.into())
            .with_host(text(&node.host))
            .with_port(node.port)
            .with_rack(None)
    });
    let (error_code, session_id) = if version >= 7 { (answer.error_code, answer.session_id) } else { (0, 0) };
    let message = FetchResponse::default()
        .with_error_code(error_code)
        .with_session_id(session_id)
        .with_responses(topics.collect())
        .with_node_endpoints(nodes.collect());
    Response::encode(77, version, &message).unwrap().to_bytes()
}

fn full_answer() -> FetchAnswer {
    let partition = |partition: i32, records: Vec<Bytes>| PartitionAnswer {
        partition,
        error_code: 0,
        high_watermark: 100,
        last_stable_offset: 90,
        log_start_offset: 3,
        aborted: Some(vec![(5, 10), (6, 20)]),
        diverging: None,
        current_leader: None,
        records,
    };
    let moved = PartitionAnswer {
        current_leader: Some(CurrentLeader { broker: 4, epoch: LeaderEpoch(9) }),
        diverging: Some((LeaderEpoch(2), 50)),
        ..PartitionAnswer::failed(3, 6)
    };
    let batch = |byte: u8, size: usize| Bytes::from(vec![byte; size]);
    FetchAnswer {
        error_code: 0,
        session_id: 1234,
        topics: vec![
            TopicAnswer {
                name: "orders".to_owned(),
                id: TopicId(0x1234_5678),
                partitions: vec![
                    partition(0, vec![batch(1, 70), batch(2, 20_000)]),
                    partition(1, Vec::new()),
                    PartitionAnswer { aborted: None, ..partition(2, vec![batch(3, 200)]) },
                ],
            },
            TopicAnswer { name: "x".repeat(200), id: TopicId(7), partitions: vec![moved] },
        ],
        nodes: vec![Node { broker: 4, host: "broker-4".to_owned(), port: 9092 }],
    }
}

#[test]
fn every_version_equals_the_generated_encoding() {
    let empty = FetchAnswer { session_id: 5, ..FetchAnswer::default() };
    let failed = FetchAnswer { error_code: 70, ..FetchAnswer::default() };
    for version in 4..=18 {
        for answer in [&full_answer(), &empty, &failed] {
            let ours = encode(77, version, answer).unwrap().to_bytes();
            assert_eq!(ours, generated(version, answer), "version {version}");
        }
    }
}

#[test]
fn records_are_not_copied() {
    let answer = full_answer();
    let response = encode(1, 12, &answer).unwrap();
    let big = &answer.topics[0].partitions[0].records[1];
    assert!(response.segments().iter().any(|segment| segment.as_ptr() == big.as_ptr() && segment.len() == big.len()));
}
