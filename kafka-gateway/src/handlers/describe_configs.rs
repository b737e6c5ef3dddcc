//! DescribeConfigs: configs with their values, sources, synonyms and documentation.

use std::collections::BTreeSet;

use rustmq_broker_service::{ConfigKind, ConfigQuery, ConfigSource, DescribedConfig};
use rustmq_kafka_codec_messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use rustmq_kafka_codec_messages::{DescribeConfigsRequest, DescribeConfigsResponse};

use crate::call::{Call, CallError, Handling, RequestBody};
use crate::config_resources;
use crate::error_map;

/// The details that the client asks for.
#[derive(Clone, Copy)]
struct Details {
    synonyms: bool,
    documentation: bool,
}

pub async fn handle(call: Call, body: RequestBody) -> Result<Handling, CallError> {
    let request: DescribeConfigsRequest = call.decode(body)?;
    let details = Details { synonyms: request.include_synonyms, documentation: request.include_documentation };
    let mut results = Vec::new();
    // Each resource is described once, so that a short request has no long answer.
    let mut seen = BTreeSet::new();
    for asked in request.resources {
        let name = config_resources::canonical_name(asked.resource_type, &asked.resource_name);
        if !seen.insert((asked.resource_type, name)) {
            continue;
        }
        // An empty list stands for all configs, as a null does.
        let names = asked.configuration_keys.filter(|names| !names.is_empty());
        let names = names.map(|names| names.iter().map(ToString::to_string).collect());
        let answer = match config_resources::resource(asked.resource_type, &asked.resource_name) {
            Ok(resource) => match call.session.describe_configs(&[ConfigQuery { resource, names }]).pop() {
                Some(Ok(configs)) => {
                    let configs = configs.iter().map(|config| entry(config, details));
                    DescribeConfigsResult {
                        error_message: None,
                        configs: configs.collect(),
                        ..DescribeConfigsResult::default()
                    }
                }
                Some(Err(error)) => DescribeConfigsResult {
                    error_code: error_map::code(&error),
                    error_message: error_map::message(&error),
                    ..DescribeConfigsResult::default()
                },
                None => {
                    DescribeConfigsResult { error_code: error_map::INVALID_REQUEST, ..DescribeConfigsResult::default() }
                }
            },
            Err(unknown) => DescribeConfigsResult {
                error_code: error_map::INVALID_REQUEST,
                error_message: error_map::message(&unknown),
                ..DescribeConfigsResult::default()
            },
        };
        results.push(DescribeConfigsResult {
            resource_type: asked.resource_type,
            resource_name: asked.resource_name,
            ..answer
        });
    }
    call.answer(&DescribeConfigsResponse { results, ..DescribeConfigsResponse::default() })
}

fn entry(config: &DescribedConfig, details: Details) -> DescribeConfigsResourceResult {
    let synonyms = config.synonyms.iter().filter(|_| details.synonyms).map(|synonym| DescribeConfigsSynonym {
        name: synonym.name.to_owned(),
        value: synonym.value.clone(),
        source: source_code(synonym.source),
    });
    let documentation = details.documentation.then(|| config.documentation.clone());
    DescribeConfigsResourceResult {
        name: config.name.to_owned(),
        value: config.value.clone(),
        read_only: config.read_only,
        config_source: source_code(config.source),
        is_sensitive: config.sensitive,
        synonyms: synonyms.collect(),
        config_type: kind_code(config.kind),
        documentation,
    }
}

/// The codes of Kafka's `ConfigSource`.
pub const fn source_code(source: ConfigSource) -> i8 {
    match source {
        ConfigSource::DynamicTopic => 1,
        ConfigSource::DynamicBroker => 2,
        ConfigSource::DynamicBrokerDefault => 3,
        ConfigSource::StaticBroker => 4,
        ConfigSource::Default => 5,
        ConfigSource::DynamicGroup => 8,
    }
}

/// The codes of Kafka's `ConfigType`.
const fn kind_code(kind: ConfigKind) -> i8 {
    match kind {
        ConfigKind::Boolean => 1,
        ConfigKind::String => 2,
        ConfigKind::Int => 3,
        ConfigKind::Short => 4,
        ConfigKind::Long => 5,
        ConfigKind::Double => 6,
        ConfigKind::List => 7,
        ConfigKind::Class => 8,
        ConfigKind::Password => 9,
    }
}
