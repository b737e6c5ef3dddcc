//! The catalogue of topic, group and broker-wide configs under Kafka's own names, as Apache Kafka
//! 4.4 lists them, with validation, effective values and their sources, and descriptions.
//!
//! It keeps no values: dynamic values are in [`crate::ClusterState`], static ones in the node's
//! `[kafka]` section.

mod broker;
mod effective;
mod entry;
mod error;
mod group;
mod layers;
mod rule;
mod topic;

use std::borrow::Cow;
use std::collections::BTreeMap;

pub use broker::broker_configs;
pub use effective::{CleanupPolicy, EffectiveBrokerConfig, EffectiveGroupConfig, EffectiveTopicConfig, TimestampType};
pub use entry::{ConfigEntry, ConfigKind, Effect, ScopedConfigEntry, Update};
pub use error::{ConfigError, InvalidConfigReason};
pub use group::{GROUP_CONFIGS, GroupConfigEntry};
pub use layers::{ConfigLayers, ConfigSource, DescribedConfig, StaticConfigs, Synonym};
pub use topic::TOPIC_CONFIGS;

use crate::{ConfigResource, Configs};

/// The most bytes of a config's value, as in Kafka. Configs are part of the cluster's state, which
/// every node holds in memory.
pub const VALUE_BYTES_MAX: usize = 32_767;

/// The brokers that a dynamic config is set for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    EveryBroker,
    OneBroker,
}

/// The entry of a topic config.
#[must_use]
pub fn topic_config(name: &str) -> Option<&'static ScopedConfigEntry> {
    let index = TOPIC_CONFIGS.binary_search_by_key(&name, |config| config.entry.name).ok()?;
    Some(&TOPIC_CONFIGS[index])
}

/// The entry of a config of groups.
#[must_use]
pub fn group_config(name: &str) -> Option<&'static GroupConfigEntry> {
    GROUP_CONFIGS.iter().find(|group| group.config.entry.name == name)
}

/// The entry of a broker-wide config.
#[must_use]
pub fn broker_config(name: &str) -> Option<&'static ConfigEntry> {
    let entries = broker_configs();
    let index = entries.binary_search_by_key(&name, |entry| entry.name).ok()?;
    Some(&entries[index])
}

/// Checks one explicit config of a topic. Returns the value in the form in which it is kept.
///
/// # Errors
/// [`ConfigError`] for an unknown name, or for a value that breaks the rule of its config.
pub fn parse_topic_config(name: &str, value: &str) -> Result<String, ConfigError> {
    let config = topic_config(name).ok_or_else(|| unknown_topic_config(name))?;
    config.entry.parse(value)
}

/// Checks the rules that concern several explicit configs of a topic.
///
/// # Errors
/// [`ConfigError`] for the first config that conflicts with another one.
pub fn check_topic_configs_together(configs: &Configs) -> Result<(), ConfigError> {
    let value = |name: &str| {
        let default = topic_config(name).and_then(|config| config.entry.default);
        configs.get(name).map(String::as_str).or(default).and_then(|value| value.trim().parse::<i64>().ok())
    };
    let (least, most) = ("min.compaction.lag.ms", "max.compaction.lag.ms");
    if value(least) > value(most) {
        let reason = InvalidConfigReason::must_be(format!("no greater than {most}"));
        return Err(ConfigError::new(least, configs.get(least).map(String::as_str), reason));
    }
    Ok(())
}

/// Checks one explicit config of a group. Returns the value in the form in which it is kept.
///
/// # Errors
/// [`ConfigError`] for an unknown name, or for a value that breaks the rule of its config.
pub fn parse_group_config(name: &str, value: &str) -> Result<String, ConfigError> {
    let group = group_config(name).ok_or_else(|| unknown_group_config(name))?;
    group.config.entry.parse(value)
}

/// Checks the explicit configs of a group against each other, and against the broker's bounds.
/// `broker_values` has the broker-wide values that are set
/// ([`ConfigLayers::broker_values_for_groups`]).
///
/// # Errors
/// [`ConfigError`] for the first config that is out of bounds, or that conflicts with another one.
pub fn check_group_configs_together(configs: &Configs, broker_values: &Configs) -> Result<(), ConfigError> {
    group::BrokerValues(broker_values).check(configs)
}

/// Checks the rules that concern several broker-wide configs of one layer.
/// [`EffectiveBrokerConfig`] handles conflicts between layers.
///
/// # Errors
/// [`ConfigError`] for the first config that conflicts with another one.
pub fn check_broker_configs_together(configs: &Configs) -> Result<(), ConfigError> {
    let (bound, overrides) = ("max.connections.per.ip", "max.connections.per.ip.overrides");
    let per_address = configs.get(bound).and_then(|value| value.parse().ok());
    let of_addresses = configs.get(overrides).map_or_else(BTreeMap::new, |value| rule::bounds_of_addresses(value));
    if per_address.is_some_and(|per_address| rule::keep_everybody_out(per_address, &of_addresses)) {
        let legal = format!("at least 1 unless {overrides}, set beside it, lets some address connect");
        let reason = InvalidConfigReason::must_be(legal);
        return Err(ConfigError::new(bound, configs.get(bound).map(String::as_str), reason));
    }
    Ok(())
}

/// Checks a static broker-wide config, from the configuration file or the environment. Returns the
/// value in the form in which it is kept.
///
/// # Errors
/// [`ConfigError`] for an unknown name, for a config that a file may not set, or for an illegal
/// value.
pub fn parse_static_broker_config(name: &str, value: &str) -> Result<String, ConfigError> {
    let entry = broker_config(name).ok_or_else(|| unknown_broker_config(name))?;
    let legal: Cow<'static, str> = match entry.effect {
        Effect::Applied | Effect::KeptOnly => return entry.parse(value),
        Effect::Absent => "nothing: RustMQ does not have what it belongs to".into(),
        Effect::RuledBy(setting) => format!("nothing: set {setting} instead").into(),
        Effect::WorkedOut => "nothing: it cannot be set".into(),
    };
    Err(ConfigError::new(name, Some(value), InvalidConfigReason::must_be(legal)))
}

/// Checks a dynamic broker-wide config. Returns the value in the form in which it is kept.
///
/// # Errors
/// [`ConfigError`] for an unknown name, for a config that cannot change in this scope while brokers
/// run, or for an illegal value.
pub fn parse_broker_config(name: &str, value: &str, scope: Scope) -> Result<String, ConfigError> {
    let entry = broker_config(name).ok_or_else(|| unknown_broker_config(name))?;
    let refuse = |reason| Err(ConfigError::new(name, Some(value), InvalidConfigReason::NotSettable(reason)));
    match (entry.update, scope) {
        (Update::ReadOnly, _) => refuse("it cannot be changed while the broker runs"),
        (Update::PerListener, _) => {
            refuse("it can be set for one listener at a time only, and no listener has such a config")
        }
        (Update::PerBroker, Scope::EveryBroker) => refuse("it can be set for one broker at a time only"),
        (Update::PerBroker, Scope::OneBroker) | (Update::ClusterWide, _) => entry.parse(value),
    }
}

/// The default of a list config; an error for a config that is no list.
///
/// # Errors
/// [`ConfigError`] for an unknown name, or for a config that is no list.
pub fn list_default(resource: &ConfigResource, name: &str) -> Result<&'static str, ConfigError> {
    let entry = entry_of(resource, name)?;
    if entry.kind != ConfigKind::List {
        let reason = "items can be added to and removed from a list only";
        return Err(ConfigError::new(name, None, InvalidConfigReason::NotSettable(reason)));
    }
    Ok(entry.default.unwrap_or(""))
}

fn entry_of(resource: &ConfigResource, name: &str) -> Result<&'static ConfigEntry, ConfigError> {
    match resource {
        ConfigResource::Topic(_) => {
            topic_config(name).map(|config| &config.entry).ok_or_else(|| unknown_topic_config(name))
        }
        ConfigResource::Group(_) => {
            group_config(name).map(|group| &group.config.entry).ok_or_else(|| unknown_group_config(name))
        }
        ConfigResource::BrokerDefault | ConfigResource::Broker(_) => {
            broker_config(name).ok_or_else(|| unknown_broker_config(name))
        }
    }
}

fn unknown_topic_config(name: &str) -> ConfigError {
    ConfigError::new(name, None, InvalidConfigReason::NotSettable("there is no topic config of this name"))
}

fn unknown_group_config(name: &str) -> ConfigError {
    ConfigError::new(name, None, InvalidConfigReason::NotSettable("there is no group config of this name"))
}

fn unknown_broker_config(name: &str) -> ConfigError {
    ConfigError::new(name, None, InvalidConfigReason::NotSettable("there is no broker config of this name"))
}

#[cfg(test)]
mod tests;
