//! AlterConfigs: replaces all configs of a resource.

use std::collections::BTreeSet;

use rustmq_broker_service::{ConfigChange, ResourceAlteration};
use rustmq_kafka_codec_messages::alter_configs_response::AlterConfigsResourceResponse;
use rustmq_kafka_codec_messages::{AlterConfigsRequest, AlterConfigsResponse};

use crate::call::{Call, CallError, Handling};
use crate::config_resources;
use crate::error_map;
use crate::words;

/// A code, and why if it is an error.
pub type Verdict = (i16, Option<String>);

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: AlterConfigsRequest = call.decode()?;
    let alterations = request.resources.iter().map(|resource| {
        let configs = resource.configs.iter();
        let configs: Vec<_> = configs.map(|one| (one.name.clone(), one.value.clone())).collect();
        let mut names = BTreeSet::new();
        if let Some((name, _)) = configs.iter().find(|(name, _)| !names.insert(name.as_str())) {
            return Err(format!("The request names the config {name} more than once."));
        }
        if let Some((name, _)) = configs.iter().find(|(_, value)| value.is_none()) {
            return Err(format!("The config {name} is set without a value."));
        }
        let change = ConfigChange::Replace(configs.into_iter().collect());
        alteration(resource.resource_type, &resource.resource_name, change)
    });
    let verdicts = alter(&call, alterations.collect(), request.validate_only).await;
    let responses =
        request.resources.into_iter().zip(verdicts).map(|(resource, (code, message))| AlterConfigsResourceResponse {
            error_code: code,
            error_message: message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        });
    let response = AlterConfigsResponse { responses: responses.collect(), ..AlterConfigsResponse::default() };
    call.answer(&response)
}

/// A change of one resource, or why there can be none.
pub fn alteration(kind: i8, name: &str, change: ConfigChange) -> Result<ResourceAlteration, String> {
    match config_resources::resource(kind, name) {
        Ok(resource) => Ok(ResourceAlteration { resource, change }),
        Err(unknown) => Err(unknown.message()),
    }
}

/// Hands the good ones to the broker; verdicts are in the order of the request.
pub async fn alter(
    call: &Call,
    alterations: Vec<Result<ResourceAlteration, String>>,
    validate_only: bool,
) -> Vec<Verdict> {
    let good = alterations.iter().filter_map(|one| one.as_ref().ok().cloned()).collect();
    let mut results = call.session.alter_configs(good, words::mode(validate_only)).await.into_iter();
    let verdict = |one: Result<ResourceAlteration, String>| match one {
        Ok(_) => match results.next() {
            Some(Ok(())) => (error_map::NONE, None),
            Some(Err(error)) => (error_map::code(&error), error_map::message(&error)),
            None => (error_map::INVALID_REQUEST, None),
        },
        Err(message) => (error_map::INVALID_REQUEST, error_map::message(&message)),
    };
    alterations.into_iter().map(verdict).collect()
}
