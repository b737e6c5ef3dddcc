//! The layers of configs: a lookup takes the value of the nearest layer that has one.
//!
//! The layers from the nearest on: override of a topic or a group, dynamic config of the broker,
//! dynamic default of all brokers, static config, the process's own default, catalogue.

use std::borrow::Cow;

use rustmq_model::{BrokerId, TopicName};

use super::entry::{ConfigEntry, ConfigKind, ScopedConfigEntry, Update};
use super::{GROUP_CONFIGS, GroupConfigEntry, TOPIC_CONFIGS, broker_configs, topic_config};
use crate::{ClusterState, Configs};

/// The static configs of a broker's process, by the names of broker-wide configs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticConfigs {
    /// The values from the configuration file and the environment.
    pub set: Configs,
    /// Defaults of the process that replace those of the catalogue: values that the process
    /// derives, such as its id.
    pub own: Configs,
}

impl From<Configs> for StaticConfigs {
    fn from(set: Configs) -> Self {
        Self { set, own: Configs::new() }
    }
}

/// All layers, for one broker.
#[derive(Clone, Copy, Debug)]
pub struct ConfigLayers<'a> {
    /// The explicit configs of a topic or a group.
    own: Option<Own<'a>>,
    broker: Option<&'a Configs>,
    broker_defaults: &'a Configs,
    static_configs: &'a StaticConfigs,
}

#[derive(Clone, Copy, Debug)]
struct Own<'a> {
    configs: &'a Configs,
    source: ConfigSource,
}

/// The layer that a value is set in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    DynamicTopic,
    DynamicGroup,
    DynamicBroker,
    DynamicBrokerDefault,
    StaticBroker,
    Default,
}

/// A value in one layer, with its name in that layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    /// None if it is sensitive.
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// One config as DescribeConfigs shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    pub name: &'static str,
    /// None if the config has no value, or if it is sensitive.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub sensitive: bool,
    pub kind: ConfigKind,
    pub documentation: String,
    /// From the nearest layer on: the first value is in force.
    pub synonyms: Vec<Synonym>,
}

impl ClusterState {
    /// The layers of a broker's own configs.
    #[must_use]
    pub fn broker_layers<'a>(&'a self, broker: BrokerId, static_configs: &'a StaticConfigs) -> ConfigLayers<'a> {
        let broker = self.broker_configs(broker);
        ConfigLayers { own: None, broker, broker_defaults: self.broker_defaults(), static_configs }
    }

    /// The layers of a topic's configs on a broker. None if the topic does not exist.
    #[must_use]
    pub fn topic_layers<'a>(
        &'a self,
        topic: &TopicName,
        broker: BrokerId,
        static_configs: &'a StaticConfigs,
    ) -> Option<ConfigLayers<'a>> {
        let topic = self.topic(topic.as_str())?;
        Some(self.broker_layers(broker, static_configs).under_topic(&topic.configs))
    }

    /// The layers of a group's configs on a broker. The group need not exist.
    #[must_use]
    pub fn group_layers<'a>(
        &'a self,
        group: &str,
        broker: BrokerId,
        static_configs: &'a StaticConfigs,
    ) -> ConfigLayers<'a> {
        let own = Own { configs: self.group_configs(group), source: ConfigSource::DynamicGroup };
        ConfigLayers { own: Some(own), ..self.broker_layers(broker, static_configs) }
    }
}

impl<'a> ConfigLayers<'a> {
    /// The same layers under the explicit configs of a topic, which need not exist.
    #[must_use]
    pub const fn under_topic(self, configs: &'a Configs) -> Self {
        Self { own: Some(Own { configs, source: ConfigSource::DynamicTopic }), ..self }
    }

    /// Every topic config, by name.
    #[must_use]
    pub fn describe_topic(&self) -> Vec<DescribedConfig> {
        TOPIC_CONFIGS.iter().map(|config| self.describe_scoped_config(config)).collect()
    }

    /// Every config of groups, by name.
    #[must_use]
    pub fn describe_group(&self) -> Vec<DescribedConfig> {
        GROUP_CONFIGS.iter().map(|group| self.describe_scoped_config(&group.config)).collect()
    }

    /// Every broker-wide config, by name.
    #[must_use]
    pub fn describe_broker(&self) -> Vec<DescribedConfig> {
        broker_configs().iter().map(|entry| self.describe_broker_config(entry)).collect()
    }

    /// The value in force of a topic config, in the topic config's unit, with its source. None for
    /// an unknown name.
    #[must_use]
    pub fn topic_value(&self, name: &str) -> Option<(Cow<'a, str>, ConfigSource)> {
        self.scoped_value(topic_config(name)?)
    }

    fn scoped_value(&self, config: &ScopedConfigEntry) -> Option<(Cow<'a, str>, ConfigSource)> {
        if let Some((value, source)) = self.own_value(config.entry.name) {
            return Some((Cow::Borrowed(value), source));
        }
        for synonym in config.synonyms {
            if let Some((value, source)) = self.set_values(synonym.name).next() {
                return Some((scaled(value, synonym.factor), source));
            }
        }
        config.entry.default.map(|value| (Cow::Borrowed(value), ConfigSource::Default))
    }

    /// The value in force of a broker-wide config. None if it has no value, or for an unknown name.
    #[must_use]
    pub fn broker_value(&self, name: &str) -> Option<&'a str> {
        let default = || super::broker_config(name).and_then(|entry| self.default_of(entry));
        self.set_values(name).next().map(|(value, _)| value).or_else(default)
    }

    /// The broker-wide values that configs of groups depend on, where they are set.
    #[must_use]
    pub fn broker_values_for_groups(&self) -> Configs {
        let names = GROUP_CONFIGS.iter().flat_map(GroupConfigEntry::broker_names);
        let set = names.filter_map(|name| Some((name.to_owned(), self.set_values(name).next()?.0.to_owned())));
        set.collect()
    }

    /// The explicit configs of the topic or the group.
    pub(super) fn own_configs(&self) -> &'a Configs {
        static NONE: Configs = Configs::new();
        self.own.map_or(&NONE, |own| own.configs)
    }

    fn own_value(&self, name: &str) -> Option<(&'a str, ConfigSource)> {
        let own = self.own?;
        Some((own.configs.get(name)?, own.source))
    }

    /// The default of a broker-wide config.
    fn default_of(&self, entry: &'static ConfigEntry) -> Option<&'a str> {
        self.static_configs.own.get(entry.name).map(String::as_str).or(entry.default)
    }

    /// The values that are set under a broker-wide name, from the nearest layer on.
    fn set_values(&self, name: &str) -> impl Iterator<Item = (&'a str, ConfigSource)> + use<'a> {
        [
            (self.broker, ConfigSource::DynamicBroker),
            (Some(self.broker_defaults), ConfigSource::DynamicBrokerDefault),
            (Some(&self.static_configs.set), ConfigSource::StaticBroker),
        ]
        .map(|(layer, source)| (layer.and_then(|configs| configs.get(name)), source))
        .into_iter()
        .filter_map(|(value, source)| value.map(|value| (value.as_str(), source)))
    }

    fn describe_scoped_config(&self, config: &ScopedConfigEntry) -> DescribedConfig {
        let entry = &config.entry;
        let mut synonyms = Vec::new();
        if let Some((value, source)) = self.own_value(entry.name) {
            synonyms.push(Synonym { name: entry.name, value: Some(value.to_owned()), source });
        }
        for (index, synonym) in config.synonyms.iter().enumerate() {
            let set = self.set_values(synonym.name);
            synonyms.extend(set.map(|(value, source)| Synonym {
                name: synonym.name,
                value: Some(value.to_owned()),
                source,
            }));
            // As on Kafka, only the first broker-wide name shows its default.
            let default = super::broker_config(synonym.name).and_then(|entry| entry.default).filter(|_| index == 0);
            synonyms.extend(default.map(|value| Synonym {
                name: synonym.name,
                value: Some(value.to_owned()),
                source: ConfigSource::Default,
            }));
        }
        let (value, source) = self.scoped_value(config).expect("the catalogue gives each of these configs a default");
        described(entry, Some(value.into_owned()), source, synonyms)
    }

    fn describe_broker_config(&self, entry: &'static ConfigEntry) -> DescribedConfig {
        let hide = |value: &str| (!entry.sensitive).then(|| value.to_owned());
        let set = self.set_values(entry.name);
        let default = self.default_of(entry).map(|value| (value, ConfigSource::Default));
        let synonyms: Vec<Synonym> = set
            .chain(default)
            .map(|(value, source)| Synonym { name: entry.name, value: hide(value), source })
            .collect();
        let source = synonyms.first().map_or(ConfigSource::Default, |synonym| synonym.source);
        let value = synonyms.first().and_then(|synonym| synonym.value.clone());
        described(entry, value, source, synonyms)
    }
}

fn described(
    entry: &ConfigEntry,
    value: Option<String>,
    source: ConfigSource,
    synonyms: Vec<Synonym>,
) -> DescribedConfig {
    DescribedConfig {
        name: entry.name,
        value,
        source,
        read_only: entry.update == Update::ReadOnly,
        sensitive: entry.sensitive,
        kind: entry.kind,
        documentation: entry.documentation(),
        synonyms,
    }
}

/// Converts a value to another unit. Negative values, which mean "none", stay.
fn scaled(value: &str, factor: i64) -> Cow<'_, str> {
    match value.trim().parse::<i64>() {
        Ok(number) if factor != 1 && number >= 0 => Cow::Owned(number.saturating_mul(factor).to_string()),
        Ok(_) | Err(_) => Cow::Borrowed(value),
    }
}
