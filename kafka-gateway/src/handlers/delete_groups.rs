//! DeleteGroups: deletes empty groups and their offsets. From version 3 on an error has a text.

use rustmq_broker_service::groups::GroupId;
use rustmq_kafka_codec_messages::delete_groups_response::DeletableGroupResult;
use rustmq_kafka_codec_messages::{DeleteGroupsRequest, DeleteGroupsResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: DeleteGroupsRequest = call.decode(body)?;
    // All deletions begin now, and are awaited together.
    let waits: Vec<(String, _)> = request
        .groups_names
        .into_iter()
        .map(|name| {
            let wait = call.session.delete_group(&GroupId::new(&name));
            (name, wait)
        })
        .collect();
    Ok(call.answer_later(async move {
        let mut results = Vec::with_capacity(waits.len());
        for (name, wait) in waits {
            let outcome = wait.await;
            results.push(DeletableGroupResult {
                group_id: name,
                error_code: error_map::group_outcome(&outcome),
                error_message: outcome.err().and_then(|error| error_map::message(&error)),
            });
        }
        DeleteGroupsResponse { results, ..DeleteGroupsResponse::default() }
    }))
}
