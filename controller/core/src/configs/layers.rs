//! Where a value comes from: the layers that a config is looked up through, the nearest first.
//!
//! Topic override, then dynamic config of the broker, dynamic default, static config, the broker's
//! own default, catalogue.

use std::borrow::Cow;

use rustmq_model::{BrokerId, TopicName};

use super::entry::{ConfigEntry, ConfigKind, TopicConfigEntry, Update};
use super::{TOPIC_CONFIGS, broker_configs, topic_config};
use crate::{ClusterState, Configs};

/// What a broker's process brings, under the names of broker-wide configs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StaticConfigs {
    /// What its configuration file or environment sets.
    pub set: Configs,
    /// What is in force where nothing is set, if that is not the catalogue's default: what the
    /// process works out, such as its id.
    pub own: Configs,
}

impl From<Configs> for StaticConfigs {
    fn from(set: Configs) -> Self {
        Self { set, own: Configs::new() }
    }
}

/// What is set where, as one broker sees it.
#[derive(Clone, Copy, Debug)]
pub struct ConfigLayers<'a> {
    topic: Option<&'a Configs>,
    broker: Option<&'a Configs>,
    broker_defaults: &'a Configs,
    static_configs: &'a StaticConfigs,
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
    /// The layers that the configs of a broker itself are looked up through.
    #[must_use]
    pub fn broker_layers<'a>(&'a self, broker: BrokerId, static_configs: &'a StaticConfigs) -> ConfigLayers<'a> {
        let broker = self.broker_configs(broker);
        ConfigLayers { topic: None, broker, broker_defaults: self.broker_defaults(), static_configs }
    }

    /// The layers that the configs of a topic are looked up through on a broker. None if there is
    /// no such topic.
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
        broker_configs().iter().map(|entry| self.describe_broker_config(entry)).collect()
    }

    /// The value in force of a topic config, in the topic config's unit, and where it is set. None
    /// for a name that does not exist.
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
        let default = || super::broker_config(name).and_then(|entry| self.default_of(entry));
        self.set_values(name).next().map(|(value, _)| value).or_else(default)
    }

    /// The value of a broker-wide config where nothing is set.
    fn default_of(&self, entry: &'static ConfigEntry) -> Option<&'a str> {
        self.static_configs.own.get(entry.name).map(String::as_str).or(entry.default)
    }

    /// What is set under a broker-wide name, the nearest first.
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

/// A value in another unit. Negative ones, which mean "none", stay.
fn scaled(value: &str, factor: i64) -> Cow<'_, str> {
    match value.trim().parse::<i64>() {
        Ok(number) if factor != 1 && number >= 0 => Cow::Owned(number.saturating_mul(factor).to_string()),
        Ok(_) | Err(_) => Cow::Borrowed(value),
    }
}
