//! SyncGroup: the leader of a group sends the assignments, and each member receives its own.

use rustmq_broker_service::groups::request::SyncRequest;
use rustmq_broker_service::groups::{GroupError, GroupId, InstanceId, MemberId};
use rustmq_kafka_codec_messages::{SyncGroupRequest, SyncGroupResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

/// The first version in which a member names the protocol that it expects (KIP-559).
const PROTOCOL_FROM: i16 = 5;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: SyncGroupRequest = call.decode(body)?;
    if call.version() >= PROTOCOL_FROM && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        // A null would match the protocol of any group. Refused before the group is looked up, as
        // in Kafka.
        let code = error_map::group_code(&GroupError::InconsistentGroupProtocol);
        return call.answer(&SyncGroupResponse { error_code: code, ..SyncGroupResponse::default() });
    }
    let assignments = request.assignments.into_iter();
    let wait = call.session.sync_group(SyncRequest {
        group: GroupId::new(&request.group_id),
        member: MemberId::new(&request.member_id),
        instance: request.group_instance_id.as_deref().map(InstanceId::new),
        generation: request.generation_id,
        protocol_type: request.protocol_type,
        protocol: request.protocol_name,
        assignments: assignments.map(|one| (MemberId::new(&one.member_id), one.assignment)).collect(),
    });
    Ok(call.answer_later(async move {
        match wait.await {
            Ok(synced) => SyncGroupResponse {
                protocol_type: synced.protocol_type,
                protocol_name: synced.protocol,
                assignment: synced.assignment,
                ..SyncGroupResponse::default()
            },
            Err(error) => {
                SyncGroupResponse { error_code: error_map::group_code(&error), ..SyncGroupResponse::default() }
            }
        }
    }))
}
