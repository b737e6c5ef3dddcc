//! JoinGroup: a member joins or rejoins its group. The response waits for the rebalance.

use std::time::Duration;

use rustmq_broker_service::groups::request::{ClientIdentity, JoinRequest, Joined, Protocol};
use rustmq_broker_service::groups::{GroupError, GroupId, InstanceId, MemberId};
use rustmq_kafka_codec_messages::join_group_response::JoinGroupResponseMember;
use rustmq_kafka_codec_messages::{JoinGroupRequest, JoinGroupResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;
use crate::words;

/// Stands for no generation of a group.
const NO_GENERATION: i32 = -1;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: JoinGroupRequest = call.decode(body)?;
    let version = call.version();
    let member = request.member_id.clone();
    let wait = call.session.join_group(broker_request(&call, request));
    Ok(call.answer_later(async move { response(wait.await, version, member) }))
}

fn broker_request(call: &Call, request: JoinGroupRequest) -> JoinRequest {
    let version = call.version();
    let session_timeout = words::milliseconds(request.session_timeout_ms);
    // Version 0 has one timeout for both.
    let rebalance_timeout: Duration =
        if version >= 1 { words::milliseconds(request.rebalance_timeout_ms) } else { session_timeout };
    let protocols = request.protocols.into_iter().map(|one| Protocol { name: one.name, metadata: one.metadata });
    JoinRequest {
        group: GroupId::new(&request.group_id),
        member: MemberId::new(&request.member_id),
        new_member: MemberId::new(""),
        instance: request.group_instance_id.as_deref().map(InstanceId::new),
        client: ClientIdentity {
            id: call.session.client_id().unwrap_or_default().to_owned(),
            host: format!("/{}", call.session.caller().address.ip().to_canonical()),
        },
        session_timeout,
        rebalance_timeout,
        protocol_type: request.protocol_type,
        protocols: protocols.collect(),
        requires_known_member_id: version >= 4,
        supports_skip_assignment: version >= 9,
    }
}

fn response(result: Result<Joined, GroupError>, version: i16, member: String) -> JoinGroupResponse {
    // Without a protocol, its name is null from version 7 on, and empty before.
    let no_name = (version < 7).then(String::new);
    match result {
        Ok(joined) => {
            let members = joined.members.into_iter().map(|one| JoinGroupResponseMember {
                member_id: one.member.as_str().to_owned(),
                group_instance_id: one.instance.map(|id| id.as_str().to_owned()),
                metadata: one.metadata,
            });
            JoinGroupResponse {
                generation_id: joined.generation,
                protocol_type: joined.protocol_type,
                protocol_name: joined.protocol.or(no_name),
                leader: joined.leader.as_str().to_owned(),
                member_id: joined.member.as_str().to_owned(),
                skip_assignment: version >= 9 && joined.skip_assignment,
                members: members.collect(),
                ..JoinGroupResponse::default()
            }
        }
        Err(error) => {
            let code = error_map::group_code(&error);
            let member = match error {
                GroupError::MemberIdRequired { member_id } => member_id.as_str().to_owned(),
                _ => member,
            };
            JoinGroupResponse {
                error_code: code,
                generation_id: NO_GENERATION,
                protocol_name: no_name,
                member_id: member,
                ..JoinGroupResponse::default()
            }
        }
    }
}
