//! ListConfigResources: the resources that have configs. Version 0 lists client metrics only, and
//! RustMQ has none.

use rustmq_kafka_codec_messages::list_config_resources_response::ConfigResource;
use rustmq_kafka_codec_messages::{ListConfigResourcesRequest, ListConfigResourcesResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::config_resources::{self, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP, TOPIC};
use crate::error_map;

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: ListConfigResourcesRequest = call.decode(body)?;
    let known = [TOPIC, BROKER, BROKER_LOGGER, CLIENT_METRICS, GROUP];
    let asked: &[i8] = match request.resource_types.as_slice() {
        _ if call.version() == 0 => &[CLIENT_METRICS],
        [] => &known,
        asked => asked,
    };
    if !asked.iter().all(|code| known.contains(code)) {
        return call.answer(&ListConfigResourcesResponse {
            error_code: error_map::UNSUPPORTED_VERSION,
            ..ListConfigResourcesResponse::default()
        });
    }
    let resources = call.session.config_resources(&config_resources::kinds(asked)).into_iter().map(|resource| {
        let (code, name) = config_resources::code_and_name(resource);
        ConfigResource { resource_type: code, resource_name: name }
    });
    let response =
        ListConfigResourcesResponse { config_resources: resources.collect(), ..ListConfigResourcesResponse::default() };
    call.answer(&response)
}
