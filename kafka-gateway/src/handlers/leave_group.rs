//! LeaveGroup: one member leaves up to version 2; from version 3 on, many can.

use rustmq_broker_service::groups::request::{LeaveRequest, LeavingMember, LeftMember};
use rustmq_broker_service::groups::{GroupError, GroupId, InstanceId, MemberId};
use rustmq_kafka_codec_messages::leave_group_response::MemberResponse;
use rustmq_kafka_codec_messages::{LeaveGroupRequest, LeaveGroupResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

const BATCHED_FROM: i16 = 3;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: LeaveGroupRequest = call.decode(body)?;
    let version = call.version();
    let members = if version >= BATCHED_FROM {
        let members = request.members.into_iter();
        let leaving = members.map(|member| LeavingMember {
            member: MemberId::new(&member.member_id),
            instance: member.group_instance_id.as_deref().map(InstanceId::new),
            reason: member.reason,
        });
        leaving.collect()
    } else {
        vec![LeavingMember { member: MemberId::new(&request.member_id), instance: None, reason: None }]
    };
    let group = GroupId::new(&request.group_id);
    let wait = call.session.leave_group(LeaveRequest { group, members });
    Ok(call.answer_later(async move { response(wait.await, version) }))
}

fn response(result: Result<Vec<LeftMember>, GroupError>, version: i16) -> LeaveGroupResponse {
    let left = match result {
        Ok(left) => left,
        Err(error) => {
            return LeaveGroupResponse { error_code: error_map::group_code(&error), ..LeaveGroupResponse::default() };
        }
    };
    if version < BATCHED_FROM {
        let code = left.first().map_or(error_map::NONE, |member| error_map::group_outcome(&member.outcome));
        return LeaveGroupResponse { error_code: code, ..LeaveGroupResponse::default() };
    }
    let members = left.into_iter().map(|member| MemberResponse {
        member_id: member.member.as_str().to_owned(),
        group_instance_id: member.instance.map(|id| id.as_str().to_owned()),
        error_code: error_map::group_outcome(&member.outcome),
    });
    LeaveGroupResponse { members: members.collect(), ..LeaveGroupResponse::default() }
}
