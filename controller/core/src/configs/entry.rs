//! One line of the catalogue.

use super::ConfigError;
use super::rule::Rule;

/// A config: its name, form and meaning. Where it is set is not known here.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ConfigEntry {
    pub name: &'static str,
    pub kind: ConfigKind,
    /// None prints as null: nothing applies unless it is set.
    pub default: Option<&'static str>,
    pub(super) rule: Rule,
    pub effect: Effect,
    pub update: Update,
    /// Described without its value.
    pub sensitive: bool,
    pub(super) text: &'static str,
}

/// A config of topics, and the broker-wide configs that it follows where it is not set.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TopicConfigEntry {
    pub entry: ConfigEntry,
    /// The first that is set counts.
    pub synonyms: &'static [BrokerSynonym],
}

/// A broker-wide config behind a topic config.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokerSynonym {
    pub name: &'static str,
    /// What one unit of it is in units of the topic config: 3,600,000 for hours behind milliseconds.
    pub factor: i64,
}

/// The form of a value, as DescribeConfigs names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConfigKind {
    Boolean,
    String,
    Int,
    Short,
    Long,
    Double,
    List,
}

/// Whether RustMQ does anything with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Applied,
    /// Accepted, kept and described, since tools insist on it; the documentation says so.
    KeptOnly,
}

/// Whether a broker-wide config can be changed while brokers run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    ReadOnly,
    PerBroker,
    ClusterWide,
}

impl ConfigEntry {
    pub(super) const fn new(
        name: &'static str,
        kind: ConfigKind,
        default: Option<&'static str>,
        rule: Rule,
        text: &'static str,
    ) -> Self {
        Self { name, kind, default, rule, effect: Effect::Applied, update: Update::ReadOnly, sensitive: false, text }
    }

    pub(super) const fn kept_only(mut self) -> Self {
        self.effect = Effect::KeptOnly;
        self
    }

    pub(super) const fn dynamic(mut self) -> Self {
        self.update = Update::ClusterWide;
        self
    }

    /// What it means, and whether it has an effect here.
    #[must_use]
    pub fn documentation(&self) -> String {
        match self.effect {
            Effect::Applied => self.text.to_owned(),
            Effect::KeptOnly => format!("{} It has no effect in RustMQ: it is kept and described only.", self.text),
        }
    }

    pub(super) fn check(&self, value: &str) -> Result<(), ConfigError> {
        self.rule.check(self.kind, value).map_err(|reason| ConfigError::new(self.name, Some(value), reason))
    }
}
