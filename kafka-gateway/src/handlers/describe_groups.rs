//! DescribeGroups: state and members of groups. A group that does not exist is described as dead,
//! from version 6 on with an error.

use std::collections::BTreeSet;

use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kafka_protocol::messages::{DescribeGroupsRequest, DescribeGroupsResponse};
use rustmq_broker_service::groups::request::{GroupDescription, MemberDescription};
use rustmq_broker_service::groups::{ClassicState, GroupId};

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

/// From here on an unknown group is an error as well (KIP-1043).
const NOT_FOUND_FROM: i16 = 6;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: DescribeGroupsRequest = call.decode()?;
    let operations = words::operations_if(request.include_authorized_operations, words::GROUP_OPERATIONS);
    // Each once: a short request must not make an answer without bounds.
    let mut seen = BTreeSet::new();
    let distinct = request.groups.into_iter().filter(|group| seen.insert(group.clone()));
    let groups = distinct.map(|group| {
        let described = call.shared.broker.describe_group(&GroupId::new(group.as_str()));
        let answer = DescribedGroup::default().with_group_id(group);
        let answer = match described {
            Ok(description) => describe(answer, description, call.version()),
            Err(error) => answer.with_error_code(error_map::group_code(&error)),
        };
        let asked = call.version() >= 3 && answer.error_code == error_map::NONE;
        answer.with_authorized_operations(if asked { operations } else { words::OPERATIONS_UNKNOWN })
    });
    let response = DescribeGroupsResponse::default().with_groups(groups.collect());
    call.answer(&response)
}

fn describe(answer: DescribedGroup, description: GroupDescription, version: i16) -> DescribedGroup {
    let mut answer = answer.with_group_state(words::text(description.state.as_str()));
    if description.state == ClassicState::Dead && version >= NOT_FOUND_FROM {
        answer.error_code = error_map::GROUP_ID_NOT_FOUND;
        let message = format!("Group {} not found.", description.group);
        answer.error_message = Some(words::text(message));
    }
    let members = description.members.into_iter().map(|one| member(one, version));
    answer
        .with_protocol_type(words::text(description.protocol_type))
        .with_protocol_data(words::text(description.protocol))
        .with_members(members.collect())
}

fn member(member: MemberDescription, version: i16) -> DescribedGroupMember {
    let instance = member.instance.filter(|_| version >= 4);
    DescribedGroupMember::default()
        .with_member_id(words::text(member.member.as_str()))
        .with_group_instance_id(instance.map(|id| words::text(id.as_str())))
        .with_client_id(words::text(member.client.id))
        .with_client_host(words::text(member.client.host))
        .with_member_metadata(member.metadata)
        .with_member_assignment(member.assignment)
}
