//! ListGroups: the groups of this coordinator, filtered by state and type where the version can ask
//! for it.

use rustmq_kafka_codec_messages::list_groups_response::ListedGroup;
use rustmq_kafka_codec_messages::{ListGroupsRequest, ListGroupsResponse};

use crate::call::{Call, CallError, Handling};
use crate::error_map;

/// The one type of group that there is.
const CLASSIC: &str = "classic";

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: ListGroupsRequest = call.decode()?;
    let passes = |filter: &[String], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let response = match call.session.list_groups() {
        Ok(groups) => {
            let shown = groups.into_iter().filter(|group| {
                passes(&request.states_filter, group.state.as_str()) && passes(&request.types_filter, CLASSIC)
            });
            let shown = shown.map(|group| ListedGroup {
                group_id: group.group.as_str().to_owned(),
                protocol_type: group.protocol_type,
                group_state: group.state.as_str().to_owned(),
                group_type: CLASSIC.to_owned(),
            });
            ListGroupsResponse { groups: shown.collect(), ..ListGroupsResponse::default() }
        }
        Err(error) => ListGroupsResponse { error_code: error_map::group_code(&error), ..ListGroupsResponse::default() },
    };
    call.answer(&response)
}
