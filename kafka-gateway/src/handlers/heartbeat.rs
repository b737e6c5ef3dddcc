//! Heartbeat: a member of a group reports that it is alive.

use rustmq_broker_service::groups::{GroupId, InstanceId, MemberId};
use rustmq_kafka_codec_messages::{HeartbeatRequest, HeartbeatResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: HeartbeatRequest = call.decode(body)?;
    let wait = call.session.heartbeat(&rustmq_broker_service::groups::request::HeartbeatRequest {
        group: GroupId::new(&request.group_id),
        member: MemberId::new(&request.member_id),
        instance: request.group_instance_id.as_deref().map(InstanceId::new),
        generation: request.generation_id,
    });
    Ok(call.answer_later(async move {
        HeartbeatResponse { error_code: error_map::group_outcome(&wait.await), ..HeartbeatResponse::default() }
    }))
}
