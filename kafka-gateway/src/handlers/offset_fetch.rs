//! OffsetFetch: committed positions, of one group up to version 7, of many from then on. From
//! version 10 on topics are named by their ids.

use std::collections::{BTreeSet, HashMap, HashSet};

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{OffsetFetchRequest, OffsetFetchResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use rustmq_broker_service::groups::GroupId;
use rustmq_broker_service::{FetchedOffset, OffsetsWanted, TopicRef};
use rustmq_model::PartitionId;

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::topic_id_requests::{TOPIC_IDS_FROM, read_fetch};
use crate::words;

const GROUPS_FROM: i16 = 8;
const GROUP_ERROR_FROM: i16 = 2;
const LEADER_EPOCH_FROM: i16 = 5;

/// Topics, each with the partitions asked for.
type Asked = Vec<(TopicRef, Vec<i32>)>;

/// Topics, each with its positions.
type Found = Vec<(TopicRef, Vec<Position>)>;

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
    if call.version() >= TOPIC_IDS_FROM {
        let groups = read_fetch(call.body()?).ok_or_else(|| call.undecodable("a null, or a text that is not UTF-8"))?;
        let by_id = |(id, partitions)| (TopicRef::Id(words::topic_id(id)), partitions);
        let groups = groups.into_iter().map(|group| {
            let asked = group.topics.map(|topics| each_once(topics.into_iter().map(by_id)));
            (group.group.into(), asked)
        });
        let response = many(&call, groups);
        return call.answer(&response);
    }
    let request: OffsetFetchRequest = call.decode()?;
    if call.version() < GROUPS_FROM {
        let by_name = |topic: OffsetFetchRequestTopic| (words::named(&topic.name), topic.partition_indexes);
        let asked = request.topics.map(|topics| each_once(topics.into_iter().map(by_name)));
        let response = match fetch(&call, request.group_id.as_str(), asked.as_ref()) {
            Ok(topics) => single(topics, call.version()),
            Err(code) => refused(asked, code, call.version()),
        };
        return call.answer(&response);
    }
    let by_name = |topic: OffsetFetchRequestTopics| (words::named(&topic.name), topic.partition_indexes);
    let groups = request.groups.into_iter().map(|group| {
        let asked = group.topics.map(|topics| each_once(topics.into_iter().map(by_name)));
        (group.group_id, asked)
    });
    let response = many(&call, groups);
    call.answer(&response)
}

/// Each partition once: four bytes must not ask again for all that was committed with it.
fn each_once(topics: impl Iterator<Item = (TopicRef, Vec<i32>)>) -> Asked {
    let mut seen: HashMap<TopicRef, HashSet<i32>> = HashMap::new();
    let topics = topics.map(|(topic, mut partitions)| {
        let seen = seen.entry(topic.clone()).or_default();
        partitions.retain(|partition| seen.insert(*partition));
        (topic, partitions)
    });
    topics.collect()
}

/// The answer for many groups.
fn many(
    call: &Call,
    groups: impl Iterator<Item = (kafka_protocol::messages::GroupId, Option<Asked>)>,
) -> OffsetFetchResponse {
    // Each once: a short request must not make an answer without bounds.
    let mut seen = BTreeSet::new();
    let groups = groups.filter(|(group, _)| seen.insert(group.clone())).map(|(group, asked)| {
        let answer = OffsetFetchResponseGroup::default();
        let answer = match fetch(call, group.as_str(), asked.as_ref()) {
            Ok(topics) => answer.with_topics(topics.into_iter().filter_map(|topic| batched(call, topic)).collect()),
            Err(code) => answer.with_error_code(code),
        };
        answer.with_group_id(group)
    });
    OffsetFetchResponse::default().with_groups(groups.collect())
}

fn fetch(call: &Call, group: &str, asked: Option<&Asked>) -> Result<Found, i16> {
    let wanted = match asked {
        None => OffsetsWanted::All,
        Some(asked) => OffsetsWanted::These(
            asked
                .iter()
                .flat_map(|(topic, partitions)| {
                    partitions.iter().map(move |partition| (topic.clone(), PartitionId(*partition)))
                })
                .collect(),
        ),
    };
    let fetched = call.shared.broker.fetch_offsets(&GroupId::new(group), wanted);
    let fetched = fetched.map_err(|error| error_map::group_code(&error))?;
    Ok(by_topic(fetched))
}

/// Positions of one topic that follow each other share its entry.
fn by_topic(fetched: Vec<FetchedOffset>) -> Found {
    let mut topics = Found::new();
    for one in fetched {
        let position = position(&one);
        match topics.last_mut() {
            Some((last, positions)) if *last == one.topic => positions.push(position),
            _ => topics.push((one.topic, vec![position])),
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

fn single(topics: Found, version: i16) -> OffsetFetchResponse {
    let topics = topics.into_iter().map(|(topic, positions)| {
        let partitions = positions.into_iter().map(|one| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(one.partition)
                .with_committed_offset(one.offset)
                .with_committed_leader_epoch(if version >= LEADER_EPOCH_FROM { one.leader_epoch } else { -1 })
                .with_metadata(Some(one.metadata))
                .with_error_code(one.error_code)
        });
        OffsetFetchResponseTopic::default().with_partitions(partitions.collect()).with_name(name(topic))
    });
    OffsetFetchResponse::default().with_topics(topics.collect())
}

/// Version 1 has no place for a group's error but its partitions.
fn refused(asked: Option<Asked>, code: i16, version: i16) -> OffsetFetchResponse {
    if version >= GROUP_ERROR_FROM {
        return OffsetFetchResponse::default().with_error_code(code);
    }
    let topics = asked.unwrap_or_default().into_iter().map(|(topic, partitions)| {
        (topic, partitions.into_iter().map(|partition| Position::absent(partition, code)).collect())
    });
    single(topics.collect(), version)
}

/// None for a topic that is gone meanwhile: it has no id to name it by.
fn batched(call: &Call, (topic, positions): (TopicRef, Vec<Position>)) -> Option<OffsetFetchResponseTopics> {
    let partitions = positions.into_iter().map(|one| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(one.partition)
            .with_committed_offset(one.offset)
            .with_committed_leader_epoch(one.leader_epoch)
            .with_metadata(Some(one.metadata))
            .with_error_code(one.error_code)
    });
    let answer = OffsetFetchResponseTopics::default().with_partitions(partitions.collect());
    if call.version() < TOPIC_IDS_FROM {
        return Some(answer.with_name(name(topic)));
    }
    let id = match &topic {
        TopicRef::Id(id) => *id,
        TopicRef::Name(name) => call.shared.broker.topic_id(name)?,
    };
    Some(answer.with_topic_id(words::uuid(id)))
}

/// Of a topic in the versions that name them.
fn name(topic: TopicRef) -> TopicName {
    match topic {
        TopicRef::Name(name) => words::text(name).into(),
        TopicRef::Id(_) => TopicName::default(),
    }
}
