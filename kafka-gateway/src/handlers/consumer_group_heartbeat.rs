//! ConsumerGroupHeartbeat: a member of a consumer group joins, lives, or leaves (KIP-848).

use rustmq_broker_service::Session;
use rustmq_broker_service::groups::consumer::{Assignment, ConsumerHeartbeat, ConsumerHeartbeatAnswer};
use rustmq_broker_service::groups::request::ClientIdentity;
use rustmq_broker_service::groups::{GroupError, GroupId, InstanceId, MemberId};
use rustmq_kafka_codec_messages::consumer_group_heartbeat_request::TopicPartitions as OwnedTopic;
use rustmq_kafka_codec_messages::consumer_group_heartbeat_response::{Assignment as Assigned, TopicPartitions};
use rustmq_kafka_codec_messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use rustmq_model::PartitionId;

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// The first version whose clients make the ids of their members (KIP-1082).
const CLIENT_IDS_FROM: i16 = 1;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: ConsumerGroupHeartbeatRequest = call.decode(body)?;
    if !call.session.has_consumer_protocol() {
        let error_code = error_map::UNSUPPORTED_VERSION;
        return call
            .answer(&ConsumerGroupHeartbeatResponse { error_code, ..ConsumerGroupHeartbeatResponse::default() });
    }
    let wait = call.session.consumer_heartbeat(heartbeat(&call, request));
    Ok(call.answer_later(async move { response(wait.await) }))
}

fn heartbeat(call: &Call, request: ConsumerGroupHeartbeatRequest) -> ConsumerHeartbeat {
    let has_no_id = request.member_id.is_empty() && request.member_epoch == 0 && call.version() < CLIENT_IDS_FROM;
    ConsumerHeartbeat {
        group: GroupId::new(&request.group_id),
        member: if has_no_id { Session::new_consumer_member() } else { MemberId::from(request.member_id) },
        epoch: request.member_epoch,
        instance: request.instance_id.map(InstanceId::from),
        rack: request.rack_id,
        client: ClientIdentity {
            id: call.session.client_id().unwrap_or_default().to_owned(),
            host: format!("/{}", call.session.caller().address.ip().to_canonical()),
        },
        rebalance_timeout_ms: Some(request.rebalance_timeout_ms).filter(|timeout| *timeout != -1),
        topics: request.subscribed_topic_names.map(|names| names.into_iter().collect()),
        regex: request.subscribed_topic_regex,
        assignor: request.server_assignor,
        owned: request.topic_partitions.map(owned),
        timing: None,
    }
}

fn owned(topics: Vec<OwnedTopic>) -> Assignment {
    let mut owned = Assignment::default();
    for topic in topics {
        owned.insert(words::topic_id(topic.topic_id), topic.partitions.into_iter().map(PartitionId).collect());
    }
    owned
}

fn response(result: Result<ConsumerHeartbeatAnswer, GroupError>) -> ConsumerGroupHeartbeatResponse {
    match result {
        Ok(answer) => ConsumerGroupHeartbeatResponse {
            member_id: Some(answer.member.as_str().to_owned()),
            member_epoch: answer.epoch,
            heartbeat_interval_ms: i32::try_from(answer.interval.as_millis()).unwrap_or(i32::MAX),
            assignment: answer.assignment.as_ref().map(assigned),
            ..ConsumerGroupHeartbeatResponse::default()
        },
        Err(error) => ConsumerGroupHeartbeatResponse {
            error_code: error_map::group_code(&error),
            error_message: error_map::message(&error),
            ..ConsumerGroupHeartbeatResponse::default()
        },
    }
}

fn assigned(assignment: &Assignment) -> Assigned {
    let topics = assignment.topics().map(|(topic, partitions)| TopicPartitions {
        topic_id: words::uuid(topic),
        partitions: partitions.iter().map(|partition| partition.0).collect(),
    });
    Assigned { topic_partitions: topics.collect() }
}
