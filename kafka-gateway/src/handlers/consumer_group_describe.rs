//! ConsumerGroupDescribe: the epochs and members of consumer groups (KIP-848).

use std::collections::BTreeSet;

use rustmq_broker_service::groups::GroupId;
use rustmq_broker_service::groups::consumer::{Assignment, ConsumerGroupDescription, ConsumerMemberDescription};
use rustmq_kafka_codec_messages::consumer_group_describe_response::{
    Assignment as Assigned, DescribedGroup, Member, TopicPartitions,
};
use rustmq_kafka_codec_messages::{ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// The types of members.
const CLASSIC_MEMBER: i8 = 0;
const CONSUMER_MEMBER: i8 = 1;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: ConsumerGroupDescribeRequest = call.decode(body)?;
    let operations = words::operations_if(request.include_authorized_operations, words::GROUP_OPERATIONS);
    // Each group is described once, so that a short request has no long answer.
    let mut seen = BTreeSet::new();
    let distinct = request.group_ids.into_iter().filter(|group| seen.insert(group.clone()));
    let groups = distinct.map(|group| {
        let answer = DescribedGroup { group_id: group, ..DescribedGroup::default() };
        match call.session.describe_consumer_group(&GroupId::new(&answer.group_id)) {
            Ok(description) => {
                DescribedGroup { authorized_operations: operations, ..describe(&call, answer, description) }
            }
            Err(error) => DescribedGroup {
                error_code: error_map::group_code(&error),
                error_message: error_map::message(&error),
                authorized_operations: words::OPERATIONS_UNKNOWN,
                ..answer
            },
        }
    });
    let groups = groups.collect();
    call.answer(&ConsumerGroupDescribeResponse { groups, ..ConsumerGroupDescribeResponse::default() })
}

fn describe(call: &Call, answer: DescribedGroup, description: ConsumerGroupDescription) -> DescribedGroup {
    DescribedGroup {
        group_state: description.state.as_str().to_owned(),
        group_epoch: description.epoch,
        assignment_epoch: description.assignment_epoch,
        assignor_name: description.assignor,
        members: description.members.into_iter().map(|one| member(call, one)).collect(),
        ..answer
    }
}

fn member(call: &Call, member: ConsumerMemberDescription) -> Member {
    let subscription = member.subscription;
    Member {
        member_id: member.member.as_str().to_owned(),
        instance_id: subscription.instance.map(|id| id.as_str().to_owned()),
        rack_id: subscription.rack,
        member_epoch: member.epoch,
        client_id: subscription.client.id,
        client_host: subscription.client.host,
        subscribed_topic_names: subscription.topics.into_iter().collect(),
        subscribed_topic_regex: subscription.regex,
        assignment: assigned(call, &member.assignment),
        target_assignment: assigned(call, &member.target),
        member_type: if subscription.classic.is_some() { CLASSIC_MEMBER } else { CONSUMER_MEMBER },
    }
}

/// Topics that were deleted are left out: they have no name.
fn assigned(call: &Call, assignment: &Assignment) -> Assigned {
    let topics = assignment.topics().filter_map(|(topic, partitions)| {
        Some(TopicPartitions {
            topic_id: words::uuid(topic),
            topic_name: call.session.topic_name(topic)?.as_str().to_owned(),
            partitions: partitions.iter().map(|partition| partition.0).collect(),
        })
    });
    Assigned { topic_partitions: topics.collect() }
}
