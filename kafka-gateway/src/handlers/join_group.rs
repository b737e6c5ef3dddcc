//! JoinGroup: a member joins or rejoins; the answer waits for the rebalance.

use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;
use rustmq_broker_service::groups::request::{ClientIdentity, JoinRequest, Joined, Protocol};
use rustmq_broker_service::groups::{GroupError, GroupId, InstanceId, MemberId};

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: JoinGroupRequest = call.decode()?;
    let version = call.version();
    let member = request.member_id.clone();
    let wait = call.shared.broker.join_group(in_brokers_words(&call, request));
    Ok(call.answer_later(async move { response(wait.await, version, member) }))
}

fn in_brokers_words(call: &Call, request: JoinGroupRequest) -> JoinRequest {
    let version = call.version();
    let session_timeout = words::milliseconds(request.session_timeout_ms);
    // Version 0 has one timeout for both.
    let rebalance_timeout: Duration =
        if version >= 1 { words::milliseconds(request.rebalance_timeout_ms) } else { session_timeout };
    let protocols = request.protocols.into_iter().map(|one| {
        // A part of the request would keep all of it, for as long as the member is there.
        Protocol { name: one.name.to_string(), metadata: Bytes::copy_from_slice(&one.metadata) }
    });
    JoinRequest {
        group: GroupId::new(request.group_id.as_str()),
        member: MemberId::new(request.member_id.as_str()),
        new_member: MemberId::new(""),
        instance: request.group_instance_id.as_deref().map(InstanceId::new),
        client: ClientIdentity {
            id: call.header.client_id.clone().unwrap_or_default(),
            host: format!("/{}", call.peer.address.ip().to_canonical()),
        },
        session_timeout,
        rebalance_timeout,
        protocol_type: request.protocol_type.to_string(),
        protocols: protocols.collect(),
        requires_known_member_id: version >= 4,
        supports_skip_assignment: version >= 9,
    }
}

fn response(result: Result<Joined, GroupError>, version: i16, member: StrBytes) -> JoinGroupResponse {
    // A missing protocol name is null from version 7 on, and empty before.
    let no_name = (version < 7).then(StrBytes::default);
    match result {
        Ok(joined) => {
            let members = joined.members.into_iter().map(|one| {
                let instance = one.instance.filter(|_| version >= 5);
                JoinGroupResponseMember::default()
                    .with_member_id(words::text(one.member.as_str()))
                    .with_group_instance_id(instance.map(|id| words::text(id.as_str())))
                    .with_metadata(one.metadata)
            });
            JoinGroupResponse::default()
                .with_generation_id(joined.generation)
                .with_protocol_type(joined.protocol_type.filter(|_| version >= 7).map(words::text))
                .with_protocol_name(joined.protocol.map(words::text).or(no_name))
                .with_leader(words::text(joined.leader.as_str()))
                .with_member_id(words::text(joined.member.as_str()))
                .with_skip_assignment(version >= 9 && joined.skip_assignment)
                .with_members(members.collect())
        }
        Err(error) => {
            let code = error_map::group_code(&error);
            let member = match error {
                GroupError::MemberIdRequired { member_id } => words::text(member_id.as_str()),
                _ => member,
            };
            JoinGroupResponse::default()
                .with_error_code(code)
                .with_generation_id(-1)
                .with_protocol_name(no_name)
                .with_member_id(member)
        }
    }
}
