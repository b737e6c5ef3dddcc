//! IncrementalAlterConfigs: sets, deletes, and list edits of single configs (KIP-339).

use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};
use rustmq_broker_service::{ConfigChange, ConfigEdit, EditOperation, ResourceAlteration};

use super::alter_configs::{alter, alteration};
use crate::call::{Call, CallError, Handling};
use crate::words;

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: IncrementalAlterConfigsRequest = call.decode()?;
    let alterations = request.resources.iter().map(resource_alteration).collect();
    let verdicts = alter(&call, alterations, request.validate_only).await;
    let responses = request.resources.into_iter().zip(verdicts).map(|(resource, (code, message))| {
        AlterConfigsResourceResponse::default()
            .with_error_code(code)
            .with_error_message(message.map(words::text))
            .with_resource_type(resource.resource_type)
            .with_resource_name(resource.resource_name)
    });
    let response = IncrementalAlterConfigsResponse::default().with_responses(responses.collect());
    call.answer(&response)
}

fn resource_alteration(resource: &AlterConfigsResource) -> Result<ResourceAlteration, String> {
    let edits = resource.configs.iter().map(edit).collect::<Result<_, _>>()?;
    alteration(resource.resource_type, resource.resource_name.as_str(), ConfigChange::Edit(edits))
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
    Ok(ConfigEdit { name: config.name.to_string(), operation })
}
