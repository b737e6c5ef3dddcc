//! Where a value comes from: the layers that a config is looked up through, the nearest first.
//!
//! Topic override, then dynamic config of the broker, dynamic default, static config, catalogue.

use std::borrow::Cow;

use rustmq_model::{BrokerId, TopicName};

use super::entry::{ConfigEntry, ConfigKind, TopicConfigEntry, Update};
use super::{BROKER_CONFIGS, TOPIC_CONFIGS, topic_config};
use crate::{ClusterState, Configs};

/// What is set where, as one broker sees it.
#[derive(Clone, Copy, Debug)]
pub struct ConfigLayers<'a> {
    topic: Option<&'a Configs>,
    broker: Option<&'a Configs>,
    broker_defaults: &'a Configs,
    static_configs: &'a Configs,
}

/// The layer that a value is set in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigSource {
    DynamicTopic,
    DynamicBroker,
    DynamicBrokerDefault,
    StaticBroker,
    Default,
}

/// A place that a value could come from, under the name that it has there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym {
    pub name: &'static str,
    /// None if it is sensitive.
    pub value: Option<String>,
    pub source: ConfigSource,
}

/// One config as DescribeConfigs tells of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedConfig {
    pub name: &'static str,
    /// None if nothing is set, or if it is sensitive.
    pub value: Option<String>,
    pub source: ConfigSource,
    pub read_only: bool,
    pub sensitive: bool,
    pub kind: ConfigKind,
    pub documentation: String,
    /// The nearest first: the first one's value is in force.
    pub synonyms: Vec<Synonym>,
}

impl ClusterState {
    /// The layers that the configs of a broker itself are looked up through. `static_configs` is the broker's `[kafka]` section.
    #[must_use]
    pub fn broker_layers<'a>(&'a self, broker: BrokerId, static_configs: &'a Configs) -> ConfigLayers<'a> {
        let broker = self.broker_configs(broker);
        ConfigLayers { topic: None, broker, broker_defaults: self.broker_defaults(), static_configs }
    }

    /// The layers that the configs of a topic are looked up through on a broker. None if there is no such topic.
    #[must_use]
    pub fn topic_layers<'a>(
        &'a self,
        topic: &TopicName,
        broker: BrokerId,
        static_configs: &'a Configs,
    ) -> Option<ConfigLayers<'a>> {
        let topic = self.topic(topic.as_str())?;
        Some(self.broker_layers(broker, static_configs).under_topic(&topic.configs))
    }
}

impl<'a> ConfigLayers<'a> {
    /// The same layers under the explicit configs of a topic, which need not exist.
    #[must_use]
    pub const fn under_topic(self, configs: &'a Configs) -> Self {
        Self { topic: Some(configs), ..self }
    }

    /// Every topic config, by name.
    #[must_use]
    pub fn describe_topic(&self) -> Vec<DescribedConfig> {
        TOPIC_CONFIGS.iter().map(|config| self.describe_topic_config(config)).collect()
    }

    /// Every broker-wide config, by name.
    #[must_use]
    pub fn describe_broker(&self) -> Vec<DescribedConfig> {
        BROKER_CONFIGS.iter().map(|entry| self.describe_broker_config(entry)).collect()
    }

    /// The value in force of a topic config, in the topic config's unit, and where it is set. None for a name that does not exist.
    #[must_use]
    pub fn topic_value(&self, name: &str) -> Option<(Cow<'a, str>, ConfigSource)> {
        let config = topic_config(name)?;
        if let Some(value) = self.topic.and_then(|configs| configs.get(name)) {
            return Some((Cow::Borrowed(value), ConfigSource::DynamicTopic));
        }
        for synonym in config.synonyms {
            if let Some((value, source)) = self.set_values(synonym.name).next() {
                return Some((scaled(value, synonym.factor), source));
            }
        }
        config.entry.default.map(|value| (Cow::Borrowed(value), ConfigSource::Default))
    }

    /// The value in force of a broker-wide config. None if it has none, or does not exist.
    #[must_use]
    pub fn broker_value(&self, name: &str) -> Option<&'a str> {
        let default = || super::broker_config(name).and_then(|entry| entry.default);
        self.set_values(name).next().map(|(value, _)| value).or_else(default)
    }

    /// What is set under a broker-wide name, the nearest first.
    fn set_values(&self, name: &str) -> impl Iterator<Item = (&'a str, ConfigSource)> + use<'a> {
        [
            (self.broker, ConfigSource::DynamicBroker),
            (Some(self.broker_defaults), ConfigSource::DynamicBrokerDefault),
            (Some(self.static_configs), ConfigSource::StaticBroker),
        ]
        .map(|(layer, source)| (layer.and_then(|configs| configs.get(name)), source))
        .into_iter()
        .filter_map(|(value, source)| value.map(|value| (value.as_str(), source)))
    }

    fn describe_topic_config(&self, config: &TopicConfigEntry) -> DescribedConfig {
        let entry = &config.entry;
        let mut synonyms = Vec::new();
        if let Some(value) = self.topic.and_then(|configs| configs.get(entry.name)) {
            let source = ConfigSource::DynamicTopic;
            synonyms.push(Synonym { name: entry.name, value: Some(value.clone()), source });
        }
        for (index, synonym) in config.synonyms.iter().enumerate() {
            let set = self.set_values(synonym.name);
            synonyms.extend(set.map(|(value, source)| Synonym {
                name: synonym.name,
                value: Some(value.to_owned()),
                source,
            }));
            // As Kafka does: only the first broker-wide name tells of its default.
            let default = super::broker_config(synonym.name).and_then(|entry| entry.default).filter(|_| index == 0);
            synonyms.extend(default.map(|value| Synonym {
                name: synonym.name,
                value: Some(value.to_owned()),
                source: ConfigSource::Default,
            }));
        }
        let (value, source) = self.topic_value(entry.name).expect("the catalogue gives every topic config a default");
        described(entry, Some(value.into_owned()), source, synonyms)
    }

    fn describe_broker_config(&self, entry: &'static ConfigEntry) -> DescribedConfig {
        let hide = |value: &str| (!entry.sensitive).then(|| value.to_owned());
        let set = self.set_values(entry.name);
        let default = entry.default.map(|value| (value, ConfigSource::Default));
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

/// A value in another unit. Negative ones, which mean "none", stay.
fn scaled(value: &str, factor: i64) -> Cow<'_, str> {
    match value.trim().parse::<i64>() {
        Ok(number) if factor != 1 && number >= 0 => Cow::Owned(number.saturating_mul(factor).to_string()),
        Ok(_) | Err(_) => Cow::Borrowed(value),
    }
}
