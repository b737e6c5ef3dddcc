//! DescribeTopicPartitions: topics by name, in pages (KIP-966). A page has a limited number of
//! partitions; its cursor names the first partition of the next page.

use rustmq_broker_service::{AutoCreation, PartitionMetadata, TopicAnswer, TopicMetadata, TopicRef, TopicSelection};
use rustmq_kafka_codec_messages::describe_topic_partitions_request::DescribeTopicPartitionsRequest;
use rustmq_kafka_codec_messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponse, DescribeTopicPartitionsResponsePartition,
    DescribeTopicPartitionsResponseTopic,
};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: DescribeTopicPartitionsRequest = call.decode(body)?;
    let (from_topic, from_partition) = match &request.cursor {
        Some(cursor) => (cursor.topic_name.clone(), usize::try_from(cursor.partition_index).unwrap_or(0)),
        None => (String::new(), 0),
    };
    let mut names: Vec<String> = request.topics.into_iter().map(|topic| topic.name).collect();
    let selection = if names.is_empty() {
        TopicSelection::All
    } else {
        names.sort();
        names.dedup();
        TopicSelection::These(names.into_iter().map(TopicRef::Name).collect())
    };
    let mut answers = call.session.topics(selection, AutoCreation::Refused).await;
    answers.retain(|answer| name_of(answer) >= from_topic.as_str());
    answers.sort_by(|one, other| name_of(one).cmp(name_of(other)));
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0);
    let limit_max =
        usize::try_from(call.shared.broker.effective_config().described_partitions_max).unwrap_or(usize::MAX);
    let mut room = if limit == 0 { limit_max } else { limit.min(limit_max) };
    let mut topics = Vec::new();
    let mut next_cursor = None;
    for answer in answers {
        let name = name_of(&answer).to_owned();
        let first = if name == from_topic { from_partition } else { 0 };
        let cursor_at = |partition: usize| {
            let index = i32::try_from(partition).unwrap_or(i32::MAX);
            Some(Cursor { topic_name: name.clone(), partition_index: index })
        };
        if room == 0 {
            next_cursor = cursor_at(first);
            break;
        }
        let total = answer.metadata.as_ref().map_or(0, |metadata| metadata.partitions.len());
        let shown = total.saturating_sub(first).min(room);
        topics.push(topic(&name, &answer, first..first + shown));
        room -= shown;
        if first + shown < total {
            next_cursor = cursor_at(first + shown);
            break;
        }
    }
    call.answer(&DescribeTopicPartitionsResponse { topics, next_cursor, ..DescribeTopicPartitionsResponse::default() })
}

fn name_of(answer: &TopicAnswer) -> &str {
    match (&answer.metadata, &answer.topic) {
        (Ok(metadata), _) => metadata.name.as_str(),
        (Err(_), TopicRef::Name(name)) => name,
        (Err(_), TopicRef::Id(_)) => "",
    }
}

fn topic(name: &str, answer: &TopicAnswer, shown: std::ops::Range<usize>) -> DescribeTopicPartitionsResponseTopic {
    let topic = DescribeTopicPartitionsResponseTopic {
        name: Some(name.to_owned()),
        ..DescribeTopicPartitionsResponseTopic::default()
    };
    match &answer.metadata {
        Ok(TopicMetadata { id, is_internal, partitions, .. }) => DescribeTopicPartitionsResponseTopic {
            topic_id: words::uuid(*id),
            is_internal: *is_internal,
            topic_authorized_operations: words::TOPIC_OPERATIONS,
            partitions: partitions.get(shown).unwrap_or_default().iter().map(partition).collect(),
            ..topic
        },
        Err(error) => DescribeTopicPartitionsResponseTopic {
            error_code: error_map::code(error),
            topic_authorized_operations: words::OPERATIONS_UNKNOWN,
            ..topic
        },
    }
}

fn partition(partition: &PartitionMetadata) -> DescribeTopicPartitionsResponsePartition {
    let code = if partition.leader.is_none() { error_map::LEADER_NOT_AVAILABLE } else { error_map::NONE };
    DescribeTopicPartitionsResponsePartition {
        error_code: code,
        partition_index: partition.partition.0,
        leader_id: partition.leader.map_or(words::NO_BROKER, |leader| leader.0),
        leader_epoch: partition.leader_epoch.0,
        replica_nodes: words::broker_ids(&partition.replicas),
        isr_nodes: words::broker_ids(&partition.isr),
        eligible_leader_replicas: Some(Vec::new()),
        last_known_elr: Some(Vec::new()),
        offline_replicas: words::broker_ids(&partition.offline),
    }
}
