//! AlterConfigs: replaces all configs of a resource.

use rustmq_broker_service::{ConfigChange, Refusals, ResourceAlteration};
use rustmq_kafka_codec_messages::alter_configs_request::AlterConfigsResource;
use rustmq_kafka_codec_messages::alter_configs_response::AlterConfigsResourceResponse;
use rustmq_kafka_codec_messages::{AlterConfigsRequest, AlterConfigsResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::config_resources;
use crate::error_map::ApiError;
use crate::words;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: AlterConfigsRequest = call.decode(body)?;
    let altered = alter(&call, request.resources, replacement, request.validate_only).await;
    let responses = altered.map(|(resource, (error_code, error_message))| AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
    });
    let response = AlterConfigsResponse { responses: responses.collect(), ..AlterConfigsResponse::default() };
    call.answer(&response)
}

fn replacement(resource: &AlterConfigsResource) -> Result<ResourceAlteration, ApiError> {
    let configs = &resource.configs;
    if let Some(name) = words::repeated(configs.iter().map(|one| one.name.as_str())).first() {
        return Err(ApiError::invalid_request(&format_args!("The request names the config {name} more than once.")));
    }
    if let Some(one) = configs.iter().find(|one| one.value.is_none()) {
        return Err(ApiError::invalid_request(&format_args!("The config {} is set without a value.", one.name)));
    }
    let change = ConfigChange::Replace(configs.iter().map(|one| (one.name.clone(), one.value.clone())).collect());
    alteration(resource.resource_type, &resource.resource_name, change)
}

/// The change of one resource.
///
/// # Errors
/// If resources of this type have no configs here.
pub fn alteration(kind: i8, name: &str, change: ConfigChange) -> Result<ResourceAlteration, ApiError> {
    let resource = config_resources::resource(kind, name).map_err(|unknown| ApiError::invalid_request(&unknown))?;
    Ok(ResourceAlteration { resource, change })
}

/// Sends the legal alterations of these resources to the broker. Returns each resource with the
/// code and the text of its result, in their order.
pub async fn alter<R>(
    call: &Call,
    resources: Vec<R>,
    alteration_of: fn(&R) -> Result<ResourceAlteration, ApiError>,
    validate_only: bool,
) -> impl Iterator<Item = (R, (i16, Option<String>))> {
    let (legal, refusals) = Refusals::split(resources.iter().map(alteration_of));
    let results = call.session.alter_configs(legal, words::mode(validate_only)).await;
    let results = refusals.join(Ok(results.into_iter().map(|result| result.map_err(|error| ApiError::of(&error)))));
    words::paired(resources, results).map(|(resource, result)| (resource, ApiError::code_and_message(result)))
}
