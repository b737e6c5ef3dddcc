//! OffsetFetch: the committed offsets of one group up to version 7, and of many from version 8 on.
//! From version 10 on topics are named by their ids.

use std::collections::{BTreeSet, HashMap, HashSet};

use rustmq_broker_service::groups::{GroupError, GroupId, MemberId};
use rustmq_broker_service::{FetchedOffset, OffsetsWanted, Session, TopicRef};
use rustmq_kafka_codec_messages::offset_fetch_request::{OffsetFetchRequestTopic, OffsetFetchRequestTopics};
use rustmq_kafka_codec_messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use rustmq_kafka_codec_messages::{OffsetFetchRequest, OffsetFetchResponse};
use rustmq_model::PartitionId;

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// The first version with many groups.
const GROUPS_FROM: i16 = 8;
/// The first version with an error of the group.
const GROUP_ERROR_FROM: i16 = 2;
/// The first version that names topics by their ids.
const TOPIC_IDS_FROM: i16 = 10;

/// The requested partitions, by topic.
type Asked = Vec<(TopicRef, Vec<i32>)>;

/// The member that asks, and its epoch.
type Member = (MemberId, i32);

/// The operation of the broker that finds the offsets of a group.
type Fetch = fn(&Session, &GroupId, OffsetsWanted) -> Result<Vec<FetchedOffset>, GroupError>;

/// The committed positions, by topic.
type Found = Vec<(TopicRef, Vec<Position>)>;

/// A partition's committed position; without one, the offset is [`words::NO_OFFSET`].
#[derive(Clone)]
struct Position {
    partition: i32,
    offset: i64,
    leader_epoch: i32,
    metadata: String,
    error_code: i16,
}

impl Position {
    fn absent(partition: i32, error_code: i16) -> Self {
        Self {
            partition,
            offset: words::NO_OFFSET,
            leader_epoch: words::NO_LEADER_EPOCH,
            metadata: String::new(),
            error_code,
        }
    }
}

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: OffsetFetchRequest = call.decode(body)?;
    let version = call.version();
    let fetch: Fetch = if request.require_stable { Session::fetch_stable_offsets } else { Session::fetch_offsets };
    if version < GROUPS_FROM {
        let by_name = |topic: OffsetFetchRequestTopic| (words::named(&topic.name), topic.partition_indexes);
        let asked = request.topics.map(|topics| each_once(topics.into_iter().map(by_name)));
        let response = match found(&call, fetch, &request.group_id, asked.as_ref()) {
            Ok(topics) => single(topics),
            Err(code) => refused(asked, code, version),
        };
        return call.answer(&response);
    }
    let topic = |topic: OffsetFetchRequestTopics| {
        let named = match version {
            ..TOPIC_IDS_FROM => words::named(&topic.name),
            _ => TopicRef::Id(words::topic_id(topic.topic_id)),
        };
        (named, topic.partition_indexes)
    };
    let groups = request.groups.into_iter().map(|group| {
        let asked = group.topics.map(|topics| each_once(topics.into_iter().map(topic)));
        // A reader that is no member names none.
        let member = group.member_id.map(|member| (MemberId::from(member), group.member_epoch));
        (group.group_id, member, asked)
    });
    let response = many(&call, fetch, groups);
    call.answer(&response)
}

/// The topics with each partition once: its repetition takes four bytes of the request, and would
/// repeat the metadata of the commit in the response.
fn each_once(topics: impl Iterator<Item = (TopicRef, Vec<i32>)>) -> Asked {
    let mut seen: HashMap<TopicRef, HashSet<i32>> = HashMap::new();
    let topics = topics.map(|(topic, mut partitions)| {
        let seen = seen.entry(topic.clone()).or_default();
        partitions.retain(|partition| seen.insert(*partition));
        (topic, partitions)
    });
    topics.collect()
}

/// The response for many groups.
fn many(
    call: &Call,
    fetch: Fetch,
    groups: impl Iterator<Item = (String, Option<Member>, Option<Asked>)>,
) -> OffsetFetchResponse {
    // Each group is answered once, so that a short request has no long answer.
    let mut seen = BTreeSet::new();
    let groups = groups.filter(|(group, ..)| seen.insert(group.clone())).map(|(group, member, asked)| {
        let checked = member
            .map_or(Ok(()), |(member, epoch)| call.session.check_offset_fetch(&GroupId::new(&group), &member, epoch));
        let checked = checked.map_err(|error| error_map::group_code(&error));
        let answer = match checked.and_then(|()| found(call, fetch, &group, asked.as_ref())) {
            Ok(topics) => {
                let topics = topics.into_iter().filter_map(|topic| batched(call, topic)).collect();
                OffsetFetchResponseGroup { topics, ..OffsetFetchResponseGroup::default() }
            }
            Err(error_code) => OffsetFetchResponseGroup { error_code, ..OffsetFetchResponseGroup::default() },
        };
        OffsetFetchResponseGroup { group_id: group, ..answer }
    });
    OffsetFetchResponse { groups: groups.collect(), ..OffsetFetchResponse::default() }
}

fn found(call: &Call, fetch: Fetch, group: &str, asked: Option<&Asked>) -> Result<Found, i16> {
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
    let fetched = fetch(&call.session, &GroupId::new(group), wanted);
    let fetched = fetched.map_err(|error| error_map::group_code(&error))?;
    Ok(by_topic(fetched))
}

/// Successive positions of one topic share its entry.
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
            leader_epoch: committed.leader_epoch.map_or(words::NO_LEADER_EPOCH, |epoch| epoch.0),
            metadata: committed.metadata.clone(),
            error_code: error_map::NONE,
        },
        Ok(None) => Position::absent(partition, error_map::NONE),
        Err(error) => Position::absent(partition, error_map::code(error)),
    }
}

fn single(topics: Found) -> OffsetFetchResponse {
    let topics = topics.into_iter().map(|(topic, positions)| {
        let partitions = positions.into_iter().map(|one| OffsetFetchResponsePartition {
            partition_index: one.partition,
            committed_offset: one.offset,
            committed_leader_epoch: one.leader_epoch,
            metadata: Some(one.metadata),
            error_code: one.error_code,
        });
        OffsetFetchResponseTopic { partitions: partitions.collect(), name: name(topic) }
    });
    OffsetFetchResponse { topics: topics.collect(), ..OffsetFetchResponse::default() }
}

/// The response for a group with an error. Version 1 repeats the error for each partition.
fn refused(asked: Option<Asked>, code: i16, version: i16) -> OffsetFetchResponse {
    if version >= GROUP_ERROR_FROM {
        return OffsetFetchResponse { error_code: code, ..OffsetFetchResponse::default() };
    }
    let topics = asked.unwrap_or_default().into_iter().map(|(topic, partitions)| {
        (topic, partitions.into_iter().map(|partition| Position::absent(partition, code)).collect())
    });
    single(topics.collect())
}

/// `None` for a topic that was deleted in the meantime: the response would need its id.
fn batched(call: &Call, (topic, positions): (TopicRef, Vec<Position>)) -> Option<OffsetFetchResponseTopics> {
    let partitions = positions.into_iter().map(|one| OffsetFetchResponsePartitions {
        partition_index: one.partition,
        committed_offset: one.offset,
        committed_leader_epoch: one.leader_epoch,
        metadata: Some(one.metadata),
        error_code: one.error_code,
    });
    let answer = OffsetFetchResponseTopics { partitions: partitions.collect(), ..OffsetFetchResponseTopics::default() };
    if call.version() < TOPIC_IDS_FROM {
        return Some(OffsetFetchResponseTopics { name: name(topic), ..answer });
    }
    let id = match &topic {
        TopicRef::Id(id) => *id,
        TopicRef::Name(name) => call.session.topic_id(name)?,
    };
    Some(OffsetFetchResponseTopics { topic_id: words::uuid(id), ..answer })
}

/// The topic's name, in versions that name topics.
fn name(topic: TopicRef) -> String {
    match topic {
        TopicRef::Name(name) => name,
        TopicRef::Id(_) => String::new(),
    }
}
