//! IncrementalAlterConfigs: sets, deletes, and list edits of single configs (KIP-339).

use rustmq_broker_service::{ConfigChange, ConfigEdit, EditOperation, ResourceAlteration};
use rustmq_kafka_codec_messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rustmq_kafka_codec_messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use rustmq_kafka_codec_messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::alter_configs::{alter, alteration};
use crate::call::{Call, CallError, Handling, RequestBody};
use crate::error_map::ApiError;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: IncrementalAlterConfigsRequest = call.decode(body)?;
    let altered = alter(&call, request.resources, resource_alteration, request.validate_only).await;
    let responses = altered.map(|(resource, (error_code, error_message))| AlterConfigsResourceResponse {
        error_code,
        error_message,
        resource_type: resource.resource_type,
        resource_name: resource.resource_name,
    });
    let response = IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..IncrementalAlterConfigsResponse::default()
    };
    call.answer(&response)
}

fn resource_alteration(resource: &AlterConfigsResource) -> Result<ResourceAlteration, ApiError> {
    let edits = resource.configs.iter().map(edit).collect::<Result<_, _>>()?;
    alteration(resource.resource_type, &resource.resource_name, ConfigChange::Edit(edits))
}

/// The operations have the codes of Kafka's `OpType`.
fn edit(config: &AlterableConfig) -> Result<ConfigEdit, ApiError> {
    let value = || {
        let missing = || format!("The config {} is changed without a value.", config.name);
        config.value.clone().ok_or_else(|| ApiError::invalid_request(&missing()))
    };
    let operation = match config.config_operation {
        0 => EditOperation::Set(value()?),
        1 => EditOperation::Delete,
        2 => EditOperation::Append(value()?),
        3 => EditOperation::Subtract(value()?),
        code => return Err(ApiError::invalid_request(&format_args!("Config operation {code} does not exist."))),
    };
    Ok(ConfigEdit { name: config.name.clone(), operation })
}
