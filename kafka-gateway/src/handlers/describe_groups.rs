//! DescribeGroups: the state and members of groups. A group that does not exist is described as
//! dead, and from version 6 on with an error.

use std::collections::BTreeSet;

use rustmq_broker_service::groups::request::{GroupDescription, MemberDescription};
use rustmq_broker_service::groups::{ClassicState, GroupId};
use rustmq_kafka_codec_messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use rustmq_kafka_codec_messages::{DescribeGroupsRequest, DescribeGroupsResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// The first version in which an unknown group has an error, too (KIP-1043).
const NOT_FOUND_FROM: i16 = 6;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: DescribeGroupsRequest = call.decode(body)?;
    let operations = words::operations_if(request.include_authorized_operations, words::GROUP_OPERATIONS);
    // Each group is described once, so that a short request has no long answer.
    let mut seen = BTreeSet::new();
    let distinct = request.groups.into_iter().filter(|group| seen.insert(group.clone()));
    let groups = distinct.map(|group| {
        let described = call.session.describe_group(&GroupId::new(&group));
        let answer = DescribedGroup { group_id: group, ..DescribedGroup::default() };
        let answer = match described {
            Ok(description) => describe(answer, description, call.version()),
            Err(error) => DescribedGroup { error_code: error_map::group_code(&error), ..answer },
        };
        let asked = call.version() >= 3 && answer.error_code == error_map::NONE;
        DescribedGroup { authorized_operations: if asked { operations } else { words::OPERATIONS_UNKNOWN }, ..answer }
    });
    let response = DescribeGroupsResponse { groups: groups.collect(), ..DescribeGroupsResponse::default() };
    call.answer(&response)
}

fn describe(answer: DescribedGroup, description: GroupDescription, version: i16) -> DescribedGroup {
    let mut answer = DescribedGroup { group_state: description.state.as_str().to_owned(), ..answer };
    if description.state == ClassicState::Dead && version >= NOT_FOUND_FROM {
        answer.error_code = error_map::GROUP_ID_NOT_FOUND;
        answer.error_message = error_map::message(&format!("Group {} not found.", description.group));
    }
    let members = description.members.into_iter().map(member);
    DescribedGroup {
        protocol_type: description.protocol_type,
        protocol_data: description.protocol,
        members: members.collect(),
        ..answer
    }
}

fn member(member: MemberDescription) -> DescribedGroupMember {
    DescribedGroupMember {
        member_id: member.member.as_str().to_owned(),
        group_instance_id: member.instance.map(|id| id.as_str().to_owned()),
        client_id: member.client.id,
        client_host: member.client.host,
        member_metadata: member.metadata,
        member_assignment: member.assignment,
    }
}
