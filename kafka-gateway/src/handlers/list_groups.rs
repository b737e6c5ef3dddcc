//! ListGroups: the groups of this coordinator, filtered by state and type where the version can ask
//! for it.

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ListGroupsRequest, ListGroupsResponse};

use crate::call::{Call, CallError, Handling};
use crate::error_map;
use crate::words;

/// The one type of group that there is.
const CLASSIC: &str = "classic";

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: ListGroupsRequest = call.decode()?;
    let version = call.version();
    let passes = |filter: &[kafka_protocol::protocol::StrBytes], value: &str| {
        filter.is_empty() || filter.iter().any(|wanted| wanted.eq_ignore_ascii_case(value))
    };
    let response = match call.shared.broker.list_groups() {
        Ok(groups) => {
            let shown = groups.into_iter().filter(|group| {
                passes(&request.states_filter, group.state.as_str()) && passes(&request.types_filter, CLASSIC)
            });
            let shown = shown.map(|group| {
                let mut listed = ListedGroup::default()
                    .with_group_id(words::text(group.group.as_str()).into())
                    .with_protocol_type(words::text(group.protocol_type));
                if version >= 4 {
                    listed.group_state = words::text(group.state.as_str());
                }
                if version >= 5 {
                    listed.group_type = words::text(CLASSIC);
                }
                listed
            });
            ListGroupsResponse::default().with_groups(shown.collect())
        }
        Err(error) => ListGroupsResponse::default().with_error_code(error_map::group_code(&error)),
    };
    call.answer(&response)
}
