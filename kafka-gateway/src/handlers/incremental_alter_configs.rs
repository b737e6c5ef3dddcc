//! IncrementalAlterConfigs: sets, deletes, and list edits of single configs (KIP-339).

use rustmq_broker_service::{ConfigChange, ConfigEdit, EditOperation, ResourceAlteration};
use rustmq_kafka_codec_messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use rustmq_kafka_codec_messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use rustmq_kafka_codec_messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::alter_configs::{alter, alteration};
use crate::call::{Call, CallError, Handling};

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: IncrementalAlterConfigsRequest = call.decode()?;
    let alterations = request.resources.iter().map(resource_alteration).collect();
    let verdicts = alter(&call, alterations, request.validate_only).await;
    let responses =
        request.resources.into_iter().zip(verdicts).map(|(resource, (code, message))| AlterConfigsResourceResponse {
            error_code: code,
            error_message: message,
            resource_type: resource.resource_type,
            resource_name: resource.resource_name,
        });
    let response = IncrementalAlterConfigsResponse {
        responses: responses.collect(),
        ..IncrementalAlterConfigsResponse::default()
    };
    call.answer(&response)
}

fn resource_alteration(resource: &AlterConfigsResource) -> Result<ResourceAlteration, String> {
    let edits = resource.configs.iter().map(edit).collect::<Result<_, _>>()?;
    alteration(resource.resource_type, &resource.resource_name, ConfigChange::Edit(edits))
}

/// The operations are codes of Kafka's `OpType`.
fn edit(config: &AlterableConfig) -> Result<ConfigEdit, String> {
    let value = || {
        let missing = || format!("The config {} is changed without a value.", config.name.as_str());
        config.value.as_deref().map(str::to_owned).ok_or_else(missing)
    };
    let operation = match config.config_operation {
        0 => EditOperation::Set(value()?),
        1 => EditOperation::Delete,
        2 => EditOperation::Append(value()?),
        3 => EditOperation::Subtract(value()?),
        code => return Err(format!("Config operation {code} does not exist.")),
    };
    Ok(ConfigEdit { name: config.name.clone(), operation })
}
