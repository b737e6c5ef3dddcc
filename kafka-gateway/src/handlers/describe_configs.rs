//! DescribeConfigs: every config with its value, source, synonyms and documentation.

use std::collections::BTreeSet;

use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{DescribeConfigsRequest, DescribeConfigsResponse};
use rustmq_broker_service::{ConfigKind, ConfigQuery, ConfigSource, DescribedConfig};

use crate::call::{Call, CallError, Handling};
use crate::config_resources;
use crate::error_map;
use crate::words;

const TYPES_FROM: i16 = 3;

/// Which details the client asks for.
#[derive(Clone, Copy)]
struct Details {
    synonyms: bool,
    documentation: bool,
    kind: bool,
}

pub async fn handle(call: Call) -> Result<Handling, CallError> {
    let request: DescribeConfigsRequest = call.decode()?;
    let details = Details {
        synonyms: request.include_synonyms,
        documentation: request.include_documentation,
        kind: call.version() >= TYPES_FROM,
    };
    let mut results = Vec::new();
    // Each once: a short request must not make an answer without bounds.
    let mut seen = BTreeSet::new();
    for asked in request.resources {
        let name = config_resources::one_name(asked.resource_type, &asked.resource_name);
        if !seen.insert((asked.resource_type, name)) {
            continue;
        }
        // None of them stands for all, as a null does.
        let names = asked.configuration_keys.filter(|names| !names.is_empty());
        let names = names.map(|names| names.iter().map(ToString::to_string).collect());
        let answer = match config_resources::resource(asked.resource_type, asked.resource_name.as_str()) {
            Ok(resource) => match call.shared.broker.describe_configs(&[ConfigQuery { resource, names }]).pop() {
                Some(Ok(configs)) => {
                    let configs = configs.iter().map(|config| entry(config, details));
                    DescribeConfigsResult::default().with_error_message(None).with_configs(configs.collect())
                }
                Some(Err(error)) => DescribeConfigsResult::default()
                    .with_error_code(error_map::code(&error))
                    .with_error_message(error_map::message(&error)),
                None => DescribeConfigsResult::default().with_error_code(error_map::INVALID_REQUEST),
            },
            Err(unknown) => DescribeConfigsResult::default()
                .with_error_code(error_map::INVALID_REQUEST)
                .with_error_message(Some(words::text(unknown.message()))),
        };
        results.push(answer.with_resource_type(asked.resource_type).with_resource_name(asked.resource_name));
    }
    call.answer(&DescribeConfigsResponse::default().with_results(results))
}

fn entry(config: &DescribedConfig, details: Details) -> DescribeConfigsResourceResult {
    let synonyms = config.synonyms.iter().filter(|_| details.synonyms).map(|synonym| {
        DescribeConfigsSynonym::default()
            .with_name(words::text(synonym.name))
            .with_value(synonym.value.as_deref().map(words::text))
            .with_source(source_code(synonym.source))
    });
    let documentation = details.documentation.then(|| words::text(config.documentation.as_str()));
    DescribeConfigsResourceResult::default()
        .with_name(words::text(config.name))
        .with_value(config.value.as_deref().map(words::text))
        .with_read_only(config.read_only)
        .with_config_source(source_code(config.source))
        .with_is_sensitive(config.sensitive)
        .with_synonyms(synonyms.collect())
        .with_config_type(if details.kind { kind_code(config.kind) } else { 0 })
        .with_documentation(documentation)
}

/// The codes of Kafka's `ConfigSource`.
pub const fn source_code(source: ConfigSource) -> i8 {
    match source {
        ConfigSource::DynamicTopic => 1,
        ConfigSource::DynamicBroker => 2,
        ConfigSource::DynamicBrokerDefault => 3,
        ConfigSource::StaticBroker => 4,
        ConfigSource::Default => 5,
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
