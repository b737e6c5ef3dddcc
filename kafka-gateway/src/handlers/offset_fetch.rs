//! OffsetFetch: committed positions, of one group up to version 7, of many from then on.

use std::collections::BTreeSet;

use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use rustmq_broker_service::groups::GroupId;
use rustmq_broker_service::{FetchedOffset, OffsetsWanted, TopicRef};
use rustmq_model::PartitionId;

use crate::api::{Call, CallError};
use crate::connection::Handling;
use crate::error_map;
use crate::words;

const GROUPS_FROM: i16 = 8;
const GROUP_ERROR_FROM: i16 = 2;
const LEADER_EPOCH_FROM: i16 = 5;

/// A topic and the partitions asked for.
type Asked = Vec<(TopicName, Vec<i32>)>;

/// One committed position, or that there is none (-1).
#[derive(Clone)]
struct Position {
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: StrBytes,
    error_code: i16,
}

impl Position {
    fn absent(partition: i32, error_code: i16) -> Self {
        Self { partition, offset: -1, leader_epoch: -1, metadata: StrBytes::default(), error_code }
    }
}

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: OffsetFetchRequest = call.decode()?;
    if call.version() < GROUPS_FROM {
        let asked = request.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
        let response = match fetch(&call, request.group_id.as_str(), asked.as_ref()) {
            Ok(topics) => single(topics, call.version()),
            Err(code) => refused(asked, code, call.version()),
        };
        return call.answer(&response);
    }
    // Each once: a short request must not make an answer without bounds.
    let mut seen = BTreeSet::new();
    let distinct = request.groups.into_iter().filter(|group| seen.insert(group.group_id.clone()));
    let groups = distinct.map(|group| {
        let asked = group.topics.map(|topics| topics.into_iter().map(|t| (t.name, t.partition_indexes)).collect());
        let answer = OffsetFetchResponseGroup::default();
        let answer = match fetch(&call, group.group_id.as_str(), asked.as_ref()) {
            Ok(topics) => answer.with_topics(topics.into_iter().map(batched).collect()),
            Err(code) => answer.with_error_code(code),
        };
        answer.with_group_id(group.group_id)
    });
    let response = OffsetFetchResponse::default().with_groups(groups.collect());
    call.answer(&response)
}

fn fetch(call: &Call, group: &str, asked: Option<&Asked>) -> Result<Vec<(TopicName, Vec<Position>)>, i16> {
    let wanted = match asked {
        None => OffsetsWanted::All,
        Some(asked) => OffsetsWanted::These(
            asked
                .iter()
                .flat_map(|(name, partitions)| {
                    let topic = words::named(name.as_str());
                    partitions.iter().map(move |partition| (topic.clone(), PartitionId(*partition)))
                })
                .collect(),
        ),
    };
    let fetched = call.shared.broker.fetch_offsets(&GroupId::new(group), wanted);
    let fetched = fetched.map_err(|error| error_map::group_code(&error))?;
    Ok(by_topic(fetched, call))
}

/// Positions of one topic that follow each other share its entry.
fn by_topic(fetched: Vec<FetchedOffset>, call: &Call) -> Vec<(TopicName, Vec<Position>)> {
    let mut topics: Vec<(TopicName, Vec<Position>)> = Vec::new();
    for one in fetched {
        let name = match &one.topic {
            TopicRef::Name(name) => name.clone(),
            TopicRef::Id(id) => match call.shared.broker.topic_name(*id) {
                Some(name) => name.as_str().to_owned(),
                None => continue,
            },
        };
        let position = position(&one);
        match topics.last_mut() {
            Some((last, positions)) if last.as_str() == name => positions.push(position),
            _ => topics.push((words::text(name).into(), vec![position])),
        }
    }
    topics
}

fn position(fetched: &FetchedOffset) -> Position {
    let partition = fetched.partition.0;
    match &fetched.committed {
        Ok(Some(committed)) => Position {
            partition,
            offset: committed.offset.0,
            leader_epoch: committed.leader_epoch.map_or(-1, |epoch| epoch.0),
            metadata: words::text(committed.metadata.as_str()),
            error_code: error_map::NONE,
        },
        Ok(None) => Position::absent(partition, error_map::NONE),
        Err(error) => Position::absent(partition, error_map::code(error)),
    }
}

fn single(topics: Vec<(TopicName, Vec<Position>)>, version: i16) -> OffsetFetchResponse {
    let topics = topics.into_iter().map(|(name, positions)| {
        let partitions = positions.into_iter().map(|one| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(one.partition)
                .with_committed_offset(one.offset)
                .with_committed_leader_epoch(if version >= LEADER_EPOCH_FROM { one.leader_epoch } else { -1 })
                .with_metadata(Some(one.metadata))
                .with_error_code(one.error_code)
        });
        OffsetFetchResponseTopic::default().with_partitions(partitions.collect()).with_name(name)
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

/// Version 1 has no place for a group's error but its partitions.
fn refused(asked: Option<Asked>, code: i16, version: i16) -> OffsetFetchResponse {
    if version >= GROUP_ERROR_FROM {
        return OffsetFetchResponse::default().with_error_code(code);
    }
    let topics = asked.unwrap_or_default().into_iter().map(|(name, partitions)| {
        (name, partitions.into_iter().map(|partition| Position::absent(partition, code)).collect())
    });
    single(topics.collect(), version)
}

fn batched((name, positions): (TopicName, Vec<Position>)) -> OffsetFetchResponseTopics {
    let partitions = positions.into_iter().map(|one| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(one.partition)
            .with_committed_offset(one.offset)
            .with_committed_leader_epoch(one.leader_epoch)
            .with_metadata(Some(one.metadata))
            .with_error_code(one.error_code)
    });
    OffsetFetchResponseTopics::default().with_partitions(partitions.collect()).with_name(name)
}
