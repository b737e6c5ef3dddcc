//! ListGroups: the groups that this broker coordinates. Newer versions filter them by state and
//! type.

use rustmq_kafka_codec_messages::list_groups_response::ListedGroup;
use rustmq_kafka_codec_messages::{ListGroupsRequest, ListGroupsResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: ListGroupsRequest = call.decode(body)?;
    let passes = |filter: &[String], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let response = match call.session.list_groups() {
        Ok(groups) => {
            let shown = groups.into_iter().filter(|group| {
                passes(&request.states_filter, group.state.as_str())
                    && passes(&request.types_filter, group.state.type_name())
            });
            let shown = shown.map(|group| ListedGroup {
                group_id: group.group.as_str().to_owned(),
                protocol_type: group.protocol_type,
                group_state: group.state.as_str().to_owned(),
                group_type: group.state.type_name().to_owned(),
            });
            ListGroupsResponse { groups: shown.collect(), ..ListGroupsResponse::default() }
        }
        Err(error) => ListGroupsResponse { error_code: error_map::group_code(&error), ..ListGroupsResponse::default() },
    };
    call.answer(&response)
}
