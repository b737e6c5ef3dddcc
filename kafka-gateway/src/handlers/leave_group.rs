//! LeaveGroup: one member up to version 2, many from then on.

use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};
use rustmq_broker_service::groups::request::{LeaveRequest, LeavingMember, LeftMember};
use rustmq_broker_service::groups::{GroupError, GroupId, InstanceId, MemberId};

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

const BATCHED_FROM: i16 = 3;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: LeaveGroupRequest = call.decode()?;
    let version = call.version();
    let members = if version >= BATCHED_FROM {
        let members = request.members.into_iter();
        let leaving = members.map(|member| LeavingMember {
            member: MemberId::new(member.member_id.as_str()),
            instance: member.group_instance_id.as_deref().map(InstanceId::new),
            reason: member.reason.map(|reason| reason.to_string()),
        });
        leaving.collect()
    } else {
        vec![LeavingMember { member: MemberId::new(request.member_id.as_str()), instance: None, reason: None }]
    };
    let group = GroupId::new(request.group_id.as_str());
    let wait = call.shared.broker.leave_group(LeaveRequest { group, members });
    Ok(call.answer_later(async move { response(wait.await, version) }))
}

fn response(result: Result<Vec<LeftMember>, GroupError>, version: i16) -> LeaveGroupResponse {
    let left = match result {
        Ok(left) => left,
        Err(error) => return LeaveGroupResponse::default().with_error_code(error_map::group_code(&error)),
    };
    if version < BATCHED_FROM {
        let code = left.first().map_or(error_map::NONE, |member| error_map::group_outcome(&member.outcome));
        return LeaveGroupResponse::default().with_error_code(code);
    }
    let members = left.into_iter().map(|member| {
        MemberResponse::default()
            .with_member_id(words::text(member.member.as_str()))
            .with_group_instance_id(member.instance.map(|id| words::text(id.as_str())))
            .with_error_code(error_map::group_outcome(&member.outcome))
    });
    LeaveGroupResponse::default().with_members(members.collect())
}
