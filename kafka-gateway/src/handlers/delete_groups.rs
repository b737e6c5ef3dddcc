//! DeleteGroups: empty groups and their offsets.

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{DeleteGroupsRequest, DeleteGroupsResponse, GroupId as KafkaGroupId};
use rustmq_broker_service::groups::GroupId;

use crate::call::{Call, CallError, Handling};
use crate::error_map;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: DeleteGroupsRequest = call.decode()?;
    // All take effect now; they are waited for together.
    let waits: Vec<(KafkaGroupId, _)> = request
        .groups_names
        .into_iter()
        .map(|name| {
            let wait = call.shared.broker.delete_group(&GroupId::new(name.as_str()));
            (name, wait)
        })
        .collect();
    Ok(call.answer_later(async move {
        let mut results = Vec::with_capacity(waits.len());
        for (name, wait) in waits {
            let code = error_map::group_outcome(&wait.await);
            results.push(DeletableGroupResult::default().with_group_id(name).with_error_code(code));
        }
        DeleteGroupsResponse::default().with_results(results)
    }))
}
