//! SyncGroup: the leader hands in the assignments, every member takes its own.

use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};
use rustmq_broker_service::groups::request::SyncRequest;
use rustmq_broker_service::groups::{GroupError, GroupId, InstanceId, MemberId};

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

/// From here on a member says what protocol it takes its assignment to be of (KIP-559).
const PROTOCOL_FROM: i16 = 5;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: SyncGroupRequest = call.decode()?;
    let version = call.version();
    if version >= PROTOCOL_FROM && (request.protocol_type.is_none() || request.protocol_name.is_none()) {
        // A null would pass for the protocol of any group: it is refused before the group is looked
        // for, as on Kafka.
        let code = error_map::group_code(&GroupError::InconsistentGroupProtocol);
        return call.answer(&SyncGroupResponse::default().with_error_code(code));
    }
    let assignments = request.assignments.into_iter();
    let wait = call.shared.broker.sync_group(SyncRequest {
        group: GroupId::new(request.group_id.as_str()),
        member: MemberId::new(request.member_id.as_str()),
        instance: request.group_instance_id.as_deref().map(InstanceId::new),
        generation: request.generation_id,
        protocol_type: request.protocol_type.map(|name| name.to_string()),
        protocol: request.protocol_name.map(|name| name.to_string()),
        assignments: assignments.map(|one| (MemberId::new(one.member_id.as_str()), one.assignment)).collect(),
    });
    Ok(call.answer_later(async move {
        match wait.await {
            Ok(synced) => SyncGroupResponse::default()
                .with_protocol_type(synced.protocol_type.filter(|_| version >= PROTOCOL_FROM).map(words::text))
                .with_protocol_name(synced.protocol.filter(|_| version >= PROTOCOL_FROM).map(words::text))
                .with_assignment(synced.assignment),
            Err(error) => SyncGroupResponse::default().with_error_code(error_map::group_code(&error)),
        }
    }))
}
